"""Rate limits, spent by use cases before their work."""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from ..domain.dataclasses import dataclass
from ..domain.errors import RateLimited, Unavailable
from ..domain.limits import Budget, Decision, LimitPolicy, Rule
from .ports.delivery import Metrics
from .ports.limits import KeyHasher, LimitEvents, RateLimiter
from .ports.security import Clock
from .refusals import Refusals

if TYPE_CHECKING:
    from asyncio import Lock

T = TypeVar("T")


_RESTED_SECONDS = 1.0
_PARTS = 60
_SMALLEST_LEASE = 5
_MOST_LEASES = 10_000
# Who is told how it stands with these learns what others did.
_UNTOLD = frozenset({Rule.MAIL, Rule.DEVICE})

Standings = dict[Rule, Decision]

_told: ContextVar[Standings | None] = ContextVar("gatepost_limits", default=None)


class telling(AbstractContextManager[Standings]):
    """Collect how it stands with the limits that are spent inside, for whoever answers."""

    __slots__ = ("_token",)

    def __enter__(self) -> Standings:
        standings: Standings = {}
        self._token = _told.set(standings)
        return standings

    def __exit__(self, *_: object) -> None:
        _told.reset(self._token)


def _tell(rule: Rule, decision: Decision) -> None:
    standings = _told.get()
    if standings is not None and rule not in _UNTOLD:
        standings[rule] = decision


class SilentEvents(LimitEvents):
    """Hears nothing."""

    def limited(self, rule: Rule) -> None:
        return None

    def uncounted(self, rule: Rule, *, refused: bool) -> None:
        return None

    def store_lost(self) -> None:
        return None


class CountedEvents(LimitEvents):
    """Tells the metrics, too."""

    def __init__(self, events: LimitEvents, metrics: Metrics) -> None:
        self._events = events
        self._metrics = metrics

    def limited(self, rule: Rule) -> None:
        self._metrics.limited(rule)
        self._events.limited(rule)

    def uncounted(self, rule: Rule, *, refused: bool) -> None:
        self._metrics.uncounted(rule, refused=refused)
        self._events.uncounted(rule, refused=refused)

    def store_lost(self) -> None:
        self._metrics.store_lost()
        self._events.store_lost()


@dataclass(frozen=True, slots=True)
class Hit:
    """One hit that was allowed; without a decision nobody counted it."""

    rule: Rule
    key: bytes
    decision: Decision | None = None


class Limits:
    """Spends by rule and subject; what to do without a store is decided here, for each rule."""

    def __init__(
        self,
        limiter: RateLimiter,
        hasher: KeyHasher,
        policy: LimitPolicy,
        now: Clock,
        events: LimitEvents | None = None,
    ) -> None:
        self._limiter = limiter
        self._hasher = hasher
        self._policy = policy
        self._refusals = Refusals(now)
        self._events = events or SilentEvents()
        self._budgets = {rule: policy.budget(rule) for rule in Rule}

    def recall(self, rule: Rule, subject: str) -> None:
        """Raise RateLimited for who was refused a moment ago; asks no store and spends nothing."""
        if self._policy.enabled and (refused := self._recalled(rule, self._hasher(rule, subject))):
            raise RateLimited(refused.retry_after)

    async def spend(self, rule: Rule, subject: str) -> Hit:
        """Hit once; raises RateLimited, and Unavailable where a closed rule cannot be counted."""
        hit, refused = await self._hit(rule, subject)
        if refused is not None:
            raise RateLimited(refused.retry_after)
        return hit

    async def try_to_spend(self, rule: Rule, subject: str) -> Hit | None:
        """Hit once; None when there is nothing left. Raises Unavailable as `spend`."""
        hit, refused = await self._hit(rule, subject)
        return hit if refused is None else None

    async def give_back(self, hit: Hit) -> None:
        """Undo a hit, where only failures count; an unreachable store keeps it."""
        if hit.decision is None:
            return
        self._refusals.forget(hit.key)
        try:
            await self._limiter.give_back(hit.key, hit.decision)
        except Unavailable:
            # The work is done and its answer due; one hit too many ends by itself.
            self._events.uncounted(hit.rule, refused=False)
            return
        decision = hit.decision
        debt = max(0, decision.debt - decision.cost)
        _tell(hit.rule, Decision(True, decision.budget, debt))

    async def _hit(self, rule: Rule, subject: str) -> tuple[Hit, Decision | None]:
        if not self._policy.enabled:
            return Hit(rule, b""), None
        key = self._hasher(rule, subject)
        if refused := self._recalled(rule, key):
            return Hit(rule, key), refused
        try:
            decision = await self._limiter.spend(key, self._budgets[rule])
        except Unavailable:
            closed = rule in self._policy.closed
            self._events.uncounted(rule, refused=closed)
            if closed:
                raise
            return Hit(rule, key), None
        if not decision.allowed:
            self._refusals.note(key, decision)
            return Hit(rule, key), self._refused(rule, decision)
        _tell(rule, decision)
        return Hit(rule, key, decision), None

    def _recalled(self, rule: Rule, key: bytes) -> Decision | None:
        found = self._refusals.recall(key)
        return found and self._refused(rule, found)

    def _refused(self, rule: Rule, decision: Decision) -> Decision:
        _tell(rule, decision)
        self._events.limited(rule)
        return decision


