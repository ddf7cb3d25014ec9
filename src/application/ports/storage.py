"""What the core asks of storage. Every method runs inside the transaction it was taken from."""

from collections.abc import Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from ...domain.accounts import Account, AccountId, AccountStatus, Username
from ...domain.addresses import EmailAddress
from ...domain.audit import AuditEntry, AuditFilter
from ...domain.clients import Client, ClientId
from ...domain.credentials import OneTimeToken, Purpose
from ...domain.idempotency import StoredAnswer
from ...domain.jobs import JobFilter, JobRecord
from ...domain.keys import SigningKey
from ...domain.roles import Role
from ...domain.sessions import EndReason, RefreshClaim, Session, SessionId, SessionPolicy
from .delivery import Job
from .exports import ExportRepository
from .transfer import AccountTransfer
from .webhooks import WebhookRepository


class AccountRepository(Protocol):
    """Accounts. Usernames and addresses are unique by their keys, and storage is the arbiter."""

    async def get(self, account_id: AccountId, *, lock: bool = False) -> Account | None:
        """Read one; with `lock` the row is held until the transaction ends."""
        ...

    async def find_by_email(self, email: EmailAddress) -> Account | None:
        """Find the owner of an address; placeholders own none."""
        ...

    async def find_unproven(self, email: EmailAddress, now: datetime) -> Account | None:
        """Find the latest (`updated_at`, then `id`) to ask for this address and not prove it.

        Placeholders included, expired ones not: to who made it, a placeholder must look like
        the registration that it stands for. The latest, since a stranger's own then always
        answers him alike, whether or not somebody else's was pending before.
        """
        ...

    async def find_by_username(self, username: Username) -> Account | None:
        """Find who holds a username, placeholders included."""
        ...

    async def add(self, account: Account, now: datetime) -> None:
        """Insert; an expired holder of the same username or address gives way first.

        Raises UsernameTaken or EmailTaken and leaves the transaction usable, so that a loser of
        a race can go on in the same transaction.
        """
        ...

    async def save(self, account: Account) -> None:
        """Write all fields back; raises UsernameTaken or EmailTaken as `add` does."""
        ...

    async def replace_hash(self, account_id: AccountId, old: str, new: str) -> bool:
        """Swap the password hash only if it is still `old`; atomic."""
        ...

    async def remove_expired(self, now: datetime, limit: int) -> int:
        """Delete up to `limit` registrations that were never proven; returns how many."""
        ...


