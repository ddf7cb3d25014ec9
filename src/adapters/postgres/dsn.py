"""URLs of databases; imports nothing heavy, for the settings check them too."""

import re
from urllib.parse import urlsplit

_SCHEMES = {"postgres", "postgresql", "postgresql+asyncpg"}
# Several hosts may be listed, each with a port.
_HOST = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(:\d{0,5})?")


def to_dsn(url: str) -> str:
    """Return the URL as libpq spells it; asyncpg reads `host`, `sslmode` and the like from it.

    Raises ValueError, without the URL: it holds a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError("A database URL starts with postgresql:// (or postgres://).")
    if not _names_hosts(url):
        raise ValueError("The hosts of a database URL cannot be read.")
    return f"postgresql://{rest}"


def _names_hosts(url: str) -> bool:
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    except ValueError:
        return False
    return all(_HOST.fullmatch(host) for host in hosts)
