"""The line that every request gets: from the application, so that it agrees with the metrics."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

from ..domain.audit import ClientContext
from .settings import ClientIp

# Probes and scrapes: a line each would be most of the log.
UNLOGGED = frozenset({"/health", "/livez", "/readyz", "/metrics"})
# What is left names a network, not a person.
_KEPT_BITS = {4: 24, 6: 48}


class RequestLines:
    """Writes route, outcome and caller; no path, query, header or body: they may hold anything."""

    def __init__(self, write: Callable[[dict[str, Any]], None], shown: ClientIp) -> None:
        self._write = write
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
        told: dict[str, Any] = {
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 2),
        }
        if client.ip is not None and (ip := self._shown(client.ip)) is not None:
            told["client_ip"] = ip
        if user_id is not None:
            told["user_id"] = str(user_id)
        if client.client_id is not None:
            told["client_id"] = client.client_id
        self._write(told)


@lru_cache(maxsize=4096)
def _truncated(ip: str) -> str:
    kept = _KEPT_BITS[ip_address(ip).version]
    return str(ip_network(f"{ip}/{kept}", strict=False).network_address)


_SHOWN: dict[ClientIp, Callable[[str], str | None]] = {
    ClientIp.FULL: lambda ip: ip,
    ClientIp.TRUNCATED: _truncated,
    ClientIp.NONE: lambda ip: None,
}
