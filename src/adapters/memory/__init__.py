"""Every port in memory, standard library only: for the tests of those who embed Gatepost."""

from ...application.limits import SilentEvents
from ...application.policies import Policies
from ...application.ports import Ports
from ...domain.tokens import TokenPolicy
from ..system import SystemSecrets
from .delivery import MemoryBacklog, MemoryMailer, MemoryMetrics
from .exports import MemoryExportStore
from .jobs import MemoryWorker
from .limits import MemoryKeyHasher, MemoryRateLimiter
from .security import (
    ManualClock,
    MemoryAccessTokens,
    MemoryCipher,
    MemoryRefreshTokens,
    PlainPasswordHasher,
)
from .storage import (
    AlwaysHealthy,
    MemoryCallers,
    MemoryRotations,
    MemorySignIns,
    MemoryStorage,
    MemoryUnitOfWork,
)
from .webhooks import MemoryWebhooks

__all__ = [
    "AlwaysHealthy",
    "ManualClock",
    "MemoryAccessTokens",
    "MemoryBacklog",
    "MemoryCallers",
    "MemoryCipher",
    "MemoryExportStore",
    "MemoryKeyHasher",
    "MemoryMailer",
    "MemoryMetrics",
    "MemoryPorts",
    "MemoryRateLimiter",
    "MemoryRefreshTokens",
    "MemoryRotations",
    "MemorySignIns",
    "MemoryStorage",
    "MemoryUnitOfWork",
    "MemoryWebhooks",
    "MemoryWorker",
    "PlainPasswordHasher",
    "memory_ports",
]


class MemoryPorts(Ports):
    """Ports whose fakes a test can look into.

    No dataclass of its own: `replace(memory_ports(), mailer=mailer)` takes what `Ports` takes, and
    what was replaced is no fake any more.
    """

    __slots__ = ()

    uow: MemoryUnitOfWork
    limiter: MemoryRateLimiter
    hasher: PlainPasswordHasher
    access_tokens: MemoryAccessTokens
    mailer: MemoryMailer
    metrics: MemoryMetrics
    backlog: MemoryBacklog
    exports: MemoryExportStore
    webhooks: MemoryWebhooks
    now: ManualClock

    @property
    def storage(self) -> MemoryStorage:
        return self.uow.storage


def memory_ports(
    *, clock: ManualClock | None = None, tokens: TokenPolicy | None = None
) -> MemoryPorts:
    """Wire one of everything; `tokens` must be the policy given to `assemble`."""
    now = clock or ManualClock()
    storage = MemoryStorage(now)
    return MemoryPorts(
        uow=MemoryUnitOfWork(storage),
        callers=MemoryCallers(storage),
        rotations=MemoryRotations(storage),
        sign_ins=MemorySignIns(storage),
        database=AlwaysHealthy(),
        limiter=MemoryRateLimiter(now),
        limiter_keys=MemoryKeyHasher(),
        limit_events=SilentEvents(),
        limiter_check=AlwaysHealthy(),
        backlog=MemoryBacklog(storage),
        hasher=PlainPasswordHasher(),
        secrets=SystemSecrets(),
        cipher=MemoryCipher(),
        refresh_tokens=MemoryRefreshTokens(),
        access_tokens=MemoryAccessTokens(tokens or Policies().tokens, now),
        mailer=MemoryMailer(),
        metrics=MemoryMetrics(),
        exports=MemoryExportStore(),
        webhooks=MemoryWebhooks(),
        now=now,
    )
