"""What probes and operators ask: is it alive, is it ready, how is it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from ...application.ports.storage import HealthCheck
from ...domain.errors import Unavailable
from .openapi import problems
from .options import HttpOptions
from .schemas import json_answer

_REUSED_SECONDS = 1.0
_LIMIT_SECONDS = 1.0


class Check(BaseModel):
    status: str
    latency_ms: float


class Health(BaseModel):
    """`healthy` or `unhealthy`, the latter when the database is."""

    status: str
    version: str
    checks: dict[str, Check]


class State(BaseModel):
    status: str


@dataclass(slots=True)
class Probe:
    """Asks a dependency at most once a second, however many probes come at once."""

    ask: HealthCheck
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
            async with asyncio.timeout(_LIMIT_SECONDS):
                await self.ask()
            status = "healthy"
        except (Unavailable, TimeoutError):
            status = "unhealthy"
        return Check(status=status, latency_ms=round((self.monotonic() - started) * 1000, 3))


def router(database: HealthCheck, options: HttpOptions) -> APIRouter:
    api = APIRouter(tags=["Operations"])
    probe = Probe(database)

    @api.get(
        "/health",
        operation_id="readHealth",
        summary="Tell how the service and what it needs are",
        response_model=Health,
        responses={503: {"model": Health, "description": "The database cannot be used."}},
    )
    async def read_health() -> Response:
        check = await probe()
        checks = {"database": check}
        answer = Health(status=check.status, version=options.version, checks=checks)
        if check.status == "healthy":
            return json_answer(answer)
        refusal = json_answer(answer, 503)
        refusal.headers["Retry-After"] = "1"
        return refusal

    @api.get("/livez", operation_id="checkLive", summary="Tell that the process serves")
    async def check_live() -> State:
        """Touch nothing else: a restart does not mend a database."""
        return State(status="live")

    @api.get(
        "/readyz",
        operation_id="checkReady",
        summary="Tell whether to send traffic here",
        responses=problems(),
    )
    async def check_ready() -> State:
        if options.draining() or (await probe()).status != "healthy":
            raise Unavailable
        return State(status="ready")

    return api
