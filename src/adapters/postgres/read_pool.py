"""Connections for single statements: no transactions, no state, first come, first served."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg

from .dsn import to_dsn
from .engine import CHECKOUT_TIMEOUT, connect_observed
from .failures import outages_as_unavailable

_Ask = Callable[..., Awaitable[Any]]


class ReadPool:
    """Connections for single reads on asyncpg itself; opened on demand, never in a transaction.

    The driver's own pool lends proxies and takes each connection back in a task: more work than
    most statements are. In its queue newcomers overtake, and some wait ten times as long as most.
    """

    def __init__(self, url: str, *, size: int) -> None:
        self._dsn = to_dsn(url)
        self._size = size
        self._turns: asyncio.Semaphore | None = None
        self._idle: list[asyncpg.Connection] = []
        self._connected: set[asyncpg.Connection] = set()

    async def open(self) -> None:
        """Begin on the running loop; connects nothing, so the database may be down."""
        self._turns = asyncio.Semaphore(self._size)

    async def close(self) -> None:
        """Cut all connections, also those that are asked right now."""
        self._turns = None
        for connection in self._connected:
            connection.terminate()
        self._connected.clear()
        self._idle.clear()

    async def fetchrow(self, sql: str, *arguments: object) -> asyncpg.Record | None:
        """Read one row; raises Unavailable."""
        found: asyncpg.Record | None = await self._ask(asyncpg.Connection.fetchrow, sql, arguments)
        return found

    async def fetch(self, sql: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """Read all rows; raises Unavailable."""
        found: Sequence[asyncpg.Record] = await self._ask(asyncpg.Connection.fetch, sql, arguments)
        return found

    async def _ask(self, ask: _Ask, sql: str, arguments: tuple[object, ...]) -> Any:
        turns = self._turns
        if turns is None:
            raise RuntimeError("The pool is not open.")
        with outages_as_unavailable():
            await _take_turn(turns)
            try:
                connection = self._take_idle() or await self._connect(turns)
                try:
                    return await ask(connection, sql, *arguments)
                except BaseException as error:
                    # In doubt, also when the caller gave up: its answer may still come.
                    if not isinstance(error, asyncpg.PostgresError):
                        connection.terminate()
                    raise
                finally:
                    self._idle.append(connection)
            finally:
                turns.release()

    def _take_idle(self) -> asyncpg.Connection | None:
        """Return the connection that was used last, if the server did not close it."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._connected.discard(connection)
        return None

    async def _connect(self, turns: asyncio.Semaphore) -> asyncpg.Connection:
        connection = await connect_observed(self._dsn)
        if turns is not self._turns:
            connection.terminate()
            raise asyncpg.InterfaceError("The pool was closed.")
        self._connected.add(connection)
        return connection


async def _take_turn(turns: asyncio.Semaphore) -> None:
    if turns.locked():
        async with asyncio.timeout(CHECKOUT_TIMEOUT):
            await turns.acquire()
    else:
        await turns.acquire()
