"""Storage in memory, with transactions that commit, undo and exclude each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from ...application.ports.delivery import Job
from ...application.ports.security import Clock
from ...application.ports.sessions import CallerReader, Rotations, SignIns
from ...application.ports.storage import HealthCheck, Transaction, UnitOfWork
from ...domain.accounts import Account, Username
from ...domain.addresses import EmailAddress
from ...domain.audit import AuditEntry
from ...domain.clients import Client, ClientId, ClientStatus
from ...domain.sessions import Holder, RefreshClaim, Session, SessionId, SessionPolicy
from .clients import MemoryClients
from .directory import MemoryDirectory, MemoryRoles
from .exports import MemoryExports
from .jobs import MemoryJobs
from .repositories import (
    MemoryAccounts,
    MemoryAuditLog,
    MemoryIdempotency,
    MemoryOneTimeTokens,
    MemorySessions,
    MemorySigningKeys,
    Tables,
)
from .transfer import MemoryTransfer
from .webhooks import MemoryWebhookRepository


def _utc_now() -> datetime:
    return datetime.now(UTC)


class MemoryStorage:
    """What is committed; `now` is the clock by which jobs are due."""

    def __init__(self, now: Clock = _utc_now) -> None:
        self.committed = Tables()
        self.now = now
        self._turnstile = asyncio.Lock()
        self._holder: asyncio.Task[object] | None = None

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Let one task in at a time; raises RuntimeError where it would wait for itself."""
        task = asyncio.current_task()
        if self._holder is task:
            raise RuntimeError("This task has a transaction open already.")
        async with self._turnstile:
            self._holder = task
            try:
                yield
            finally:
                self._holder = None

    @property
    def queued(self) -> list[Job]:
        return list(self.committed.queue.jobs.values())

    async def drain(self) -> list[Job]:
        """Take every queued job, oldest first, as a worker would."""
        async with self.alone():
            jobs = self.queued
            self.committed.queue.remove(job.id for job in jobs)
        return jobs

    @property
    def audit_entries(self) -> list[AuditEntry]:
        return list(self.committed.audit)


class MemoryTransaction(Transaction):
    """Works on a copy of the tables, which `commit` swaps in."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self._work: Tables | None = storage.committed.copy()

    @property
    def accounts(self) -> MemoryAccounts:
        return MemoryAccounts(self._tables)

    @property
    def tokens(self) -> MemoryOneTimeTokens:
        return MemoryOneTimeTokens(self._tables)

    @property
    def sessions(self) -> MemorySessions:
        return MemorySessions(self._tables)

    @property
    def clients(self) -> MemoryClients:
        return MemoryClients(self._tables)

    @property
    def keys(self) -> MemorySigningKeys:
        return MemorySigningKeys(self._tables)

    @property
    def audit(self) -> MemoryAuditLog:
        return MemoryAuditLog(self._tables)

    @property
    def idempotency(self) -> MemoryIdempotency:
        return MemoryIdempotency(self._tables)

    @property
    def jobs(self) -> MemoryJobs:
        return MemoryJobs(self._tables.queue, self._storage.now)

    @property
    def directory(self) -> MemoryDirectory:
        return MemoryDirectory(self._tables)

    @property
    def roles(self) -> MemoryRoles:
        return MemoryRoles(self._tables)

    @property
    def exports(self) -> MemoryExports:
        return MemoryExports(self._tables)

    @property
    def transfer(self) -> MemoryTransfer:
        return MemoryTransfer(self._tables)

    @property
    def webhooks(self) -> MemoryWebhookRepository:
        return MemoryWebhookRepository(self._tables)

    async def commit(self) -> None:
        # A copy, or a repository that somebody kept would write into what is committed.
        self._storage.committed = self._tables.copy()
        self.close()

    def close(self) -> None:
        self._work = None

    @property
    def _tables(self) -> Tables:
        if self._work is None:
            raise RuntimeError("This transaction has ended.")
        return self._work


class MemoryUnitOfWork(UnitOfWork):
    """Transactions one after the other, which makes `lock` right without a line of code.

    One inside another of the same task is a RuntimeError; beware of awaiting, inside one, a
    second task that opens its own.
    """

    def __init__(self, storage: MemoryStorage) -> None:
        self.storage = storage

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[MemoryTransaction]:
        async with self.storage.alone():
            transaction = MemoryTransaction(self.storage)
            try:
                yield transaction
            finally:
                transaction.close()


class MemoryCallers(CallerReader):
    """Reads what is committed, without waiting for a transaction."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage

    async def find(self, session_id: SessionId, now: datetime) -> Account | None:
        tables = self._storage.committed
        session = tables.sessions.get(session_id)
        if session is None or not session.is_live(now):
            return None
        account = tables.accounts[session.account_id]
        return replace(account) if account.is_usable(now) else None

    async def client_scopes(self, client_id: ClientId) -> frozenset[str] | None:
        client = self._storage.committed.clients.get(client_id)
        if client is None or client.status is not ClientStatus.ACTIVE:
            return None
        return frozenset(client.scopes)

    async def client(self, client_id: ClientId) -> Client | None:
        return self._storage.committed.clients.get(client_id)

    async def by_username(self, username: Username) -> Account | None:
        return await MemoryAccounts(self._storage.committed).find_by_username(username)

    async def by_email(
        self, email: EmailAddress, now: datetime
    ) -> tuple[Account | None, Account | None]:
        accounts = MemoryAccounts(self._storage.committed)
        return await accounts.find_by_email(email), await accounts.find_unproven(email, now)


class MemoryRotations(Rotations):
    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage

    async def rotate(
        self, claim: RefreshClaim, secret_hash: bytes, now: datetime, policy: SessionPolicy
    ) -> Holder | None:
        async with self._storage.alone():
            tables = self._storage.committed.copy()
            session = tables.sessions.get(claim.session_id)
            if session is None or session.generation != claim.generation:
                return None
            turned = await MemorySessions(tables).turn(claim, secret_hash, now, policy)
            if turned is None:
                return None
            self._storage.committed = tables
            session, account = turned
            return session.holder(account.roles)


class MemorySignIns(SignIns):
    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage

    async def start(
        self, session: Session, seen: Account, entry: AuditEntry, announces: str
    ) -> bool:
        async with self._storage.alone():
            tables = self._storage.committed.copy()
            account = tables.accounts.get(session.account_id)
            if account is None or not account.is_usable(session.created_at):
                return False
            if _shown_at_sign_in(account) != _shown_at_sign_in(seen):
                return False
            await MemorySessions(tables).add(session)
            if await MemoryAuditLog(tables).append(entry, announces=announces):
                return False
            self._storage.committed = tables
            return True


def _shown_at_sign_in(account: Account) -> tuple[object, ...]:
    is_proven, is_placeholder = account.email_verified, account.is_placeholder
    return account.password_hash, account.roles, is_proven, is_placeholder


class AlwaysHealthy(HealthCheck):
    async def __call__(self) -> None:
        return None
