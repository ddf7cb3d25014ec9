"""Change of the own address: proven by the new one, undone by the old one."""

from dataclasses import replace
from datetime import datetime

from ..domain.accounts import Account
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import OneTimeToken, Purpose, digest, parse_existing
from ..domain.dataclasses import dataclass
from ..domain.errors import AccessTokenInvalid, EmailTaken, TokenInvalid, WrongPassword
from ..domain.limits import Rule, address_key
from ..domain.roles import Principal, Scope
from ..domain.sessions import EndReason
from .audit import Auditor
from .limits import Limits
from .mail import Postbox, SendMail
from .ports.delivery import Job, MailTemplate
from .ports.security import Cipher, Clock
from .ports.storage import Transaction, UnitOfWork
from .reauthentication import Reauthenticate
from .registration import lock_owner
from .sealed_jobs import unseal

_CHANGE, _UNDO = frozenset({Purpose.CHANGE_EMAIL}), frozenset({Purpose.UNDO_EMAIL})


@dataclass(frozen=True, slots=True)
class RequestEmailChange:
    """Ask to change the caller's own address, known or not; nothing changes yet.

    Both addresses get their link; a worker drops the mail to a new one that is taken, since
    looking it up here would show in the time of the answer. With no mail left for the new address
    the answer is the same. Raises RateLimited, WrongPassword, ValidationFailed, Overloaded.
    """

    uow: UnitOfWork
    limits: Limits
    reauthenticate: Reauthenticate
    postbox: Postbox
    auditor: Auditor
    now: Clock

    async def __call__(
        self, *, actor: Principal, new_email: str, password: str, client: ClientContext
    ) -> None:
        actor.require(Scope.ACCOUNT_WRITE)
        await self.limits.spend(Rule.MAIL_ADDRESS, address_key(client.ip))
        seen, email = actor.own_account, EmailAddress.parse(new_email, "new_email")
        type_, password = AuditType.EMAIL_CHANGE_REQUESTED, parse_existing(password)
        await self.reauthenticate(actor=actor, password=password, purpose=type_, client=client)
        if await self.limits.try_to_spend(Rule.MAIL, email.key) is None:
            return
        now = self.now()
        async with self.uow() as tx:
            account = await tx.accounts.get(seen.id, lock=True)
            if account is None:
                raise AccessTokenInvalid
            if account.password_hash != seen.password_hash:
                raise WrongPassword
            await self.postbox.ask_new_address(tx, account, email, now)
            await self.postbox.offer_undo(tx, account, now)
            await self.auditor.note(tx, type_, now, client, actor=actor, subject=account.id)
            await tx.commit()


@dataclass(frozen=True, slots=True)
class MailNewAddress:
    """Mail the link that confirms a change, unless the address is somebody else's."""

    uow: UnitOfWork
    cipher: Cipher
    send_mail: SendMail
    now: Clock

    async def __call__(self, job: Job) -> None:
        values = unseal(self.cipher, job)
        key, email = digest(values["token"] or ""), EmailAddress(values["to"] or "")
        async with self.uow() as tx:
            token = await tx.tokens.find(key, _CHANGE, self.now())
            owner = await tx.accounts.find_by_email(email)
        if token and (owner is None or owner.id == token.account_id):
            await self.send_mail(job)


@dataclass(frozen=True, slots=True)
class UndoEmailChange:
    """Cancel a change of address, or take it back, with the token mailed to the old address.

    Somebody else knew the password: it is void, every session ends, and the old address gets a
    link to set a new one. Older links to undo stay good, or whoever took the account over could
    cost its owner his way back; newer ones die.

    Raises RateLimited, TokenInvalid. Raises EmailTaken when another account proved the old
    address meanwhile: then this one is suspended, as its present address may be the thief's.
    """

    uow: UnitOfWork
    limits: Limits
    postbox: Postbox
    auditor: Auditor
    now: Clock

    async def __call__(self, *, token: str, client: ClientContext) -> None:
        await self.limits.spend(Rule.PUBLIC, address_key(client.ip))
        now, key = self.now(), digest(token)
        async with self.uow() as tx:
            account, spent = await self._spend(tx, key, now)
            await tx.tokens.drop_all(account.id, keep_undo_until=spent.created_at)
            await tx.sessions.end_all(account.id, EndReason.EMAIL_CHANGED, now)
            old = EmailAddress(spent.new_email or "")
            await self._make_way(tx, account, old, now)
            is_back = await self._take_back(tx, account, old, now)
            type_, failure = AuditType.EMAIL_CHANGE_UNDONE, None if is_back else EmailTaken.code
            await self.auditor.note(
                tx, type_, now, client, actor=account.id, subject=account.id, failure=failure
            )
            await tx.commit()
        if not is_back:
            raise EmailTaken

    async def _spend(
        self, tx: Transaction, key: bytes, now: datetime
    ) -> tuple[Account, OneTimeToken]:
        found = await tx.tokens.find(key, _UNDO, now)
        account = await tx.accounts.get(found.account_id, lock=True) if found else None
        # Only under the lock: a confirmation that is under way has ended then.
        spent = await tx.tokens.consume(key, _UNDO, now) if account else None
        if account is None or spent is None:
            raise TokenInvalid
        return account, spent

    async def _make_way(
        self, tx: Transaction, account: Account, old: EmailAddress, now: datetime
    ) -> None:
        """Take the old address from who registered with it since and never proved it."""
        rival = await lock_owner(tx, old)
        if rival is None or rival.id == account.id or rival.expires_at is None:
            return
        rival.give_up_address(now)
        await tx.tokens.drop_all(rival.id)
        await tx.accounts.save(rival)

    async def _take_back(
        self, tx: Transaction, account: Account, old: EmailAddress, now: datetime
    ) -> bool:
        restored = replace(account)
        restored.take_back_address(old, now)
        try:
            await tx.accounts.save(restored)
        except EmailTaken:
            account.lock_out(now)
            await tx.accounts.save(account)
            return False
        await self.postbox.notify(tx, restored, MailTemplate.EMAIL_CHANGE_UNDONE, now)
        template, purpose = MailTemplate.RESET_PASSWORD, Purpose.RESET_PASSWORD
        await self.postbox.send_token(tx, restored, template, purpose, now)
        return True
