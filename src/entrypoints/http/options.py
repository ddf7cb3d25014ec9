"""What the HTTP entrypoint needs to know beside the use cases."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol
from urllib.parse import urlsplit
from uuid import UUID

from ...domain.audit import ClientContext

Network = IPv4Network | IPv6Network

BODY_SECONDS = 15.0
# A hanging statement ends after 3 s by itself; this is for what adds up. With the moments beyond
# it, for a commit and for the end of a connection, no request takes more than 5 s and its body.
WORK_SECONDS = 4.25

_LOCAL = "http://127.0.0.1:8000"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Routes(StrEnum):
    """Groups of routes that an application may have; pages of problems are always there."""

    REGISTRATION = "registration"
    CREDENTIALS = "credentials"
    ACCOUNT = "account"
    SESSIONS = "sessions"
    EXPORTS = "exports"
    ADMINISTRATION = "administration"
    ROLES = "roles"
    AUDIT = "audit"
    CLIENTS = "clients"
    OAUTH = "oauth"
    WELL_KNOWN = "well_known"
    OPERATIONS = "operations"
    PAGES = "pages"


def _never() -> bool:
    return False


class RequestMetrics(Protocol):
    """Hears of every request; `route` is a template, so that there are few."""

    in_flight: int

    def observed(self, method: str, route: str, status: int, seconds: float) -> None: ...


class Unmeasured(RequestMetrics):
    """Hears nothing."""

    def __init__(self) -> None:
        self.in_flight = 0

    def observed(self, method: str, route: str, status: int, seconds: float) -> None:
        return None


# Is told of every answer: method, template of the route, status, seconds, the client, and the
# account that asked, if one did.
RequestLog = Callable[[str, str, int, float, ClientContext, UUID | None], None]


def unlogged(*_: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """Addresses, switches and trust; the defaults are those of a laptop.

    `public_url` is where clients reach this service, `frontend_url` where people do; links and
    origins come from these two alone, never from a request. `draining` tells whether the process
    is about to stop. `requests` times them and `log` is told of each; `metrics` renders what
    `/metrics` answers, and without it there is none. `health_checks` tells whether `/health`
    shows what it looked at, and `check_seconds` how long each thing looked at has to answer. A
    body takes at most `body_seconds` to arrive, the work until the answer `work_seconds`, and a
    commit that is under way by then `commit_seconds` more. `routes` are those that there are.
    """

    version: str = "unknown"
    public_url: str = _LOCAL
    frontend_url: str = _LOCAL
    docs: bool = False
    password_grant: bool = False
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    draining: Callable[[], bool] = _never
    requests: RequestMetrics = field(default_factory=Unmeasured)
    log: RequestLog = unlogged
    metrics: Callable[[], Awaitable[bytes]] | None = None
    health_checks: bool = True
    check_seconds: float = 1
    body_seconds: float = BODY_SECONDS
    work_seconds: float = WORK_SECONDS
    commit_seconds: float = 0.5
    routes: frozenset[Routes] = frozenset(Routes)

    @property
    def secure_cookies(self) -> bool:
        """Browsers drop Secure cookies on plain http, so loopback goes without."""
        return self.is_https or not _is_loopback(urlsplit(self.public_url).hostname)

    @property
    def is_https(self) -> bool:
        return urlsplit(self.public_url).scheme == "https"

    @property
    def has_own_pages(self) -> bool:
        """Without a frontend elsewhere the mailed links lead to this service itself."""
        return origin_of(self.frontend_url) == origin_of(self.public_url)

    @property
    def allowed_origins(self) -> frozenset[str]:
        """List the origins whose pages may call with credentials; compared exactly."""
        urls = (self.public_url, self.frontend_url, *self.cors_origins)
        return frozenset(origin_of(url) for url in urls)


def origin_of(url: str) -> str:
    """Return a URL's origin as browsers write it (RFC 6454 section 6.2)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _is_loopback(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
