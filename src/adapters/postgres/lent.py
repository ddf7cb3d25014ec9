"""A host's asyncpg connection in the hands of SQLAlchemy, for as long as a transaction of ours."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import asyncpg
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

_lent: ContextVar["_Lent"] = ContextVar("lent connection")


class _Lent:
    """The connection as SQLAlchemy may have it: never closed, and its codecs left alone."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def set_type_codec(self, *_: object, **__: object) -> None:
        return None

    async def close(self, **_: object) -> None:
        return None

    def terminate(self) -> None:
        return None


@cache
def _engine() -> AsyncEngine:
    """Make the one engine, whose dialect then learns about the server once."""

    async def lent() -> _Lent:
        return _lent.get()

    # The driver refuses this level inside of a transaction of another.
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lent,
        poolclass=NullPool,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
    )


def refuse_level(level: str | None) -> None:
    """Raise RuntimeError for a level that hides what was committed before a lock was given."""
    if level != "read committed":
        raise RuntimeError(f"The transaction is {str(level).upper()}; join one in READ COMMITTED.")


@asynccontextmanager
async def borrowed(host: asyncpg.Connection) -> AsyncIterator[AsyncConnection]:
    """Open a savepoint in the host's transaction; it is undone unless committed.

    In doubt, as when the caller gave up within a statement, the connection is cut.

    Raises RuntimeError outside of a transaction, where a commit would be for good, in one that is
    not READ COMMITTED, and where the host's codec for `jsonb` would encode our queue's headers
    twice.
    """
    if not host.is_in_transaction():
        raise RuntimeError("The connection has no transaction that could be joined.")
    known = await host.fetchrow("SELECT '{}'::jsonb, current_setting('transaction_isolation')")
    refuse_level(known[1])
    if not isinstance(known[0], str):
        raise RuntimeError("The connection has a codec for jsonb; join one without.")
    token = _lent.set(_Lent(host))
    try:
        async with _engine().connect() as connection:
            try:
                yield connection
            finally:
                if connection.invalidated:
                    # Nothing undid the savepoint: the host would commit a part of what we did.
                    host.terminate()
    finally:
        _lent.reset(token)
