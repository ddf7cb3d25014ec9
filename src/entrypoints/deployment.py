"""Settings and their files, and the questions that rules about dangers ask of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from os import cpu_count
from pathlib import Path
from urllib.parse import urlsplit

from .setting_types import Network
from .settings import Settings

_PRIVATE = tuple(
    ip_network(block)
    for block in (
        *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)
# Larger than any network that a provider of proxies publishes.
EVERYBODY = {4: 7, 6: 15}
WIDE = {4: 15, 6: 47}


@dataclass(frozen=True, slots=True)
class Deployment:
    """Settings, and the files that secrets were read from."""

    settings: Settings
    files: Mapping[str, Path] = field(default_factory=dict)


def _is_loopback(host: str | None) -> bool:
    if host in (None, "", "localhost"):
        return True
    try:
        return ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _host(url: str) -> str | None:
    return urlsplit(url).hostname


def is_local(url: str) -> bool:
    return _is_loopback(_host(url))


def _is_private(network: Network) -> bool:
    # The library's own property takes 0.0.0.0/0 for private before Python 3.13.
    return any(
        network.version == block.version and network.subnet_of(block)  # type: ignore[arg-type]
        for block in _PRIVATE
    )


def trusts(deployment: Deployment, longest: Mapping[int, int], *, private: bool) -> bool:
    return any(
        network.prefixlen <= longest[network.version] and _is_private(network) is private
        for network in deployment.settings.http.trusted_proxies
    )


def mail_scheme(deployment: Deployment) -> str:
    given = deployment.settings.mail.url
    return "file" if given is None else urlsplit(given.get_secret_value()).scheme


def mail_is_plain(deployment: Deployment) -> bool:
    given = deployment.settings.mail.url
    return (
        mail_scheme(deployment) == "smtp"
        and given is not None
        and not is_local(given.get_secret_value())
    )


def origins(deployment: Deployment, *, local: bool) -> bool:
    return any(
        origin.startswith("http://") and is_local(origin) is local
        for origin in deployment.settings.http.cors_origins
    )


def database_is_plain(deployment: Deployment) -> bool:
    url = deployment.settings.database_url
    if url is None or is_local(url.get_secret_value()):
        return False
    query = urlsplit(url.get_secret_value()).query.split("&")
    return not {"sslmode=disable", "sslmode=allow"}.isdisjoint(query)


def redis_is_open(deployment: Deployment) -> bool:
    url = deployment.settings.redis_url
    if url is None or url.get_secret_value().startswith("unix:"):
        return False
    parts = urlsplit(url.get_secret_value())
    return not parts.password and "password=" not in parts.query and not is_local(parts.geturl())


def sender_is_example(deployment: Deployment) -> bool:
    domain = deployment.settings.mail.sender.rpartition("@")[2].rstrip("> ").lower()
    return domain in ("example.com", "example.org", "example.net")


def file_is_open(deployment: Deployment) -> bool:
    for path in deployment.files.values():
        try:
            if path.stat().st_mode & 0o004:
                return True
        except OSError:
            continue
    return False


def exports_wander(deployment: Deployment) -> bool:
    settings = deployment.settings
    in_folder = settings.exports.url is None
    return in_folder and not (settings.exports.dir or settings.data_dir).is_absolute()


def hashes_too_many(deployment: Deployment) -> bool:
    settings = deployment.settings
    at_once = settings.hash_concurrency * settings.http.workers
    return at_once > max(cpu_count() or 1, settings.http.workers)
