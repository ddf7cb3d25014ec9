"""What a setting may be: durations, URLs, networks, rates. No message repeats the value."""

import re
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from ..adapters.cipher import MasterKeys
from ..adapters.mail.server import SmtpServer, is_smtp
from ..adapters.postgres.dsn import to_dsn
from ..domain import limits

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9})\s*([smhd])")
_WEB = ("http", "https")
_BROKERS = ("redis", "rediss", "amqp", "amqps")
_BUCKETS = ("s3", "gs", "az")
_MAIL_URLS = "smtp://, smtps://, smtp+starttls://, file:///folder or console:"


def _duration(value: object) -> object:
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if isinstance(value, str) and match is None:
        raise ValueError("a duration such as 10s, 15m, 12h or 30d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]]) if match else value


def _between(shortest: str, longest: str) -> AfterValidator:
    """Bound a duration; pydantic's own message would spell the bounds as ISO 8601 does."""
    low, high = _duration(shortest), _duration(longest)

    def check(value: timedelta) -> timedelta:
        if not (isinstance(low, timedelta) and isinstance(high, timedelta)):
            raise TypeError
        if not low <= value <= high:
            raise ValueError(f"from {shortest} to {longest}")
        return value

    return AfterValidator(check)


def _listed(value: object) -> object:
    if isinstance(value, str):
        return tuple(part for part in (p.strip() for p in value.split(",")) if part)
    return value


def _split(url: str) -> SplitResult | None:
    """Take a URL apart; None where that fails, for the library's message shows it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _base_url(value: str) -> str:
    parts = _split(value)
    if parts is None or parts.scheme not in _WEB or not parts.hostname or "@" in parts.netloc:
        raise ValueError("an http or https URL, without user and password")
    if parts.query or parts.fragment:
        raise ValueError("a URL without query or fragment")
    return value.rstrip("/")


def _origin(value: str) -> str:
    parts = _split(value)
    exact = parts is not None and f"{parts.scheme}://{parts.netloc}" == value
    if parts is None or not exact or parts.scheme not in _WEB or "@" in parts.netloc:
        raise ValueError("an exact origin such as https://app.example.com")
    return value


def _network(value: object) -> object:
    try:
        return ip_network(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("networks such as 10.0.0.0/8 or ::1/128") from None


def _rate(value: str) -> str:
    limits.Rate.parse(value)
    return value


def _line(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("a line of text that is not blank")
    return value


def _folder(value: object) -> object:
    # An empty path would be the folder where the process happens to be.
    if isinstance(value, str) and not value.strip():
        raise ValueError("a folder; `.` for the current one")
    return value


def _sender(value: str) -> str:
    from ..adapters.mail.sender import parse_sender

    parse_sender(value)
    return value


def _redis_url(url: str) -> None:
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("redis://, rediss:// or unix://")


def _broker_url(url: str) -> None:
    parts = _split(url)
    if parts is None or parts.scheme not in _BROKERS or not parts.hostname:
        raise ValueError("redis://, rediss://, amqp:// or amqps:// and a host")


def _bucket_url(url: str) -> str:
    parts = _split(url)
    if parts is None or parts.scheme not in _BUCKETS or not parts.netloc or "@" in parts.netloc:
        raise ValueError("s3://bucket/prefix, gs://bucket/prefix or az://account/container/prefix")
    if parts.query or parts.fragment:
        raise ValueError("a URL without query or fragment")
    return url


def mail_target(url: str) -> SmtpServer | Path | None:
    """Return the server, the folder of `file:///folder`, None for `console:`, or raise ValueError.

    No message repeats the URL, which may hold a password.
    """
    if is_smtp(url):
        return SmtpServer.parse(url)
    parts = _split(url)
    if parts is not None and parts.scheme == "console":
        return None
    if parts is None or parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ValueError(_MAIL_URLS)
    if not parts.path.startswith("/") or parts.query or parts.fragment:
        raise ValueError(_MAIL_URLS)
    return Path(unquote(parts.path))


def _secret(check: Callable[[str], object]) -> AfterValidator:
    def checked(value: SecretStr) -> SecretStr:
        check(value.get_secret_value())
        return value

    return AfterValidator(checked)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
# A time to live of nothing serves nobody; one of a million years is past the end of calendars.
Lifetime = Annotated[Duration, _between("1s", "3650d")]
# Long enough for somebody to look.
Retention = Annotated[Duration, _between("1d", "3650d")]
Grace = Annotated[Duration, _between("0s", "10s")]
# With the time that requests get to end it must fit into the half minute before a kill.
ShutdownDelay = Annotated[Duration, _between("0s", "10s")]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_listed)
]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_listed)]
Rate = Annotated[str, AfterValidator(_rate)]
Line = Annotated[str, AfterValidator(_line)]
Folder = Annotated[Path, BeforeValidator(_folder)]
Sender = Annotated[str, AfterValidator(_sender)]
DatabaseUrl = Annotated[SecretStr, _secret(to_dsn)]
RedisUrl = Annotated[SecretStr, _secret(_redis_url)]
BrokerUrl = Annotated[SecretStr, _secret(_broker_url)]
BucketUrl = Annotated[str, AfterValidator(_bucket_url)]
MailUrl = Annotated[SecretStr, _secret(mail_target)]
Keys = Annotated[SecretStr, _secret(MasterKeys.parse)]
