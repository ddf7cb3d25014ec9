"""Proof of the address, and the caller's own account."""

from dataclasses import replace
from datetime import datetime
from enum import Enum

from ..domain.accounts import Account, Username, changes, parse_bio, parse_locale
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import (
    TO_PROVE_ADDRESS,
    OneTimeToken,
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
from ..domain.sessions import EndReason
from .audit import Auditor
from .email_changes import RequestEmailChange, UndoEmailChange
from .erasure import DeleteOwnAccount
from .guesses import Guesses
from .jobs import RequestByEmail
from .mail import Postbox
from .ports.delivery import Job, MailTemplate
from .ports.security import Cipher, Clock, PasswordHasher
from .ports.storage import Transaction, UnitOfWork
from .registration import Register, collect, lock_owner
from .sealed_jobs import unseal


class Unset(Enum):
    """Tells a field that is left out from one that is emptied (RFC 7396)."""

    UNSET = "unset"


UNSET = Unset.UNSET

_PROOFS = {
    Purpose.VERIFY_EMAIL: AuditType.EMAIL_VERIFIED,
    Purpose.CHANGE_EMAIL: AuditType.EMAIL_CHANGED,
}


@dataclass(frozen=True, slots=True)
class ResendVerification:
    """Mail a fresh link if the address belongs to an account that has not proven it."""

    uow: UnitOfWork
    cipher: Cipher
    postbox: Postbox
    now: Clock

    async def __call__(self, job: Job) -> None:
        email = EmailAddress(unseal(self.cipher, job)["email"] or "")
        now = self.now()
        async with self.uow() as tx:
            owner = await lock_owner(tx, email)
            if owner is None or owner.email_verified or not owner.is_usable(now):
                return
            # A stranger's registration with this address must not retire the link at once.
            owner.notified_at = now
            await tx.accounts.save(owner)
            await self.postbox.send_token(
                tx, owner, MailTemplate.VERIFY_EMAIL, Purpose.VERIFY_EMAIL, now
            )
            await tx.commit()


@dataclass(frozen=True, slots=True)
class VerifyEmail:
    """Prove an address with the mailed token and the account's password.

    The password shows that who clicks is who registered: a victim whose address was registered
    by a stranger must not arm the stranger's password (pre-hijacking). A wrong one leaves the
    token good. Sessions older than the proof end. A change of address happens here too; then
    sessions go on, and the former address is told.

    Raises RateLimited, TokenInvalid, WrongPassword, Overloaded, ValidationFailed, EmailTaken.
    """

    uow: UnitOfWork
    guesses: Guesses
    hasher: PasswordHasher
    postbox: Postbox
    auditor: Auditor
    now: Clock

    async def __call__(self, *, token: str, password: str, client: ClientContext) -> Account:
        await self.guesses.limits.spend(Rule.PUBLIC, address_key(client.ip))
        password, key = parse_existing(password), digest(token)
        account, purpose = await self._owner(key)
        async with self.guesses.at_account(account.id, client) as guess:
            right = await self.hasher.verify(password, account.password_hash)
            if not right or account.has_password_expired(self.now()):
                type_, failure = _PROOFS[purpose], WrongPassword.code
                await self.auditor.refused(type_, client, subject=account.id, failure=failure)
                raise WrongPassword
            await guess.forget()
        return await self._prove(key, account, client)

    async def _owner(self, key: bytes) -> tuple[Account, Purpose]:
        now = self.now()
        async with self.uow() as tx:
            found = await tx.tokens.find(key, TO_PROVE_ADDRESS, now)
            account = await tx.accounts.get(found.account_id) if found else None
        if found is None or account is None or account.has_expired(now):
            raise TokenInvalid
        return account, found.purpose

    async def _prove(self, key: bytes, seen: Account, client: ClientContext) -> Account:
        now = self.now()
        async with self.uow() as tx:
            account = await tx.accounts.get(seen.id, lock=True)
            token = await tx.tokens.consume(key, TO_PROVE_ADDRESS, now)
            if account is None or token is None or token.email != account.email.key:
                raise TokenInvalid
            if account.password_hash != seen.password_hash:
                raise TokenInvalid
            await self._apply(tx, account, token, now)
            type_, own = _PROOFS[token.purpose], account.id
            await self.auditor.note(tx, type_, now, client, actor=own, subject=own)
            await tx.commit()
        return account

    async def _apply(
        self, tx: Transaction, account: Account, token: OneTimeToken, now: datetime
    ) -> None:
        if token.purpose is Purpose.CHANGE_EMAIL:
            await self._change(tx, account, EmailAddress(token.new_email or ""), now)
            return
        account.prove_address(now)
        await tx.accounts.save(account)
        await tx.sessions.end_all(account.id, EndReason.ADDRESS_PROVEN, now)

    async def _change(
        self, tx: Transaction, account: Account, email: EmailAddress, now: datetime
    ) -> None:
        """Move to the new address; of all tokens only those that undo it stay good."""
        if not account.is_usable(now):
            raise TokenInvalid
        former = account.email
        account.change_address(email, now)
        await tx.accounts.save(account)
        await tx.tokens.drop_all(account.id, keep_undo_until=now)
        await self.postbox.notify(tx, account, MailTemplate.EMAIL_CHANGED, now, to=former)


@dataclass(frozen=True, slots=True)
class ReadAccount:
    """Return the caller's own account, as read when his token was checked."""

    async def __call__(self, *, actor: Principal) -> Account:
        actor.require(Scope.ACCOUNT_READ)
        return actor.own_account


@dataclass(frozen=True, slots=True)
class ChangeAccount:
    """Change the caller's own username, bio or locale.

    Raises ValidationFailed, UsernameTaken.
    """

    uow: UnitOfWork
    auditor: Auditor
    now: Clock

    async def __call__(
        self,
        *,
        actor: Principal,
        username: str | Unset = UNSET,
        bio: str | Unset | None = UNSET,
        locale: str | Unset = UNSET,
        client: ClientContext,
    ) -> Account:
        actor.require(Scope.ACCOUNT_WRITE)
        now = self.now()
        async with self.uow() as tx:
            account = await tx.accounts.get(actor.own_account.id, lock=True)
            if account is None or not account.is_usable(now):
                raise AccessTokenInvalid
            before = replace(account)
            amend(account, username=username, bio=bio, locale=locale)
            account.updated_at = now
            await tx.accounts.save(account)
            type_, changed = AuditType.ACCOUNT_CHANGED, changes(before, account)
            await self.auditor.note(
                tx, type_, now, client, actor=actor, subject=account.id, changed=changed
            )
            await tx.commit()
        return account


def amend(
    account: Account,
    *,
    username: str | Unset = UNSET,
    email: str | Unset = UNSET,
    bio: str | Unset | None = UNSET,
    locale: str | Unset = UNSET,
) -> None:
    """Change what is given; raises ValidationFailed, with everything that is wrong."""
    faults: list[FieldError] = []
    with collect(faults):
        if username is not UNSET:
            account.username = Username.parse(username)
    with collect(faults):
        if email is not UNSET and (given := EmailAddress.parse(email)) != account.email:
            account.assign_address(given)
    with collect(faults):
        if bio is not UNSET:
            account.bio = parse_bio(bio)
    with collect(faults):
        if locale is not UNSET:
            account.locale = parse_locale(locale)
    ValidationFailed.raise_for(faults)


@dataclass(frozen=True, slots=True)
class Accounts:
    """What an account can do for itself."""

    register: Register
    request_verification: RequestByEmail
    verify_email: VerifyEmail
    read: ReadAccount
    change: ChangeAccount
    request_email_change: RequestEmailChange
    undo_email_change: UndoEmailChange
    delete: DeleteOwnAccount
