"""What the core asks of storage. Every method runs inside the transaction it was taken from."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from ...domain.accounts import AccountId
from ...domain.audit import AuditEntry, AuditFilter
from ...domain.clients import Client, ClientId
from ...domain.idempotency import StoredAnswer
from ...domain.jobs import JobFilter, JobRecord
from ...domain.keys import SigningKey
from .accounts import AccountRepository
from .credentials import OneTimeTokenRepository
from .delivery import Job
from .directory import AccountDirectory, RoleRepository
from .exports import ExportRepository
from .sessions import SessionRepository
from .transfer import AccountTransfer
from .webhooks import WebhookRepository


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


class HealthCheck(Protocol):
    async def __call__(self) -> None:
        """Raise Unavailable unless the dependency answers and is as this release needs it."""
        ...
