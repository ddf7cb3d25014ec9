"""What a server process answers with: one application for everybody, one for operators."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from logging import INFO, getLevelNamesMapping

from starlette.types import ASGIApp

from .. import __version__
from .container import open_gatepost
from .http.app import create_app, create_management_app
from .http.options import HttpOptions, RequestLog, unlogged
from .http.settings import http_options
from .logging import request_writer
from .metrics import FOLDER, Exposition
from .request_log import RequestLines
from .settings import Settings
from .tracing import Traces, tracing


@dataclass(frozen=True, slots=True)
class Applications:
    """Without a management port the public one tells operators, too."""

    public: ASGIApp
    management: ASGIApp | None
    options: HttpOptions


@asynccontextmanager
async def open_applications(
    settings: Settings, draining: Callable[[], bool]
) -> AsyncIterator[Applications]:
    """Open what requests need; `draining` tells whether the process is about to stop."""
    with tracing() as traces:
        async with _opened(settings, draining, traces) as applications:
            yield applications


@asynccontextmanager
async def _opened(
    settings: Settings, draining: Callable[[], bool], traces: Traces
) -> AsyncIterator[Applications]:
    # Here, because only here something is counted; the library takes a moment to import.
    from ..adapters.prometheus import PrometheusMetrics

    metrics = PrometheusMetrics(__version__, os.environ.get(FOLDER))
    async with open_gatepost(settings, metrics) as gatepost:
        exposition = Exposition(metrics, gatepost.backlog)
        sampling = asyncio.create_task(exposition.keep_sampling())
        options = replace(
            http_options(settings),
            draining=draining,
            requests=metrics.requests,
            log=traces.told(_request_log(settings)),
            metrics=exposition,
        )
        public, management = options, None
        if settings.management_port is not None:
            public = replace(options, metrics=None, health_checks=False)
            management = create_management_app(gatepost, options)
        serving = traces.serving(create_app(gatepost, public))
        made = Applications(serving, management, options)
        # What start-up made lives for ever: keep the collector from walking it again and again.
        gc.freeze()
        gc.enable()
        try:
            yield made
        finally:
            sampling.cancel()


def _request_log(settings: Settings) -> RequestLog:
    if not settings.log.requests or getLevelNamesMapping()[settings.log_level] > INFO:
        return unlogged
    return RequestLines(request_writer(settings), settings.log.client_ip)