class FallbackRateLimiter(RateLimiter):
    """Counts in a second store while the first is down, and asks the first again after a second.

    Each store counts for itself: a change over starts with fresh budgets.
    """

    def __init__(
        self,
        first: RateLimiter,
        second: RateLimiter,
        events: LimitEvents | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first = first
        self._second = second
        self._events = events or SilentEvents()
        self._seconds = seconds
        self._lost_until = 0.0

    async def spend(self, key: bytes, budget: Budget) -> Decision:
        return await self._ask(lambda store: store.spend(key, budget))

    async def give_back(self, key: bytes, decision: Decision) -> None:
        await self._ask(lambda store: store.give_back(key, decision))

    async def peek(self, key: bytes, budget: Budget) -> Decision:
        return await self._ask(lambda store: store.peek(key, budget))

    async def sweep(self, limit: int) -> int:
        first = await self._ask(lambda store: store.sweep(limit))
        return max(first, await self._second.sweep(limit))

    async def _ask(self, question: Callable[[RateLimiter], Awaitable[T]]) -> T:
        if self._seconds() >= self._lost_until:
            try:
                return await question(self._first)
            except Unavailable:
                # Asked at every hit, a store that hangs would slow all of them down.
                self._lost_until = self._seconds() + _RESTED_SECONDS
                self._events.store_lost()
        return await question(self._second)


@dataclass(slots=True)
class _Lease:
    left: int
    good_until: float


class LeasingRateLimiter(RateLimiter):
    """Takes hits of generous budgets by the dozen and hands them out itself: a tenth of the work.

    All processes together never allow more than the budget holds. A lease is good until the whole
    debt of its taking is earned back, as its hits are part of that: were it only as long as they
    are, each of several processes that hand out less than is earned would throw away the rest,
    and people far below their budget be refused.
    """

    def __init__(self, store: RateLimiter, seconds: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._seconds = seconds
        self._leases: dict[bytes, _Lease] = {}
        self._locks: WeakValueDictionary[bytes, Lock] = WeakValueDictionary()

    async def spend(self, key: bytes, budget: Budget) -> Decision:
        size = budget.burst // _PARTS
        if budget.grows or size < _SMALLEST_LEASE:
            return await self._store.spend(key, budget)
        if decision := self._handed_out(key, budget):
            return decision
        from asyncio import Lock

        # One lease at a time: of calls that come at once each would take one.
        lock = self._locks.setdefault(key, Lock())
        async with lock:
            return self._handed_out(key, budget) or await self._leased(key, budget, size)

    async def give_back(self, key: bytes, decision: Decision) -> None:
        await self._store.give_back(key, decision)

    async def peek(self, key: bytes, budget: Budget) -> Decision:
        return await self._store.peek(key, budget)

    async def sweep(self, limit: int) -> int:
        return await self._store.sweep(limit)

    def _handed_out(self, key: bytes, budget: Budget) -> Decision | None:
        lease, now = self._leases.get(key), self._seconds()
        if lease is None or now >= lease.good_until:
            return None
        lease.left -= 1
        if lease.left <= 0:
            del self._leases[key]
        debt = round((lease.good_until - now) * 1_000_000) - lease.left * budget.interval
        return Decision(True, budget, max(0, debt))

    async def _leased(self, key: bytes, budget: Budget, size: int) -> Decision:
        taken = await self._store.spend(key, budget.coarser(size))
        if not taken.allowed:
            # Less than a lease is left: the rest goes one by one.
            return await self._store.spend(key, budget)
        now = self._seconds()
        if len(self._leases) >= _MOST_LEASES:
            self._leases = {key: one for key, one in self._leases.items() if now < one.good_until}
        left, good_until = size - 1, now + taken.debt / 1_000_000
        self._leases[key] = _Lease(left, good_until)
        return Decision(True, budget, taken.debt - left * budget.interval)
