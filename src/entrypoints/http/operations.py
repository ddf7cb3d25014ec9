"""What probes and operators ask: is it alive, is it ready, how is it."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...application.ports.storage import HealthCheck
from ...domain.errors import Unavailable
from .openapi import problems
from .options import HttpOptions
from .routing import PlainRoute
from .schemas import json_answer

_REUSED_SECONDS = 1.0
# Not that of a newer format: every scraper reads this one.
_TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
_DATABASE = "database"
_log = logging.getLogger(__name__)


class Check(BaseModel):
    status: str
    latency_ms: float


class Health(BaseModel):
    """`healthy` or `unhealthy`, the latter when the database is."""

    status: str
    version: str


class CheckedHealth(Health):
    """With what was looked at; where there is a management port, on that one alone."""

    checks: dict[str, Check]


class State(BaseModel):
    status: str


@dataclass(slots=True)
class Probe:
    """Asks a dependency at most once a second, however many probes come at once."""

    ask: HealthCheck
    limit_seconds: float = 1
    monotonic: Callable[[], float] = time.monotonic
    _last: Check | None = None
    _good_until: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __call__(self) -> Check:
        async with self._lock:
            if self._last is None or self.monotonic() >= self._good_until:
                self._last = await self._measure()
                self._good_until = self.monotonic() + _REUSED_SECONDS
            return self._last

    async def _measure(self) -> Check:
        started = self.monotonic()
        try:
            async with asyncio.timeout(self.limit_seconds):
                await self.ask()
            status = "healthy"
        except (Unavailable, TimeoutError):
            status = "unhealthy"
        except Exception as failed:
            _log.warning("health check failed", extra={"error": type(failed).__name__})
            status = "unhealthy"
        return Check(status=status, latency_ms=round((self.monotonic() - started) * 1000, 3))


def router(checks: Mapping[str, HealthCheck], options: HttpOptions) -> APIRouter:
    api = APIRouter(tags=["Operations"], route_class=PlainRoute)
    live, ready = (json_answer(State(status=status)) for status in ("live", "ready"))
    probes = {name: Probe(check, options.check_seconds) for name, check in checks.items()}
    database = probes[_DATABASE]
    model = CheckedHealth if options.health_checks else Health

    @api.get(
        "/health",
        operation_id="readHealth",
        summary="Tell how the service and what it needs are",
        response_model=model,
        responses={503: {"model": model, "description": "The database cannot be used."}},
    )
    async def read_health(_: Request) -> Response:
        # Nobody is shown the others, so nobody waits for them.
        asked = probes if options.health_checks else {_DATABASE: database}
        told = await asyncio.gather(*(probe() for probe in asked.values()))
        found = dict(zip(asked, told, strict=True))
        answer = _health(found, options)
        if answer.status == "healthy":
            return json_answer(answer)
        refusal = json_answer(answer, 503)
        refusal.headers["Retry-After"] = "1"
        return refusal

    @api.get(
        "/livez",
        operation_id="checkLive",
        summary="Tell that the process serves",
        response_model=State,
    )
    async def check_live(_: Request) -> Response:
        """Touch nothing else: a restart does not mend a database."""
        return live

    @api.get(
        "/readyz",
        operation_id="checkReady",
        summary="Tell whether to send traffic here",
        response_model=State,
        responses=problems(),
    )
    async def check_ready(_: Request) -> Response:
        if options.draining() or (await database()).status != "healthy":
            raise Unavailable
        return ready

    return api


def _health(found: dict[str, Check], options: HttpOptions) -> Health:
    status, version = found[_DATABASE].status, options.version
    if options.health_checks:
        return CheckedHealth(status=status, version=version, checks=found)
    return Health(status=status, version=version)


def metrics_routes(options: HttpOptions) -> Iterator[Route]:
    """Serve `/metrics` where there are some to render; a page for machines, not in the docs."""
    render = options.metrics
    if render is None:
        return

    async def read_metrics(_: Request) -> Response:
        return Response(await render(), headers={"Content-Type": _TEXT_FORMAT})

    yield Route("/metrics", read_metrics, methods=["GET"])
