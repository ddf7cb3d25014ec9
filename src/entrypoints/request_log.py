"""The line that every request gets: from the application, so that it agrees with the metrics."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from uuid import UUID

from structlog.typing import FilteringBoundLogger

from ..domain.audit import ClientContext
from .settings import ClientIp

# Probes and scrapes: a line each would be most of the log.
UNLOGGED = frozenset({"/health", "/livez", "/readyz", "/metrics"})
# What is left names a network, not a person.
_KEPT_BITS = {4: 24, 6: 48}


class RequestLines:
    """Writes route, outcome and caller; no path, query, header or body: they may hold anything."""

    def __init__(self, logger: FilteringBoundLogger, shown: ClientIp) -> None:
        self._info = logger.info
        self._shown: Callable[[str], str | None] = _SHOWN[shown]

    def __call__(
        self,
        method: str,
        route: str,
        status: int,
        seconds: float,
        client: ClientContext,
        user_id: UUID | None,
    ) -> None:
        if route in UNLOGGED:
            return
        told = {} if user_id is None else {"user_id": str(user_id)}
        if client.client_id is not None:
            told["client_id"] = client.client_id
        ip = None if client.ip is None else self._shown(client.ip)
        if ip is not None:
            told["client_ip"] = ip
        self._info(
            "request",
            method=method,
            route=route,
            status=status,
            duration_ms=round(seconds * 1000, 2),
            **told,
        )


@lru_cache(maxsize=4096)
def _truncated(ip: str) -> str:
    kept = _KEPT_BITS[ip_address(ip).version]
    return str(ip_network(f"{ip}/{kept}", strict=False).network_address)


_SHOWN: dict[ClientIp, Callable[[str], str | None]] = {
    ClientIp.FULL: lambda ip: ip,
    ClientIp.TRUNCATED: _truncated,
    ClientIp.NONE: lambda ip: None,
}
