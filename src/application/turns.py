"""One at a time for each of many."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from ..domain.errors import Unavailable

_PATIENCE_SECONDS = 2.0


class Turns:
    """Lets those who would wait for one row wait here, where they hold no connection.

    Otherwise as many as a pool has connections hold all of it while that row is locked, and
    everybody else waits with them.
    """

    def __init__(self, patience: float = _PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def __call__(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for the turn; raises Unavailable when that takes too long."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout(self._patience if lock.locked() else None):
                await lock.acquire()
        except TimeoutError:
            raise Unavailable from None
        try:
            yield
        finally:
            lock.release()
