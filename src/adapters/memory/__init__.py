"""Every port in memory, standard library only: for the tests of those who embed Gatepost."""

from dataclasses import dataclass

from ...application.gatepost import Policies
from ...application.ports import Ports
from ...domain.tokens import TokenPolicy
from ..system import SystemSecrets
from .delivery import MemoryMailer
from .limits import MemoryKeyHasher, MemoryRateLimiter
from .security import (
    ManualClock,
    MemoryAccessTokens,
    MemoryCipher,
    MemoryRefreshTokens,
    PlainPasswordHasher,
)
from .storage import AlwaysHealthy, MemoryCallers, MemoryStorage, MemoryUnitOfWork

__all__ = [
    "AlwaysHealthy",
    "ManualClock",
    "MemoryAccessTokens",
    "MemoryCallers",
    "MemoryCipher",
    "MemoryKeyHasher",
    "MemoryMailer",
    "MemoryPorts",
    "MemoryRateLimiter",
    "MemoryRefreshTokens",
    "MemoryStorage",
    "MemoryUnitOfWork",
    "PlainPasswordHasher",
    "memory_ports",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPorts(Ports):
    """Ports whose fakes a test can look into."""

    storage: MemoryStorage
    hasher: PlainPasswordHasher
    access_tokens: MemoryAccessTokens
    mailer: MemoryMailer
    now: ManualClock


def memory_ports(
    *, clock: ManualClock | None = None, tokens: TokenPolicy | None = None
) -> MemoryPorts:
    """Wire one of everything; `tokens` must be the policy given to `assemble`."""
    now = clock or ManualClock()
    storage = MemoryStorage()
    return MemoryPorts(
        storage=storage,
        uow=MemoryUnitOfWork(storage),
        callers=MemoryCallers(storage),
        database=AlwaysHealthy(),
        hasher=PlainPasswordHasher(),
        secrets=SystemSecrets(),
        cipher=MemoryCipher(),
        refresh_tokens=MemoryRefreshTokens(),
        access_tokens=MemoryAccessTokens(tokens or Policies().tokens, now),
        mailer=MemoryMailer(),
        now=now,
    )
