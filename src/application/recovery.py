"""After a theft or a restore: one account back to its owner, or everybody signed out."""

from uuid import UUID

from ..domain.accounts import Account, AccountStatus
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import Purpose
from ..domain.dataclasses import dataclass
from ..domain.roles import Principal, Scope
from ..domain.sessions import EndReason
from .audit import Auditor
from .mail import Postbox
from .ports.delivery import MailTemplate
from .ports.security import Clock
from .ports.storage import UnitOfWork
from .supervision import Opened, Supervisor

_BATCH = 500
_WHY = EndReason.ENDED_BY_ADMINISTRATOR


@dataclass(frozen=True, slots=True)
class RecoverAccount:
    """Void all that opens an account, and mail its owner a link to set a new password.

    All at once: the password, every session, every mailed link and with it each change of address
    that is under way. With `email` that becomes the address, which the link then proves; whoever
    took the account over may have changed it. A suspended account is active again: nothing opens
    it but the link. Its mail is never limited, as a thief may have spent what there was.

    Raises what Supervisor does, ValidationFailed, EmailTaken.
    """

    supervisor: Supervisor
    postbox: Postbox

    async def __call__(
        self, *, actor: Principal, account_id: UUID, email: str | None, client: ClientContext
    ) -> Account:
        actor.require(Scope.USERS_WRITE)
        address = None if email is None else EmailAddress.parse(email)
        type_ = AuditType.ACCOUNT_RECOVERED
        async with self.supervisor.opening(account_id, type_, actor, client) as opened:
            account, tx, now = opened.account, opened.tx, opened.now
            changed = self._change_address(account, address)
            account.void_password(now)
            account.status = AccountStatus.ACTIVE
            await opened.save()
            await tx.sessions.end_all(account.id, _WHY, now)
            await tx.tokens.drop_all(account.id)
            await self._mail_link(opened)
            await self.supervisor.note(opened, type_, actor, client)
            if changed:
                # No word to the former address: it may be the thief's.
                await self.supervisor.note(opened, AuditType.EMAIL_CHANGED, actor, client)
        return account

    @staticmethod
    def _change_address(account: Account, address: EmailAddress | None) -> bool:
        changed = address is not None and address != account.email
        if changed and address:
            account.assign_address(address)
        return changed

    async def _mail_link(self, opened: Opened) -> None:
        template, purpose = MailTemplate.RESET_PASSWORD, Purpose.RESET_PASSWORD
        await self.postbox.send_token(opened.tx, opened.account, template, purpose, opened.now)


@dataclass(frozen=True, slots=True)
class EndEverySession:
    """Sign everybody out who is signed in by now; returns how many sessions that ended.

    For after a restore from a backup, in which spent refresh tokens are good again. In batches of
    a transaction each: broken off, it is called again. Asks for every scope, since it ends the
    sessions of those who hold them all.
    """

    uow: UnitOfWork
    auditor: Auditor
    now: Clock

    async def __call__(self, *, actor: Principal, client: ClientContext) -> int:
        for scope in Scope:
            actor.require(scope)
        now, total, after = self.now(), 0, None
        async with self.uow() as tx:
            await self.auditor.note(
                tx, AuditType.SESSIONS_ENDED, now, client, actor=actor, reason=_WHY
            )
            await tx.commit()
        while True:
            async with self.uow() as tx:
                ended, after = await tx.sessions.end_next(after, _WHY, now, _BATCH)
                await tx.commit()
            total += ended
            if after is None:
                return total
