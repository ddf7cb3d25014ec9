"""Transactions on PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import cached_property
from typing import Protocol

import sqlalchemy
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.util import greenlet_spawn

from ...application.outcomes import deciding
from ...application.ports.delivery import Metrics
from ...application.ports.storage import Transaction, UnitOfWork
from .accounts import PostgresAccounts
from .audit import PostgresAuditLog
from .clients import PostgresClients
from .connection import Connection, driver_of
from .credentials import PostgresOneTimeTokens
from .directory import PostgresDirectory
from .exports import PostgresExports
from .failures import outages_as_unavailable
from .idempotency import PostgresIdempotency
from .jobs import PgQueuerJobs, refuse_renamed_queue
from .keys import PostgresSigningKeys
from .roles import PostgresRoles
from .sessions import PostgresSessions
from .transfer import PostgresTransfer
from .webhooks import PostgresWebhooks


class PostgresTransaction(Transaction):
    """Repositories on one connection; whoever made it says what `commit` is."""

    def __init__(self, connection: Connection, commit: Callable[[], Awaitable[None]]) -> None:
        self._connection = connection
        self._commit = commit

    @cached_property
    def accounts(self) -> PostgresAccounts:
        return PostgresAccounts(self._connection)

    @cached_property
    def directory(self) -> PostgresDirectory:
        return PostgresDirectory(self._connection)

    @cached_property
    def roles(self) -> PostgresRoles:
        return PostgresRoles(self._connection)

    @cached_property
    def tokens(self) -> PostgresOneTimeTokens:
        return PostgresOneTimeTokens(self._connection)

    @cached_property
    def sessions(self) -> PostgresSessions:
        return PostgresSessions(self._connection)

    @cached_property
    def clients(self) -> PostgresClients:
        return PostgresClients(self._connection)

    @cached_property
    def keys(self) -> PostgresSigningKeys:
        return PostgresSigningKeys(self._connection)

    @cached_property
    def audit(self) -> PostgresAuditLog:
        return PostgresAuditLog(self._connection)

    @cached_property
    def idempotency(self) -> PostgresIdempotency:
        return PostgresIdempotency(self._connection)

    @cached_property
    def exports(self) -> PostgresExports:
        return PostgresExports(self._connection)

    @cached_property
    def transfer(self) -> PostgresTransfer:
        return PostgresTransfer(self._connection)

    @cached_property
    def webhooks(self) -> PostgresWebhooks:
        return PostgresWebhooks(self._connection)

    @cached_property
    def jobs(self) -> PgQueuerJobs:
        return PgQueuerJobs(self._connection)

    async def commit(self) -> None:
        await self._commit()


class HasEngine(Protocol):
    """An engine of ours, or SQLAlchemy's AsyncEngine."""

    @property
    def sync_engine(self) -> sqlalchemy.Engine: ...


class PostgresUnitOfWork(UnitOfWork):
    """Opens transactions on an engine in autocommit.

    Refuses an environment that renames the job queue.

    `metrics` hears how long each waited for its connection.
    """

    def __init__(self, engine: HasEngine, metrics: Metrics | None = None) -> None:
        refuse_renamed_queue()
        self._engine = engine.sync_engine
        self._metrics = metrics

    def __call__(self) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        with outages_as_unavailable(), ExitStack() as until_closed:
            async with self._connected() as core:
                connection = Connection(core, driver_of(core))

                async def commit() -> None:
                    # Not over with the commit: given up while its connection is handed back,
                    # what was done would be told as failed.
                    until_closed.enter_context(deciding())
                    await connection.commit()

                try:
                    yield PostgresTransaction(connection, commit)
                finally:
                    await connection.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[sqlalchemy.Connection]:
        asked = time.perf_counter()
        try:
            connection = await greenlet_spawn(self._engine.connect)
        except PoolTimeout:
            if self._metrics is not None:
                self._metrics.not_connected()
            raise
        try:
            if self._metrics is not None:
                self._metrics.connected(time.perf_counter() - asked)
            yield connection
        finally:
            await _hand_back(connection)


async def _hand_back(connection: sqlalchemy.Connection) -> None:
    """Do it to the end: a caller who gives up meanwhile must not leave it half in the pool."""
    closing = asyncio.ensure_future(greenlet_spawn(connection.close))
    given_up: asyncio.CancelledError | None = None
    while not closing.done():
        try:
            await asyncio.wait({closing})
        except asyncio.CancelledError as error:
            given_up = error
    closing.result()
    if given_up is not None:
        raise given_up
