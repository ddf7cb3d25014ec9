"""How often a job is tried, and how a queued one looks to operators."""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from .dataclasses import dataclass

# Past this exponent every delay is at its longest, whatever the first one.
_MOST_DOUBLINGS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a job is tried again, and when it is given up.

    1, 2, 4 ... 50 seconds, by chance down to half of it: what waited for a mail server leaves
    within a minute of its return. Some three hours in all, less than the life of a verification
    link. A job whose worker died on it is given up sooner: each try may cost another worker.
    """

    attempts: int = 300
    crashes: int = 10
    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(seconds=50)

    def delay(self, failed: int, dice: float, longest: timedelta | None = None) -> timedelta:
        """Return the wait after so many failures, at least one.

        `dice`, from 0 to 1, spreads it from half of its length to the whole, so that what failed
        together does not come back together. `longest` is for jobs with a bound of their own.
        """
        doubled = self.first * (1 << min(failed - 1, _MOST_DOUBLINGS))
        return min(doubled, longest or self.longest) * (0.5 + dice / 2)

    def gives_up(self, failed: int, crashed: int) -> bool:
        """Tell whether so many failures are enough; `crashed` of them took their worker along."""
        return failed >= self.attempts or crashed >= self.crashes


class JobState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs; None: any."""

    state: JobState | None = None
    name: str | None = None
    ids: tuple[UUID, ...] | None = None

    def admits(self, record: "JobRecord") -> bool:
        return (
            self.state in (None, record.state)
            and self.name in (None, record.name)
            and (self.ids is None or record.id in self.ids)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """How a job stands, without what it is about.

    `name` may be one of a newer release. `attempts` counts the failures, `error` is the class of
    the last one. A dead job died at `changed_at`.
    """

    id: UUID
    name: str
    state: JobState
    attempts: int
    error: str | None
    created_at: datetime
    due_at: datetime
    changed_at: datetime
