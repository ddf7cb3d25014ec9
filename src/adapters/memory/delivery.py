"""Mail that goes nowhere but into a list, and numbers that nobody scrapes."""

from collections import Counter
from collections.abc import Callable

from ...application.ports.delivery import (
    Backlog,
    BacklogReader,
    Grant,
    Level,
    Mail,
    Mailer,
    Metrics,
    RefreshOutcome,
)
from ...domain.audit import AuditType
from ...domain.limits import Rule
from .storage import MemoryStorage


class MemoryMailer(Mailer):
    """Keeps what was sent, oldest first; a mail sent again stands in the list again."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []

    async def send(self, mail: Mail) -> None:
        self.sent.append(mail)

    def sent_to(self, address: str) -> list[Mail]:
        return [mail for mail in self.sent if mail.to == address]


class MemoryBacklog(BacklogReader):
    """Counts the queued jobs; how long they wait is whatever `oldest_seconds` says."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self.oldest_seconds = 0.0

    async def read(self) -> Backlog:
        return Backlog(len(self._storage.queued), 0, self.oldest_seconds)


class MemoryMetrics(Metrics):
    """Does nothing but count what it hears, by name and labels."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.watched: dict[Level, Callable[[], float]] = {}

    def noted(self, type_: AuditType, failure: str | None) -> None:
        self.counts["noted", type_.value, failure or ""] += 1

    def refreshed(self, outcome: RefreshOutcome) -> None:
        self.counts["refreshed", outcome.value] += 1

    def issued(self, grant: Grant) -> None:
        self.counts["issued", grant.value] += 1

    def limited(self, rule: Rule) -> None:
        self.counts["limited", rule.value] += 1

    def uncounted(self, rule: Rule, *, refused: bool) -> None:
        self.counts["uncounted", rule.value, "refused" if refused else "let_pass"] += 1

    def store_lost(self) -> None:
        self.counts[("store_lost",)] += 1

    def hashed(self, operation: str, seconds: float) -> None:
        self.counts["hashed", operation] += 1

    def hash_refused(self) -> None:
        self.counts[("hash_refused",)] += 1

    def watch(self, level: Level, read: Callable[[], float]) -> None:
        self.watched[level] = read
