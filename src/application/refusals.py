"""Who was refused by a rate limit a moment ago."""

from dataclasses import replace
from datetime import datetime, timedelta

from ..domain.limits import Decision
from .ports.security import Clock

_MICROSECOND = timedelta(microseconds=1)
_KEPT = 1_000_000
_MOST = 10_000


class Refusals:
    """Remembers refusals, so that a flood beyond its budget asks no store and holds up nobody.

    Not longer than nothing can be earned back, nor than a second, which is the least that
    Retry-After says: only a hit that another process gave back might be allowed sooner.
    """

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._noted: dict[bytes, tuple[datetime, Decision]] = {}

    def note(self, key: bytes, refused: Decision) -> None:
        if len(self._noted) >= _MOST:
            self._noted.clear()
        self._noted[key] = self._now(), refused

    def recall(self, key: bytes) -> Decision | None:
        """Return the refusal as it stands by now, or None when the store has to be asked."""
        found = self._noted.get(key)
        if found is None:
            return None
        since, refused = found
        passed = (self._now() - since) // _MICROSECOND
        # A clock that was set back would keep it for too long.
        if 0 <= passed < min(refused.wait, _KEPT):
            return replace(refused, debt=refused.debt - passed)
        del self._noted[key]
        return None

    def forget(self, key: bytes) -> None:
        self._noted.pop(key, None)
