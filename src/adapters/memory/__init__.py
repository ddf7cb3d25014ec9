"""Every port in memory, standard library only: for the tests of those who embed Gatepost."""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPorts(Ports):
    """Ports whose fakes a test can look into."""

    storage: MemoryStorage
    limiter: MemoryRateLimiter
    hasher: PlainPasswordHasher
    access_tokens: MemoryAccessTokens
    mailer: MemoryMailer
    metrics: MemoryMetrics
    backlog: MemoryBacklog
    exports: MemoryExportStore
    webhooks: MemoryWebhooks
    now: ManualClock


def memory_ports(
    *, clock: ManualClock | None = None, tokens: TokenPolicy | None = None
) -> MemoryPorts:
    """Wire one of everything; `tokens` must be the policy given to `assemble`."""
    now = clock or ManualClock()
    storage = MemoryStorage(now)
    return MemoryPorts(
        storage=storage,
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
