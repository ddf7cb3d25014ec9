"""The mail server that a URL names; imports nothing heavy, for the settings check it too."""

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, unquote, urlsplit


class Security(StrEnum):
    """How a connection is protected, by the scheme that asks for it."""

    NONE = "smtp"
    STARTTLS = "smtp+starttls"
    TLS = "smtps"


_PORTS = {Security.NONE: 25, Security.STARTTLS: 587, Security.TLS: 465}
_EXPECTED = (
    "smtp://, smtps:// or smtp+starttls://, with host, and user and password or neither;"
    " what is special in a URL is %-encoded"
)


@dataclass(frozen=True, slots=True)
class SmtpServer:
    host: str
    port: int
    security: Security
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> "SmtpServer":
        """Read `smtps://user:password@host:port`; raises ValueError, without the URL."""
        parts = _split(url)
        if parts is None or not parts.hostname or not parts.hostname.isascii():
            raise ValueError(_EXPECTED)
        security = Security(parts.scheme)
        username, password = _decoded(parts.username), _decoded(parts.password)
        if (username is None) is not (password is None):
            raise ValueError(_EXPECTED)
        port = _PORTS[security] if parts.port is None else parts.port
        return cls(parts.hostname, port, security, username, password)

    @property
    def shows_password(self) -> bool:
        """Whether a password would cross the network as it is."""
        return self.password is not None and self.security is Security.NONE


def is_smtp(url: str) -> bool:
    return url.partition(":")[0].lower() in set(Security)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    surplus = parts.path not in ("", "/") or parts.query or parts.fragment
    return None if surplus or port == 0 or not is_smtp(url) or not url.isprintable() else parts


def _decoded(text: str | None) -> str | None:
    decoded = unquote(text or "")
    if not decoded.isprintable():
        raise ValueError(_EXPECTED)
    return decoded or None
