"""Transactions on PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import cached_property

from sqlalchemy.ext.asyncio import AsyncEngine

from ...application.outcomes import deciding
from ...application.ports.storage import Transaction, UnitOfWork
from .accounts import PostgresAccounts
from .audit import PostgresAuditLog
from .clients import PostgresClients
from .connection import Connection
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
    def __init__(self, connection: Connection, until_closed: ExitStack) -> None:
        self._connection = connection
        self._until_closed = until_closed

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
        # Not over with the commit: given up while its connection is handed back, what was done
        # would be told as failed.
        self._until_closed.enter_context(deciding())
        await self._connection.commit()


class PostgresUnitOfWork(UnitOfWork):
    """Opens transactions on an engine in autocommit.

    Refuses an environment that renames the job queue.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        refuse_renamed_queue()
        self._engine = engine

    def __call__(self) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        with outages_as_unavailable(), ExitStack() as until_closed:
            async with self._engine.connect() as core:
                pooled = await core.get_raw_connection()
                connection = Connection(core, pooled.driver_connection)
                try:
                    yield PostgresTransaction(connection, until_closed)
                finally:
                    await connection.close()
