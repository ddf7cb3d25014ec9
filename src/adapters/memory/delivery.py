"""Mail that goes nowhere but into a list, and numbers that nobody scrapes."""

from collections import Counter
from collections.abc import Callable

from ...application.ports.delivery import (
    Backlog,
    BacklogReader,
    Grant,
    JobName,
    Level,
    Mail,
    Mailer,
    Metrics,
    RefreshOutcome,
    Undeliverable,
    WebhookResult,
)
from ...domain.audit import AuditType
from ...domain.errors import Unavailable
from ...domain.limits import Rule
from .storage import MemoryStorage


class MemoryMailer(Mailer):
    """Keeps what was sent, oldest first; a mail sent again stands in the list again.

    `is_down` makes it fail as a server does that cannot be reached; addresses in `refused` are
    refused for good.
    """

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.refused: set[str] = set()
        self.is_down = False

    async def send(self, mail: Mail) -> None:
        await self.check()
        if mail.recipient.value in self.refused:
            raise Undeliverable
        self.sent.append(mail)

    async def check(self) -> None:
        if self.is_down:
            raise Unavailable

    def sent_to(self, address: str) -> list[Mail]:
        return [mail for mail in self.sent if mail.to == address]


class MemoryBacklog(BacklogReader):
    """Counts the jobs; how long they wait is whatever `oldest_seconds` says."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self.oldest_seconds = 0.0

    async def read(self) -> Backlog:
        committed = self._storage.committed
        undeliverable = sum(
            entry.type is AuditType.MAIL_UNDELIVERABLE for entry in committed.audit
        )
        dead = len(committed.queue.dead)
        return Backlog(len(self._storage.queued), dead, self.oldest_seconds, undeliverable)


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

    def connected(self, seconds: float) -> None:
        self.counts[("connected",)] += 1

    def not_connected(self) -> None:
        self.counts[("not_connected",)] += 1

    def job_ended(self, name: JobName, seconds: float, *, failed: bool) -> None:
        self.counts["job_ended", name.value, "failed" if failed else "done"] += 1

    def webhook_sent(self, result: WebhookResult, seconds: float) -> None:
        self.counts["webhook_sent", result.value] += 1

    def webhook_disabled(self) -> None:
        self.counts[("webhook_disabled",)] += 1

    def watch(self, level: Level, read: Callable[[], float]) -> None:
        self.watched[level] = read
