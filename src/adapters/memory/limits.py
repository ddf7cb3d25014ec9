"""Counting in one process: for tests, and the pattern of what the other stores do."""

import hashlib
from datetime import UTC, datetime, timedelta

from ...application.ports.limits import KeyHasher, RateLimiter
from ...application.ports.security import Clock
from ...domain.errors import Unavailable
from ...domain.limits import (
    Budget,
    Decision,
    Rule,
    State,
    give_back,
    is_forgettable,
    look,
    spend,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MemoryRateLimiter(RateLimiter):
    """Atomic because nothing is awaited; with `is_down` it fails as a lost store does."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._states: dict[bytes, State] = {}
        self.is_down = False

    async def spend(self, key: bytes, budget: Budget) -> Decision:
        state, decision = spend(budget, self._states.get(key), self._moment())
        self._states[key] = state
        return decision

    async def give_back(self, key: bytes, decision: Decision) -> None:
        self._moment()
        state = self._states.get(key)
        if state is not None:
            self._states[key] = give_back(state, decision)

    async def peek(self, key: bytes, budget: Budget) -> Decision:
        return look(budget, self._states.get(key), self._moment())

    async def sweep(self, limit: int) -> int:
        now = self._moment()
        gone = [key for key, state in self._states.items() if is_forgettable(state, now)][:limit]
        for key in gone:
            del self._states[key]
        return len(gone)

    def _moment(self) -> int:
        if self.is_down:
            raise Unavailable
        return (self._now() - _EPOCH) // timedelta(microseconds=1)


class MemoryKeyHasher(KeyHasher):
    """A plain digest: nothing outside the process sees it."""

    def __call__(self, rule: Rule, subject: str) -> bytes:
        return hashlib.sha256(f"{rule}\0{subject}".encode("utf-8", "surrogatepass")).digest()
