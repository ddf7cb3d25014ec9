"""Initial passwords: chosen by an administrator, known to two, so that they open nothing."""

from ..domain.accounts import Account
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import OneTimeToken, Purpose
from ..domain.dataclasses import dataclass
from ..domain.errors import InvalidCredentials, PasswordChangeRequired
from .audit import Auditor
from .ports.security import Clock, Secrets
from .ports.storage import UnitOfWork


@dataclass(frozen=True, slots=True)
class DemandChange:
    """Refuse who gave the right initial password, with a token that changes it, and audit that.

    The token is answered and not mailed, so it proves no mailbox. Raises PasswordChangeRequired,
    or InvalidCredentials when the password was changed a moment ago.
    """

    uow: UnitOfWork
    secrets: Secrets
    auditor: Auditor
    now: Clock

    async def __call__(self, seen: Account, client: ClientContext) -> None:
        now, secret = self.now(), self.secrets.new_token()
        async with self.uow() as tx:
            account = await tx.accounts.get(seen.id, lock=True)
            if account is None or account.password_hash != seen.password_hash:
                raise InvalidCredentials
            purpose, address = Purpose.CHANGE_PASSWORD, account.email.key
            token = OneTimeToken.issue(secret, purpose, account.id, address, now)
            await tx.tokens.add(token)
            type_, failure = AuditType.SESSION_REFUSED, PasswordChangeRequired.code
            await self.auditor.note(tx, type_, now, client, subject=account.id, failure=failure)
            await tx.commit()
        raise PasswordChangeRequired(secret)
