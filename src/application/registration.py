"""Registration that never tells whether an address was known."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from datetime import datetime

from ..domain.accounts import (
    DEFAULT_LOCALE,
    Account,
    AccountId,
    AccountPolicy,
    Username,
    parse_bio,
    parse_locale,
)
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import PasswordPolicy, Purpose
from ..domain.dataclasses import dataclass
from ..domain.errors import (
    EmailTaken,
    FieldError,
    RegistrationClosed,
    UsernameTaken,
    ValidationFailed,
)
from ..domain.limits import Rule, address_key
from .audit import Auditor
from .idempotency import UNKEYED, Once
from .limits import Limits
from .mail import Postbox
from .ports.delivery import Job, JobName, MailTemplate
from .ports.security import Cipher, Clock, PasswordHasher, Secrets
from .ports.sessions import CallerReader
from .ports.storage import Transaction, UnitOfWork
from .sealed_jobs import sealed_job, unseal


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The fields of a registration, each valid; without a password it is empty."""

    username: Username
    email: EmailAddress
    password: str = field(repr=False)
    bio: str | None
    locale: str

    @classmethod
    def parse(
        cls,
        policy: PasswordPolicy,
        *,
        username: str,
        email: str,
        password: str | None,
        bio: str | None,
        locale: str | None,
    ) -> "Registration":
        """Check every field and refuse with all faults at once; raises ValidationFailed."""
        faults: list[FieldError] = []
        with collect(faults):
            name = Username.parse(username)
        with collect(faults):
            address = EmailAddress.parse(email)
        with collect(faults):
            own = (username, email, email.rpartition("@")[0])
            password = None if password is None else policy.parse_new(password, own=own)
        with collect(faults):
            bio = parse_bio(bio)
        with collect(faults):
            locale = parse_locale(locale or DEFAULT_LOCALE)
        ValidationFailed.raise_for(faults)
        return cls(
            username=name, email=address, password=password or "", bio=bio, locale=locale or ""
        )


async def lock_owner(tx: Transaction, email: EmailAddress) -> Account | None:
    """Find and lock the owner of an address.

    Compared again under the lock: one who corrected his address meanwhile would get, or retire,
    a link that nobody asked for.
    """
    found = await tx.accounts.find_by_email(email)
    owner = await tx.accounts.get(found.id, lock=True) if found else None
    if owner is None or owner.is_placeholder or owner.email.key != email.key:
        return None
    return owner


@contextmanager
def collect(faults: list[FieldError]) -> Iterator[None]:
    try:
        yield
    except ValidationFailed as refused:
        faults.extend(refused.errors)


