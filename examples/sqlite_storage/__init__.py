"""Storage of Gatepost in one SQLite file: an adapter of one's own, held to the contract suites.

For one machine and few writers: transactions follow one another, as SQLite has it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gatepost import Ports
from gatepost.application.ports.delivery import Job
from gatepost.application.ports.security import Clock
from gatepost.application.ports.sessions import ByTransaction
from gatepost.application.ports.storage import Transaction, UnitOfWork
from gatepost.domain.audit import AuditEntry

from .accounts import (
    SqliteAccounts,
    SqliteDirectory,
    SqliteRoles,
    SqliteTokens,
    SqliteTransfer,
)
from .database import Connection, Rows
from .outside import SqliteExports, SqliteJobs, SqliteWebhooks, SqliteWorker
from .sessions import SqliteCallers, SqliteSessions
from .trail import SqliteAuditLog, SqliteClients, SqliteIdempotency, SqliteSigningKeys

__all__ = ["SqliteStorage", "SqliteTransaction", "SqliteUnitOfWork", "SqliteWorker"]


class SqliteTransaction(Transaction):
    def __init__(self, connection: Connection, now: Clock) -> None:
        self._connection = connection
        self._now = now
        self._has_ended = False

    @property
    def accounts(self) -> SqliteAccounts:
        return SqliteAccounts(self._open)

    @property
    def tokens(self) -> SqliteTokens:
        return SqliteTokens(self._open)

    @property
    def sessions(self) -> SqliteSessions:
        return SqliteSessions(self._open)

    @property
    def clients(self) -> SqliteClients:
        return SqliteClients(self._open)

    @property
    def keys(self) -> SqliteSigningKeys:
        return SqliteSigningKeys(self._open)

    @property
    def audit(self) -> SqliteAuditLog:
        return SqliteAuditLog(self._open)

    @property
    def idempotency(self) -> SqliteIdempotency:
        return SqliteIdempotency(self._open)

    @property
    def jobs(self) -> SqliteJobs:
        return SqliteJobs(self._open, self._now)

    @property
    def directory(self) -> SqliteDirectory:
        return SqliteDirectory(self._open)

    @property
    def roles(self) -> SqliteRoles:
        return SqliteRoles(self._open)

    @property
    def exports(self) -> SqliteExports:
        return SqliteExports(self._open)

    @property
    def transfer(self) -> SqliteTransfer:
        return SqliteTransfer(self._open)

    @property
    def webhooks(self) -> SqliteWebhooks:
        return SqliteWebhooks(self._open)

    async def commit(self) -> None:
        await self._open.change("COMMIT")
        self.close()

    def close(self) -> None:
        self._has_ended = True

    @property
    def _open(self) -> Connection:
        if self._has_ended:
            raise RuntimeError("This transaction has ended.")
        return self._connection


class SqliteUnitOfWork(UnitOfWork):
    """One writer at a time.

    Tasks of this process wait for the lock, on the event loop; were they to wait in SQLite, the
    one that holds the file would find no thread to commit with. Other processes wait in SQLite.
    """

    def __init__(self, connection: Connection, now: Clock) -> None:
        self._connection = connection
        self._now = now
        self._turnstile = asyncio.Lock()

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[SqliteTransaction]:
        async with self._turnstile:
            transaction = SqliteTransaction(self._connection, self._now)
            try:
                # IMMEDIATE: who reads first could otherwise be refused when he comes to write.
                await self._connection.change("BEGIN IMMEDIATE")
                yield transaction
            finally:
                transaction.close()
                await self._connection.roll_back()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SqliteStorage:
    """A file, with one connection that writes and one that reads what is committed."""

    def __init__(self, file: Path, now: Clock = _utc_now) -> None:
        self._writer, self._reader = Connection(file), Connection(file)
        self._now = now
        self.uow = SqliteUnitOfWork(self._writer, now)
        self.callers = SqliteCallers(self._reader)

    async def create(self) -> None:
        """Make the tables where they are missing."""
        await self._writer.create()

    def put_into(self, ports: Ports) -> Ports:
        """Replace all that is about storage: one port left out would write elsewhere."""
        whole = ByTransaction()
        return replace(ports, uow=self.uow, callers=self.callers, rotations=whole, sign_ins=whole)

    async def queued_jobs(self) -> list[Job]:
        return await SqliteJobs(self._reader, self._now).queued()

    async def audit_entries(self) -> list[AuditEntry]:
        return await Rows(self._reader, "audit", AuditEntry).find(tail="ORDER BY rowid")

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
