"""Where requests to given URLs may go: not to our own machine, network or cloud."""

import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import SplitResult, urlsplit

from .dataclasses import dataclass
from .errors import FieldError, ValidationFailed

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL = 2000
FORBIDDEN_ADDRESS = FieldError(
    "url", "forbidden_address", "Its host has an address that webhooks may not go to."
)
UNKNOWN_HOST = FieldError("url", "unknown_host", "Its host cannot be looked up.")
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
# The shape alone: what is no address has none when it is looked up.
_IPV6 = re.compile(r"[0-9a-f]*:[0-9a-f:.]+")
_PRINTABLE = re.compile(r"[!-~]+")
# Listed and not asked of `ipaddress`, whose answers differ between versions of Python. From the
# registries of IANA (RFC 6890); the last one is a cloud's own service behind a public address.
_NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        "168.63.129.16/32",
    )
)
# All else of IPv6 is local, reserved, or an IPv4 address in disguise.
_UNICAST = IPv6Network("2000::/3")
# NAT64 (RFC 6052): leads to the IPv4 address in its last four bytes.
_TRANSLATED = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart; `path` has the query with it. The host is a name or an address."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Name host and port as a Host header does."""
        host, usual = _bracketed(self.host), {"https": 443, "http": 80}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """Which URLs and addresses are allowed: https to public ones, and to `networks`.

    With `loopback` also this machine, https or not: for development.
    """

    networks: tuple[Network, ...] = ()
    loopback: bool = False

    def parse(self, url: str) -> Target:
        """Take a URL apart; raises ValidationFailed, never with the URL."""
        parts = _split(url)
        schemes = ("https", "http") if self.loopback else ("https",)
        if parts is None or parts.scheme not in schemes or not _is_host(parts.hostname or ""):
            message = f"An https URL without user and fragment, at most {MAX_URL} characters."
            raise ValidationFailed(FieldError("url", "invalid_url", message))
        port = parts.port or (443 if parts.scheme == "https" else 80)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(parts.scheme, parts.hostname or "", port, path)

    def admit(self, target: Target, addresses: Iterable[str]) -> tuple[str, ...]:
        """Return the addresses that the target's host has, if every one of them is allowed.

        A name that leads to a forbidden one besides is up to something: then none is.
        """
        found = [ip_address(text.partition("%")[0]) for text in addresses]
        admitted = all(self._admits(target.scheme, _meant(address)) for address in found)
        return tuple(map(str, found)) if admitted else ()

    def _admits(self, scheme: str, address: Address) -> bool:
        if self.loopback and address.is_loopback:
            return True
        if scheme != "https":
            return False
        return any(address in network for network in self.networks) or _is_public(address)


def _split(url: str) -> SplitResult | None:
    if len(url) > MAX_URL or not _PRINTABLE.fullmatch(url) or "\\" in url or "#" in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = _bracketed(parts.hostname or "")
    # Compared as a whole: what the library overlooks could name another host to somebody else.
    return parts if port != 0 and parts.netloc.lower() in (host, f"{host}:{port}") else None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_host(host: str) -> bool:
    return len(host) <= 253 and (_HOST.fullmatch(host) or _IPV6.fullmatch(host)) is not None


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one leads to, or else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return not any(address in network for network in _NOT_PUBLIC)
