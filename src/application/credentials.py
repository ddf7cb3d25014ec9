"""Reset and change of passwords."""

from datetime import datetime

from ..domain.accounts import Account
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import (
    TO_SET_PASSWORD,
    OneTimeToken,
    PasswordPolicy,
    Purpose,
    digest,
    parse_existing,
)
from ..domain.dataclasses import dataclass
from ..domain.errors import (
    AccessTokenInvalid,
    FieldError,
    TokenInvalid,
    ValidationFailed,
    WrongPassword,
)
from ..domain.limits import Rule, address_key
from ..domain.roles import Principal, Scope
from ..domain.sessions import EndReason, SessionId
from .audit import Auditor
from .jobs import RequestByEmail, client_of
from .limits import Limits
from .mail import Postbox
from .ports.delivery import Job, MailTemplate
from .ports.security import Cipher, Clock, PasswordHasher
from .ports.storage import Transaction, UnitOfWork
from .reauthentication import Reauthenticate
from .registration import lock_owner
from .sealed_jobs import unseal


@dataclass(frozen=True, slots=True)
class MailReset:
    """Mail a reset link if the address belongs to an account."""

    uow: UnitOfWork
    cipher: Cipher
    postbox: Postbox
    auditor: Auditor
    now: Clock

    async def __call__(self, job: Job) -> None:
        values = unseal(self.cipher, job)
        now = self.now()
        async with self.uow() as tx:
            owner = await lock_owner(tx, EmailAddress(values["email"] or ""))
            if owner is None or owner.has_expired(now):
                return
            await self.postbox.send_token(
                tx, owner, MailTemplate.RESET_PASSWORD, Purpose.RESET_PASSWORD, now
            )
            type_ = AuditType.PASSWORD_RESET_REQUESTED
            await self.auditor.note(tx, type_, now, client_of(values), subject=owner.id)
            await tx.commit()


async def replace_password(
    tx: Transaction, account: Account, reason: EndReason, now: datetime, keep: SessionId | None
) -> None:
    """Save an account with its new password; every session but `keep` and every token ends.

    Links that undo a change of address stay: who stole an account changes the password too.
    """
    await tx.accounts.save(account)
    await tx.tokens.drop_all(account.id, keep_undo_until=now)
    await tx.sessions.end_all(account.id, reason, now, keep=keep)


@dataclass(frozen=True, slots=True)
class ResetPassword:
    """Set a new password with a one-time token, end every session, and tell the owner.

    A mailed token proves the mailbox too; one that was answered to an initial password does not.
    Raises RateLimited, TokenInvalid, Overloaded, or ValidationFailed, which leaves the token good.
    """

    uow: UnitOfWork
    limits: Limits
    hasher: PasswordHasher
    postbox: Postbox
    auditor: Auditor
    now: Clock
    passwords: PasswordPolicy

    async def __call__(self, *, token: str, new_password: str, client: ClientContext) -> None:
        await self.limits.spend(Rule.PUBLIC, address_key(client.ip))
        new_password, key = parse_existing(new_password, "new_password"), digest(token)
        account = await self._owner(key)
        own = (account.username.value, account.email.value, account.email.local_part)
        normal = self.passwords.parse_new(new_password, own=own, field="new_password")
        await self._refuse_initial(account, normal)
        password_hash = await self.hasher.hash(normal)
        now = self.now()
        async with self.uow() as tx:
            current = await tx.accounts.get(account.id, lock=True)
            spent = await tx.tokens.consume(key, TO_SET_PASSWORD, now)
            if current is None or spent is None or spent.email != current.email.key:
                raise TokenInvalid
            type_, why = self._set(current, spent, password_hash, now)
            await replace_password(tx, current, why, now, None)
            await self.postbox.notify(tx, current, MailTemplate.PASSWORD_CHANGED, now)
            await self.auditor.note(tx, type_, now, client, actor=current.id, subject=current.id)
            await tx.commit()

    async def _refuse_initial(self, account: Account, password: str) -> None:
        """Refuse the password that an administrator knows (OWASP ASVS 6.4.1)."""
        if account.password_expires_at is None:
            return
        if await self.hasher.verify(password, account.password_hash):
            message = "Not the one that was chosen for you."
            raise ValidationFailed(FieldError("new_password", "too_obvious", message))

    def _set(
        self, account: Account, spent: OneTimeToken, password_hash: str, now: datetime
    ) -> tuple[AuditType, EndReason]:
        if spent.purpose is Purpose.CHANGE_PASSWORD:
            account.set_password(password_hash, now)
            return AuditType.PASSWORD_CHANGED, EndReason.PASSWORD_CHANGED
        account.recover(password_hash, now)
        return AuditType.PASSWORD_RESET, EndReason.PASSWORD_RESET

    async def _owner(self, key: bytes) -> Account:
        now = self.now()
        async with self.uow() as tx:
            found = await tx.tokens.find(key, TO_SET_PASSWORD, now)
            account = await tx.accounts.get(found.account_id) if found else None
        if account is None or account.has_expired(now):
            raise TokenInvalid
        return account


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """Change the caller's own password; his other sessions end, the present one goes on.

    Raises RateLimited, WrongPassword, ValidationFailed, Overloaded.
    """

    uow: UnitOfWork
    hasher: PasswordHasher
    reauthenticate: Reauthenticate
    postbox: Postbox
    auditor: Auditor
    now: Clock
    passwords: PasswordPolicy

    async def __call__(
        self,
        *,
        actor: Principal,
        current_password: str,
        new_password: str,
        client: ClientContext,
    ) -> None:
        actor.require(Scope.ACCOUNT_WRITE)
        account = actor.own_account
        current_password = parse_existing(current_password, "current_password")
        own = (account.username.value, account.email.value, account.email.local_part)
        normal = self.passwords.parse_new(new_password, own=own, field="new_password")
        await self.reauthenticate(
            actor=actor,
            password=current_password,
            purpose=AuditType.PASSWORD_CHANGED,
            client=client,
        )
        await self._replace(actor, await self.hasher.hash(normal), client)

    async def _replace(self, actor: Principal, password_hash: str, client: ClientContext) -> None:
        now, seen = self.now(), actor.own_account
        async with self.uow() as tx:
            account = await tx.accounts.get(seen.id, lock=True)
            if account is None:
                raise AccessTokenInvalid
            if account.password_hash != seen.password_hash:
                # Changed or reset meanwhile: what was checked is not the password any more.
                raise WrongPassword
            account.set_password(password_hash, now)
            await replace_password(tx, account, EndReason.PASSWORD_CHANGED, now, actor.session_id)
            await self.postbox.notify(tx, account, MailTemplate.PASSWORD_CHANGED, now)
            type_ = AuditType.PASSWORD_CHANGED
            await self.auditor.note(
                tx,
                type_,
                now,
                client,
                actor=actor,
                subject=account.id,
            )
            await tx.commit()


@dataclass(frozen=True, slots=True)
class Credentials:
    """Passwords: forgotten, reset, changed."""

    request_reset: RequestByEmail
    reset: ResetPassword
    change_password: ChangePassword
