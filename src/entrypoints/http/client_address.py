"""Where a request came from: addresses are believed only from proxies that are trusted."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from uuid import uuid4

from starlette.types import Scope

from ...domain.audit import ClientContext
from .options import Network

Address = IPv4Address | IPv6Address

CLIENT_KEY = "gatepost.client"
_MAX_USER_AGENT = 512
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def client_of(scope: Scope) -> ClientContext:
    """Return what the outer layer found out about the caller of this request."""
    client: ClientContext = scope[CLIENT_KEY]
    return client


def client_ip(scope: Scope, trusted: Sequence[Network]) -> str | None:
    """Return the address of the client, or None when the server knows none.

    Of the hops in X-Forwarded-For the rightmost that is no trusted proxy counts: whatever stands
    left of it was written by the client.
    """
    peer = scope.get("client")
    if not trusted or not peer:
        return _spelled(peer[0]) if peer else None
    found = _address(peer[0])
    if found is None or not _is_trusted(found, trusted):
        return str(found) if found else None
    for hop in _hops(scope):
        address = _address(hop)
        if address is None:
            break
        found = address
        if not _is_trusted(address, trusted):
            break
    return str(found)


def clean_user_agent(raw: bytes | None) -> str | None:
    """Cut, and drop control characters: it is shown to people and written to logs."""
    if not raw:
        return None
    text = raw[:_MAX_USER_AGENT].decode("latin-1")
    if not text.isprintable():
        text = "".join(char for char in text if char.isprintable())
    return text or None


def request_id(given: bytes) -> str:
    """Take the id that a request brought, if it is fit for logs, or make one."""
    return given.decode("ascii") if _SANE_ID.fullmatch(given) else str(uuid4())


def _hops(scope: Scope) -> list[str]:
    lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [hop.strip() for hop in b",".join(lines).decode("latin-1").split(",")][::-1]


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    """Parse an address with or without port and zone; IPv4 mapped into IPv6 is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=4096)
def _spelled(text: str) -> str | None:
    address = _address(text)
    return str(address) if address else None


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)
