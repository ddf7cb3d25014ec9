"""Deletion of accounts: what is stored about somebody goes at once."""

from datetime import datetime

from ..domain.accounts import Account
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import parse_existing
from ..domain.dataclasses import dataclass
from ..domain.errors import AccessTokenInvalid, LastAdmin, WrongPassword
from ..domain.roles import Principal, Scope
from .audit import Auditor
from .exports import drop_exports
from .mail import Postbox
from .ports.delivery import MailTemplate
from .ports.security import Clock
from .ports.storage import Transaction, UnitOfWork
from .reauthentication import Reauthenticate


async def erase_account(
    tx: Transaction, postbox: Postbox, account: Account, now: datetime
) -> None:
    """Erase a locked account and all that is kept about it, and tell the former address.

    Entries of the audit trail lose where they came from: an entry of this transaction too, if it
    was written before. The row keeps the username for a while.
    """
    former = account.email
    await tx.tokens.drop_all(account.id)
    await tx.sessions.remove_all(account.id)
    await tx.idempotency.drop_all(account.id)
    await tx.jobs.drop_of(account.id)
    await drop_exports(tx, account.id, postbox.secrets)
    await tx.audit.forget(account.id)
    # Before the account is erased, as the mail speaks its language; after its other jobs went.
    await postbox.notify(tx, account, MailTemplate.ACCOUNT_DELETED, now, to=former)
    account.erase(now)
    await tx.accounts.save(account)


@dataclass(frozen=True, slots=True)
class DeleteOwnAccount:
    """Delete the caller's own account, at once and for good.

    Raises WrongPassword, LastAdmin, Overloaded, ValidationFailed.
    """

    uow: UnitOfWork
    reauthenticate: Reauthenticate
    postbox: Postbox
    auditor: Auditor
    now: Clock

    async def __call__(self, *, actor: Principal, password: str, client: ClientContext) -> None:
        actor.require(Scope.ACCOUNT_WRITE)
        seen = actor.own_account
        type_, password = AuditType.ACCOUNT_DELETED, parse_existing(password)
        await self.reauthenticate(actor=actor, password=password, purpose=type_, client=client)
        now = self.now()
        async with self.uow() as tx:
            admins = await tx.directory.lock_admins()
            account = await tx.accounts.get(seen.id, lock=True)
            if account is None:
                raise AccessTokenInvalid
            if account.password_hash != seen.password_hash:
                raise WrongPassword
            if admins == {account.id}:
                raise LastAdmin
            await self.auditor.note(tx, type_, now, client, actor=actor, subject=account.id)
            await erase_account(tx, self.postbox, account, now)
            await tx.commit()