class AccountSort(StrEnum):
    CREATED_AT = "created_at"
    NEWEST = "-created_at"
    USERNAME = "username"
    USERNAME_DOWN = "-username"
    EMAIL = "email"
    EMAIL_DOWN = "-email"

    @property
    def column(self) -> str:
        return self.value.removeprefix("-")

    @property
    def is_descending(self) -> bool:
        return self.value.startswith("-")

    def position(self, account: Account) -> tuple[str, ...]:
        """Tell where an account stands in this order; no two stand in one place."""
        if self.column == "username":
            return (account.username.key,)
        if self.column == "email":
            return (account.email.key,)
        return (account.created_at.isoformat(timespec="microseconds"), str(account.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountQuery:
    """Which accounts, and in what order. `prefix` is the start of a username's or address's key.

    `role` is the name of a role that accounts name: not `user`, which all of them hold.
    """

    prefix: str | None = None
    status: AccountStatus | None = None
    role: str | None = None
    sort: AccountSort = AccountSort.NEWEST


class AccountDirectory(Protocol):
    """Accounts for those who administer them; placeholders do not exist here."""

    async def list_accounts(
        self, query: AccountQuery, *, after: Sequence[str] | None = None, limit: int
    ) -> Sequence[Account]:
        """List up to `limit` accounts behind a position of the query's order.

        Never reads the whole table, whatever is asked for.
        """
        ...

    async def lock_admins(self) -> frozenset[AccountId]:
        """Hold every lasting administrator (`is_lasting_admin`) until the end.

        Locked in the order of ids. To be called before any other lock of the transaction, or
        two of them could wait for each other. Whoever waited sees what the other one did.
        """
        ...


class RoleRepository(Protocol):
    """Roles beside the built-in ones."""

    async def list_all(self) -> Sequence[Role]:
        """List by name."""
        ...

    async def find(self, names: Sequence[str], *, lock: bool = False) -> Sequence[Role]:
        """Read those that exist, by name; with `lock` they are held until the end."""
        ...

    async def put(self, role: Role, now: datetime) -> bool:
        """Insert or replace; True for a new one."""
        ...

    async def delete(self, name: str) -> bool:
        """Delete; False when there is none. Raises RoleInUse while an account names it.

        Waits for those who hold it by `find(lock=True)`, and sees what they did.
        """
        ...


class OneTimeTokenRepository(Protocol):
    async def add(self, token: OneTimeToken) -> None:
        """Insert, and drop the older token of the same account, purpose and address."""
        ...

    async def find(
        self, digest: bytes, purposes: Set[Purpose], now: datetime
    ) -> OneTimeToken | None:
        """Look without spending; None when unknown, of another purpose or expired."""
        ...

    async def consume(
        self, digest: bytes, purposes: Set[Purpose], now: datetime
    ) -> OneTimeToken | None:
        """Take and delete in one statement: of N at once exactly one gets it."""
        ...

    async def drop_all(
        self, account_id: AccountId, *, keep_undo_until: datetime | None = None
    ) -> None:
        """Drop an account's tokens, but links issued until then that undo a change of address.

        Whoever took an account over changes address and password next: neither may cost the
        owner his way back.
        """
        ...

    async def list_good(self, account_id: AccountId, now: datetime) -> Sequence[OneTimeToken]:
        """List an account's tokens that have not expired, oldest first."""
        ...

    async def remove_expired(self, now: datetime, limit: int) -> int: ...


class SessionRepository(Protocol):
    async def add(self, session: Session) -> None: ...

    async def turn(
        self, claim: RefreshClaim, secret_hash: bytes, now: datetime, policy: SessionPolicy
    ) -> tuple[Session, Account] | None:
        """Apply `Session.turn` to the live session of a usable account, in one statement.

        None: no such session, another secret, ended, expired, or the account may not sign in;
        then nothing is written. Otherwise the session as it is now (perhaps just ended) and its
        account. Of N simultaneous calls with one token at most one rotates.
        """
        ...

    async def list_live(self, account_id: AccountId, now: datetime) -> Sequence[Session]:
        """List newest first."""
        ...

    async def list_page(
        self, account_id: AccountId, *, after: tuple[datetime, SessionId] | None, limit: int
    ) -> Sequence[Session]:
        """List by (`created_at`, `id`), ended ones too; `after` is where a page ended."""
        ...

    async def end(
        self, session_id: SessionId, account_id: AccountId, reason: EndReason, now: datetime
    ) -> bool:
        """End one session of this account unless it ended before; takes refresh's row lock."""
        ...

    async def end_all(
        self,
        account_id: AccountId,
        reason: EndReason,
        now: datetime,
        *,
        keep: SessionId | None = None,
    ) -> int:
        """End every live session but `keep`; returns how many."""
        ...

    async def remove_all(self, account_id: AccountId) -> None:
        """Delete every session of an account, ended ones too; takes refresh's row lock."""
        ...

    async def remove_ended(self, before: datetime, limit: int) -> int:
        """Delete up to `limit` sessions that ended or expired before a time."""
        ...


class ClientRepository(Protocol):
    """Machine clients, each with its secrets (oldest first)."""

    async def get(self, client_id: ClientId, *, lock: bool = False) -> Client | None:
        """Read one; with `lock` the row is held until the transaction ends."""
        ...

    async def list_page(self, *, after: ClientId | None = None, limit: int) -> Sequence[Client]:
        """List newest first, which is by `id` descending; `after` is where a page ended."""
        ...

    async def add(self, client: Client) -> None: ...

    async def save(self, client: Client) -> None:
        """Write all fields back; secrets that are not listed go, the others stay as stored."""
        ...

    async def remove(self, client_id: ClientId) -> bool: ...

    async def note_use(self, secret_id: UUID, now: datetime) -> None: ...


class SigningKeyRepository(Protocol):
    async def lock(self) -> None:
        """Wait until no other transaction holds this lock; it is held until this one ends."""
        ...

    async def list_all(self) -> Sequence[SigningKey]:
        """List all, oldest first."""
        ...

    async def add(self, key: SigningKey) -> bool:
        """Insert; False when another replica's active key is there already."""
        ...

    async def save(self, key: SigningKey) -> None: ...

    async def remove(self, kid: str) -> None: ...


class AuditLog(Protocol):
    async def append(self, entry: AuditEntry, *, announces: str | None = None) -> bool:
        """Insert, and tell in the same statement whether an endpoint wants this event."""
        ...

    async def append_all(self, entries: Sequence[AuditEntry]) -> None: ...

    async def forget(self, account_id: AccountId) -> None:
        """Take ip and user agent from all entries by or about an account; the ids stay."""
        ...

    async def list_newest(
        self, filter_: AuditFilter, *, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[AuditEntry]:
        """List by (`created_at`, `id`), falling; with `before` what comes after that position."""
        ...

    async def remove_before(self, time: datetime, limit: int) -> int:
        """Delete up to `limit` entries made before a time; returns how many."""
        ...


class IdempotencyRepository(Protocol):
    async def find(self, key: bytes, now: datetime) -> StoredAnswer | None:
        """Look an answer up; None when there is none or it has expired."""
        ...

    async def claim(self, key: bytes) -> bool:
        """Hold a key until the transaction ends; False, without waiting, if another holds it."""
        ...

    async def put(self, answer: StoredAnswer) -> None:
        """Insert, over an older answer of the key; for the holder of the key alone."""
        ...

    async def drop_all(self, account_id: AccountId) -> None: ...

    async def remove_expired(self, now: datetime, limit: int) -> int: ...


class JobQueue(Protocol):
    async def enqueue(self, job: Job) -> None:
        """Insert with the transaction: rolled back, there is no job; committed, it is done.

        A job whose `id` is queued already is dropped without an error.
        """
        ...

    async def drop_of(self, account_id: AccountId) -> None:
        """Delete the jobs of an account that wait or were given up."""
        ...

    async def list_oldest(self, filter_: JobFilter, *, limit: int) -> Sequence[JobRecord]:
        """List up to `limit` jobs that are not done, oldest first."""
        ...

    async def revive(self, filter_: JobFilter, *, limit: int) -> int:
        """Let up to `limit` dead jobs wait again, due at once and never tried; returns how many.

        One whose like is queued meanwhile stays dead.
        """
        ...

    async def remove_dead(self, filter_: JobFilter, *, older: timedelta, limit: int) -> int:
        """Delete up to `limit` jobs that died longer ago; returns how many."""
        ...

    async def forget_done(self, *, older: timedelta, limit: int) -> int:
        """Delete up to `limit` traces of what was done longer ago; returns how many."""
        ...


class Transaction(Protocol):
    """One transaction. Leaving it without `commit` undoes everything."""

    @property
    def accounts(self) -> AccountRepository: ...
    @property
    def tokens(self) -> OneTimeTokenRepository: ...
    @property
    def sessions(self) -> SessionRepository: ...
    @property
    def clients(self) -> ClientRepository: ...
    @property
    def keys(self) -> SigningKeyRepository: ...
    @property
    def audit(self) -> AuditLog: ...
    @property
    def idempotency(self) -> IdempotencyRepository: ...
    @property
    def jobs(self) -> JobQueue: ...
    @property
    def directory(self) -> AccountDirectory: ...
    @property
    def roles(self) -> RoleRepository: ...
    @property
    def exports(self) -> ExportRepository: ...
    @property
    def transfer(self) -> AccountTransfer: ...
    @property
    def webhooks(self) -> WebhookRepository: ...

    async def commit(self) -> None:
        """Make it last; while it is under way deadlines wait a moment for its outcome."""
        ...


class UnitOfWork(Protocol):
    """A factory of transactions (READ COMMITTED); failures of storage raise Unavailable."""

    def __call__(self) -> AbstractAsyncContextManager[Transaction]: ...


class CallerReader(Protocol):
    async def find(self, session_id: SessionId, now: datetime) -> Account | None:
        """Read the usable account whose live session this is, in one query, uncached.

        Runs on every authenticated call, so that an ended session or a suspended account is
        refused at once.
        """
        ...

    async def client_scopes(self, client_id: ClientId) -> frozenset[str] | None:
        """Read what an active client may do, likewise; None when disabled or not there."""
        ...


class Rotations(Protocol):
    async def rotate(
        self, claim: RefreshClaim, secret_hash: bytes, now: datetime, policy: SessionPolicy
    ) -> tuple[Session, Account] | None:
        """Turn a live session whose current token this is; committed when this returns.

        None for every other token, and then nothing is written: `SessionRepository.turn` judges
        it, in a transaction that can tell of it.
        """
        ...


class HealthCheck(Protocol):
    async def __call__(self) -> None:
        """Raise Unavailable unless the dependency answers and is as this release needs it."""
        ...
