"""URLs of databases; imports nothing heavy, for the settings check them too."""

import re
from urllib.parse import parse_qs, urlsplit

_SCHEMES = {"postgres", "postgresql", "postgresql+asyncpg"}
# As PgBouncer spells it; ours alone, so it is taken out before a driver sees the URL.
_POOL_MODE = "pool_mode=transaction"
_SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
# Several hosts may be listed, each with a port.
_HOST = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(:\d{0,5})?")


def to_dsn(url: str) -> str:
    """Return the URL as libpq spells it; asyncpg reads `host`, `sslmode` and the like from it.

    Raises ValueError, without the URL: it holds a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError("A database URL starts with postgresql:// (or postgres://).")
    if not _is_readable(url):
        raise ValueError("The hosts or the sslmode of a database URL cannot be read.")
    return f"postgresql://{rest}"


def through_pooler(url: str) -> str:
    """Note in a URL that each transaction behind it may be on another connection."""
    return f"{url}{'&' if urlsplit(url).query else '?'}{_POOL_MODE}"


def without_pool_mode(dsn: str) -> tuple[str, bool]:
    """Return the DSN for a driver, and whether it was noted that a pooler is behind it."""
    plain = dsn.removesuffix(_POOL_MODE)
    return (dsn, False) if plain == dsn else (plain[:-1], True)


def _is_readable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        modes = parse_qs(parts.query).get("sslmode", [])
    except ValueError:
        return False
    hosts = parts.netloc.rpartition("@")[2].split(",")
    return all(_HOST.fullmatch(host) for host in hosts) and _SSL_MODES.issuperset(modes)
