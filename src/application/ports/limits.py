"""What the core asks of a store that counts."""

from typing import Protocol

from ...domain.limits import Budget, Decision, Rule


class RateLimiter(Protocol):
    """Counts hits, atomically and for all processes together; every method raises Unavailable.

    Decides as `domain.limits.spend` does. A hit counts once its call returns, whatever becomes
    of a transaction around it. Keys never mix, and a key is always asked about with one budget
    (or with `coarser` hits of it).
    """

    async def spend(self, key: bytes, budget: Budget) -> Decision:
        """Hit once; of simultaneous hits exactly as many are allowed as the budget holds."""
        ...

    async def give_back(self, key: bytes, decision: Decision) -> None:
        """Undo an allowed hit, once; for budgets that only failures use up."""
        ...

    async def peek(self, key: bytes, budget: Budget) -> Decision:
        """Tell how it stands without a hit."""
        ...

    async def sweep(self, limit: int) -> int:
        """Forget at most `limit` keys that stand as if never seen; return how many."""
        ...


class KeyHasher(Protocol):
    """Makes the names that keys have in the store: it holds no addresses and no logins."""

    def __call__(self, rule: Rule, subject: str) -> bytes:
        """Digest with a derived key: the same in every process, worthless to who reads it."""
        ...


class LimitEvents(Protocol):
    """Hears what operators must see; called in the request, so it only notes."""

    def limited(self, rule: Rule) -> None:
        """A hit was refused."""
        ...

    def uncounted(self, rule: Rule, *, refused: bool) -> None:
        """The store was down; the hit was refused, or let pass."""
        ...

    def store_lost(self) -> None:
        """The first store failed, and the second counts in its place."""
        ...
