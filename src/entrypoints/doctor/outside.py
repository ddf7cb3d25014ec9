"""The service as others see it, at its public URL: the right one, with nothing open beside it."""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Timer
from urllib.parse import SplitResult, urlsplit

from ..settings import PREFIX, Settings
from .findings import Finding, failed, ok, skipped, warning

_SECONDS = 3.0
_MOST_BYTES = 64 * 1024
# Not the metadata: those may be read by every origin, on purpose.
_PRIVATE = "/v1/users/me"
_STRANGER = "https://doctor.gatepost.invalid"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the public URL answered; `allows` is the origin that may read private answers."""

    issuer: object
    allows: str | None
    metrics_open: bool


async def look_from_outside(settings: Settings) -> list[Finding]:
    try:
        seen = await asyncio.to_thread(_look, urlsplit(settings.issuer))
    except ssl.SSLCertVerificationError:
        says = "its certificate is not trusted from here"
        return [failed("outside", says, "A certificate that clients trust.")]
    except (OSError, HTTPException):
        says = f"{settings.issuer} does not answer from here"
        if not settings.is_production:
            return [skipped("outside", says)]
        instead = "Start a server; or this host cannot reach the proxy: look from elsewhere."
        return [warning("outside", says, instead)]
    return list(judge_outside(seen, settings))


def judge_outside(seen: Seen, settings: Settings) -> Iterator[Finding]:
    name = f"{PREFIX}PUBLIC_URL"
    is_ours = seen.issuer == settings.issuer
    opened = seen.metrics_open and settings.is_production
    shared = seen.allows in ("*", _STRANGER)
    if not is_ours:
        says = "what answers at the public URL is not this service, or has another issuer"
        yield failed("outside", says, f"Let the proxy pass all paths on; compare {name}.")
    if shared:
        says = "pages of every origin may read answers: something adds CORS headers"
        yield failed("outside", says, f"Leave CORS to {PREFIX}HTTP__CORS_ORIGINS.")
    if opened:
        says = "everybody can read /metrics"
        yield failed("outside", says, "Publish the main port alone, not the management port.")
    if is_ours and not shared and not opened:
        yield ok("outside", f"{settings.issuer} is this service")


def _look(issuer: SplitResult) -> Seen:
    metadata, _ = _get(issuer, f"/.well-known/oauth-authorization-server{issuer.path}")
    _, allows = _get(issuer, f"{issuer.path}{_PRIVATE}")
    metrics, _ = _get(issuer, f"{issuer.path}/metrics")
    return Seen(_issuer_in(metadata), allows, b"# TYPE " in (metrics or b""))


def _get(issuer: SplitResult, path: str) -> tuple[bytes | None, str | None]:
    """Return the body, None unless the status is 200, and whom CORS lets read it."""
    kind = HTTPSConnection if issuer.scheme == "https" else HTTPConnection
    with closing(kind(issuer.hostname or "", issuer.port, timeout=_SECONDS)) as connection:
        connection.connect()
        with _cut_in_time(connection.sock):
            headers = {"Origin": _STRANGER, "Connection": "close"}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read(_MOST_BYTES)
        allows = answer.getheader("Access-Control-Allow-Origin")
        return (body if answer.status == 200 else None), allows


@contextmanager
def _cut_in_time(sock: socket.socket) -> Iterator[None]:
    """Bound an answer as a whole: the timeout is of each read, and a thread cannot be cancelled.

    Who sends a byte now and then would hold it for hours, and the command with it.
    """
    until = time.monotonic() + _SECONDS
    watch = Timer(_SECONDS, _cut, [sock])
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
    if time.monotonic() >= until:
        # What came before the cut is half an answer.
        raise TimeoutError


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _issuer_in(body: bytes | None) -> object:
    try:
        metadata = json.loads(body or b"")
    except ValueError:
        return None
    return metadata.get("issuer") if isinstance(metadata, dict) else None
