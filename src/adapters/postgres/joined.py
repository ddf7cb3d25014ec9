"""Transactions inside of one that somebody else began, and alone ends."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import asyncpg
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from ...application.ports.storage import Transaction, UnitOfWork
from .connection import Connection, driver_of
from .failures import outages_as_unavailable
from .jobs import refuse_renamed_queue
from .lent import borrowed, refuse_level
from .transactions import PostgresTransaction

Commit: TypeAlias = Callable[[], Awaitable[None]]
Host: TypeAlias = AsyncSession | AsyncConnection | asyncpg.Connection


class JoinedUnitOfWork(UnitOfWork):
    """What `Gatepost.within` takes to work in the transaction of a host's session or connection.

    Each transaction of ours is a savepoint of the host's. What we commit lasts once the host
    commits; what we leave without commit is undone alone, and the host's transaction stays good.
    Accounts, audit entries, mails and events are all in it, so that none is there without the
    others. Given up within a statement, as by a deadline, the host's connection is cut.

    The host's transaction must be READ COMMITTED, or RuntimeError is raised, on the database that
    Gatepost uses, and nothing else may run on it meanwhile. `schema` says where our tables are if
    the host's search path does not lead there first; the path is ours only while we work.
    """

    def __init__(self, host: Host, *, schema: str | None = None) -> None:
        refuse_renamed_queue()
        self._host = host
        self._schema = schema

    def __call__(self) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        with outages_as_unavailable():
            async with self._savepoint() as (connection, release):
                former = await self._enter_schema(connection)

                async def commit() -> None:
                    if former is not None:
                        await _set_path(connection, former)
                    await release()

                core = connection.sync_connection
                if core is None:
                    raise RuntimeError("The connection is not open.")
                yield PostgresTransaction(Connection(core, driver_of(core)), commit)

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[tuple[AsyncConnection, Commit]]:
        """Open a savepoint, undone unless released; that undoes the search path too."""
        host = self._host
        if not isinstance(host, (AsyncSession, AsyncConnection)):
            async with borrowed(host) as connection:
                # SQLAlchemy sets the savepoint with its first statement, and ours go past it.
                await connection.execute(select(1))
                yield connection, connection.commit
            return
        connection = await host.connection() if isinstance(host, AsyncSession) else host
        if getattr((await connection.get_raw_connection()).dbapi_connection, "autocommit", False):
            raise RuntimeError("The connection is in autocommit; nothing can be joined.")
        refuse_level(
            await connection.scalar(select(func.current_setting("transaction_isolation")))
        )
        savepoint = await connection.begin_nested()
        try:
            yield connection, savepoint.commit
        finally:
            if savepoint.is_active:
                await savepoint.rollback()

    async def _enter_schema(self, connection: AsyncConnection) -> str | None:
        """Put our schema in the path until the savepoint ends; returns the path before."""
        if self._schema is None:
            return None
        former = await connection.scalar(select(func.current_setting("search_path")))
        quoted = connection.dialect.identifier_preparer.quote(self._schema)
        await _set_path(connection, quoted)
        return str(former)


async def _set_path(connection: AsyncConnection, path: str) -> None:
    await connection.execute(select(func.set_config("search_path", path, True)))
