"""Webhooks over HTTP: signed, to addresses that were checked, and nowhere else."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import httpx2
import structlog
from standardwebhooks.webhooks import Webhook

from ..application.correlation import TRACEPARENT
from ..application.ports.webhooks import Message, WebhookSender
from ..domain.errors import ValidationFailed
from ..domain.networks import FORBIDDEN_ADDRESS, UNKNOWN_HOST, Destinations, Target
from ..domain.webhooks import Fault, Outcome

_SECONDS = 3.0
# A name server that hangs must not take the threads that others need.
_LOOKUPS_AT_ONCE = 8
_CONNECTIONS_TRIED = 3

Resolve = Callable[[str, int], Awaitable[list[str]]]
log = structlog.get_logger(__name__)


class _Forbidden(Exception):
    """The host has an address that webhooks may not go to."""


class HttpWebhooks(WebhookSender):
    """Posts with a connection of its own each, without proxies, cookies or redirects."""

    def __init__(
        self,
        destinations: Destinations,
        *,
        seconds: float = _SECONDS,
        resolve: Resolve | None = None,
    ) -> None:
        self.destinations = destinations
        self._seconds = seconds
        self._resolve = resolve or self._look_up

    async def check(self, url: str) -> None:
        target = self.destinations.parse(url)
        try:
            async with asyncio.timeout(self._seconds):
                await self._addresses(target)
        except _Forbidden:
            raise ValidationFailed(FORBIDDEN_ADDRESS) from None
        except (OSError, ValueError):
            # A time-out is one, too.
            raise ValidationFailed(UNKNOWN_HOST) from None

    async def send(self, message: Message) -> Outcome:
        started = time.perf_counter()
        status, fault = await self._attempt(message)
        outcome = Outcome(round((time.perf_counter() - started) * 1000), status, fault)
        if not outcome.is_success:
            failure = fault.value if fault else None
            log.warning("webhook failed", event_id=str(message.id), status=status, fault=failure)
        return outcome

    async def _attempt(self, message: Message) -> tuple[int | None, Fault | None]:
        try:
            async with asyncio.timeout(self._seconds):
                target = self.destinations.parse(message.url)
                return await self._post(target, await self._addresses(target), message), None
        except (_Forbidden, ValidationFailed):
            return None, Fault.FORBIDDEN
        except (TimeoutError, httpx2.TimeoutException):
            return None, Fault.TIMED_OUT
        except (socket.gaierror, UnicodeError):
            return None, Fault.UNRESOLVED
        except (OSError, httpx2.HTTPError, httpx2.InvalidURL):
            return None, Fault.UNREACHABLE

    async def _addresses(self, target: Target) -> tuple[str, ...]:
        found = await self._resolve(target.host, target.port)
        admitted = self.destinations.admit(target, found)
        if not admitted:
            raise _Forbidden
        return admitted[:_CONNECTIONS_TRIED]

    async def _post(self, target: Target, addresses: tuple[str, ...], message: Message) -> int:
        """Post to the first address that takes a connection."""
        headers = _headers(target, message)
        async with httpx2.AsyncClient(
            verify=self._tls, trust_env=False, timeout=self._seconds
        ) as client:
            for address in addresses[:-1]:
                try:
                    return await _post_to(client, target, address, headers, message)
                except httpx2.ConnectError:
                    continue
            return await _post_to(client, target, addresses[-1], headers, message)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_LOOKUPS_AT_ONCE, "webhook-lookup")

    async def _look_up(self, host: str, port: int) -> list[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def _post_to(
    client: httpx2.AsyncClient,
    target: Target,
    address: str,
    headers: dict[str, str],
    message: Message,
) -> int:
    host = f"[{address}]" if ":" in address else address
    async with client.stream(
        "POST",
        f"{target.scheme}://{host}:{target.port}{target.path}",
        content=message.body.encode(),
        headers=headers,
        # Certificates are for the name, not for the address that it led to.
        extensions={"sni_hostname": target.host},
        follow_redirects=False,
    ) as answer:
        # The body stays unread.
        return answer.status_code


def _headers(target: Target, message: Message) -> dict[str, str]:
    event_id, traceparent = str(message.id), TRACEPARENT.get()
    signatures = (
        Webhook(secret).sign(event_id, message.sent_at, message.body) for secret in message.secrets
    )
    return {
        "Host": target.authority,
        "Content-Type": "application/json",
        "User-Agent": "Gatepost",
        "Accept": "*/*",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(message.sent_at.timestamp())),
        "webhook-signature": " ".join(signatures),
        **({} if traceparent is None else {"traceparent": traceparent}),
    }
