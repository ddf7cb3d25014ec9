"""One at a time for each of many."""

from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ..domain.errors import Unavailable

if TYPE_CHECKING:
    from asyncio import Lock

_PATIENCE_SECONDS = 2.0


class Turns:
    """Lets those who would wait for one row wait here, where they hold no connection.

    Otherwise as many as a pool has connections hold all of it while that row is locked, and
    everybody else waits with them.
    """

    def __init__(self, patience: float = _PATIENCE_SECONDS) -> None:
        self._patience = patience
        # A lock goes with the last who waits for it or has it.
        self._locks: WeakValueDictionary[Hashable, Lock] = WeakValueDictionary()

    def __call__(self, key: Hashable) -> AbstractAsyncContextManager[None]:
        """Wait for the turn; raises Unavailable when that takes too long."""
        return _Turn(self._lock(key), self._patience)

    def _lock(self, key: Hashable) -> "Lock":
        from asyncio import Lock

        if (lock := self._locks.get(key)) is None:
            lock = self._locks[key] = Lock()
        return lock


class _Turn(AbstractAsyncContextManager[None]):
    __slots__ = ("_lock", "_patience")

    def __init__(self, lock: "Lock", patience: float) -> None:
        self._lock = lock
        self._patience = patience

    async def __aenter__(self) -> None:
        if not self._lock.locked():
            # Nearly always: at a tenth of the cost of a time limit.
            await self._lock.acquire()
            return
        from asyncio import timeout

        try:
            async with timeout(self._patience):
                await self._lock.acquire()
        except TimeoutError:
            raise Unavailable from None

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