@dataclass(frozen=True, slots=True)
class Register:
    """Create an account, and never tell whether the address was known.

    A taken address is answered like a free one: the username is kept by a placeholder, and the
    owner is told by mail. Returns None for that one neutral answer. Where addresses need no
    proof, hiding is impossible: then the account is returned, or EmailTaken raised.

    Raises RateLimited, ValidationFailed, RegistrationClosed, UsernameTaken, Overloaded, and what
    `once` does.
    """

    uow: UnitOfWork
    # None within a host's transaction: only that sees what it has changed.
    callers: CallerReader | None
    limits: Limits
    hasher: PasswordHasher
    secrets: Secrets
    cipher: Cipher
    postbox: Postbox
    auditor: Auditor
    now: Clock
    policy: AccountPolicy
    passwords: PasswordPolicy

    async def __call__(
        self,
        *,
        username: str,
        email: str,
        password: str,
        bio: str | None = None,
        locale: str | None = None,
        client: ClientContext,
        once: Once[Account | None] = UNKEYED,
    ) -> Account | None:
        self.limits.recall(Rule.REGISTER, address_key(client.ip))
        with self.hasher.place():
            return await self._registered(
                username, email, password, bio, locale, client=client, once=once
            )

    async def _registered(
        self,
        username: str,
        email: str,
        password: str,
        bio: str | None,
        locale: str | None,
        *,
        client: ClientContext,
        once: Once[Account | None],
    ) -> Account | None:
        await self.limits.spend(Rule.REGISTER, address_key(client.ip))
        if not self.policy.registration_open:
            raise RegistrationClosed
        form = Registration.parse(
            self.passwords,
            username=username,
            email=email,
            password=password,
            bio=bio,
            locale=locale,
        )
        holder = await self._seen(form.username, once)
        if holder is None:
            password_hash = await self.hasher.hash(form.password)
            try:
                return await self._create(form, password_hash, client, once)
            except UsernameTaken:
                # Somebody was faster, perhaps the same person's second click.
                holder = await self._holder(form.username, once)
        await self._correct_address(holder, form, client, once)
        return None

    async def _seen(self, username: Username, once: Once[Account | None]) -> Account | None:
        """Look whether a hash is worth its while; who the holder is, storage decides later."""
        if self.callers is None or once is not UNKEYED:
            return await self._holder(username, once)
        return self._unless_expired(await self.callers.by_username(username))

    async def _holder(self, username: Username, once: Once[Account | None]) -> Account | None:
        async with self.uow() as tx:
            holder = await tx.accounts.find_by_username(username)
            # In this order: there may be a holder because of the request that this one repeats.
            await once.find(tx)
        return self._unless_expired(holder)

    def _unless_expired(self, holder: Account | None) -> Account | None:
        return None if holder is None or holder.has_expired(self.now()) else holder

    async def _create(
        self,
        form: Registration,
        password_hash: str,
        client: ClientContext,
        once: Once[Account | None],
    ) -> Account | None:
        now = self.now()
        account = self._account(form, password_hash, now)
        told = None if self.policy.require_verified_email else account
        async with self.uow() as tx:
            await once.claim(tx)
            await self._add(tx, account, now)
            await self._tell(tx, account, now)
            type_ = AuditType.ACCOUNT_REGISTERED
            failure = EmailTaken.code if account.is_placeholder else None
            await self.auditor.note(tx, type_, now, client, subject=account.id, failure=failure)
            await once.keep(tx, told, account.id)
            await tx.commit()
        return told

    async def _add(self, tx: Transaction, account: Account, now: datetime) -> None:
        try:
            await tx.accounts.add(account, now)
        except EmailTaken:
            if not self.policy.require_verified_email:
                raise
            account.is_placeholder = True
            await tx.accounts.add(account, now)

    def _account(self, form: Registration, password_hash: str, now: datetime) -> Account:
        must_prove = self.policy.require_verified_email
        return Account(
            id=AccountId(self.secrets.new_id()),
            username=form.username,
            email=form.email,
            password_hash=password_hash,
            bio=form.bio,
            locale=form.locale,
            created_at=now,
            updated_at=now,
            expires_at=now + self.policy.unverified_ttl if must_prove else None,
            notified_at=now,
        )

    async def _tell(self, tx: Transaction, account: Account, now: datetime) -> None:
        """Queue the one mail that follows: to the new account, or to the address's owner."""
        if account.is_placeholder:
            values: dict[str, str | None] = {"email": account.email.value}
            job_id = self.secrets.new_id()
            await tx.jobs.enqueue(sealed_job(self.cipher, job_id, JobName.NOTIFY_OWNER, values))
        else:
            await self.postbox.send_token(
                tx, account, MailTemplate.WELCOME, Purpose.VERIFY_EMAIL, now
            )

    async def _correct_address(
        self,
        holder: Account | None,
        form: Registration,
        client: ClientContext,
        once: Once[Account | None],
    ) -> None:
        """Let who registered with a mistyped address try again with the same password.

        Raises UsernameTaken for everybody else. A placeholder is treated like the registration
        that it stands for, or the difference would tell that the address is known.
        """
        known_hash = holder.password_hash if holder and self._is_replaceable(holder) else None
        right = await self.hasher.verify(form.password, known_hash)
        if holder is None or not right:
            # A guess at the password of that registration, perhaps: it leaves a trace.
            subject, failure = holder.id if holder else None, UsernameTaken.code
            type_ = AuditType.ACCOUNT_REGISTERED
            await self.auditor.refused(type_, client, subject=subject, failure=failure)
            raise UsernameTaken
        now = self.now()
        async with self.uow() as tx:
            await once.claim(tx)
            account = await tx.accounts.get(holder.id, lock=True)
            if account is None or account.password_hash != known_hash or not account.expires_at:
                raise UsernameTaken
            await self._try_again(tx, account, form.email, now, client)
            await once.keep(tx, None, account.id)
            await tx.commit()

    def _is_replaceable(self, holder: Account) -> bool:
        return self.policy.require_verified_email and holder.expires_at is not None

    async def _try_again(
        self,
        tx: Transaction,
        account: Account,
        email: EmailAddress,
        now: datetime,
        client: ClientContext,
    ) -> None:
        """Correct the address, or with the same one mail again once an hour."""
        corrected = account.email != email
        if not corrected and not account.may_be_told_again(now, self.policy):
            return
        await self._save_corrected(tx, account, email, now)
        await self._tell(tx, account, now)
        if corrected:
            type_ = AuditType.EMAIL_CORRECTED
            failure = EmailTaken.code if account.is_placeholder else None
            await self.auditor.note(tx, type_, now, client, subject=account.id, failure=failure)

    async def _save_corrected(
        self, tx: Transaction, account: Account, email: EmailAddress, now: datetime
    ) -> None:
        await tx.tokens.drop_all(account.id)
        account.correct_address(email, taken=False, now=now)
        try:
            await tx.accounts.save(account)
        except EmailTaken:
            account.correct_address(email, taken=True, now=now)
            await tx.accounts.save(account)


@dataclass(frozen=True, slots=True)
class NotifyOwner:
    """Tell the owner of an address that somebody tried to register with it.

    An owner who never proved it gets a fresh link instead. One mail an hour at most.
    """

    uow: UnitOfWork
    cipher: Cipher
    postbox: Postbox
    now: Clock
    policy: AccountPolicy

    async def __call__(self, job: Job) -> None:
        email = EmailAddress(unseal(self.cipher, job)["email"] or "")
        now = self.now()
        async with self.uow() as tx:
            owner = await lock_owner(tx, email)
            if owner is None or owner.has_expired(now):
                return
            if not owner.may_be_told_again(now, self.policy):
                return
            owner.notified_at = now
            await tx.accounts.save(owner)
            if owner.email_verified:
                await self.postbox.notify(tx, owner, MailTemplate.REGISTRATION_ATTEMPT, now)
            else:
                await self.postbox.send_token(
                    tx, owner, MailTemplate.VERIFY_EMAIL, Purpose.VERIFY_EMAIL, now
                )
            await tx.commit()
