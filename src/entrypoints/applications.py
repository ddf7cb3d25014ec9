"""What a server process answers with: one application for everybody, one for operators."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from starlette.types import ASGIApp

from .. import __version__
from .container import open_gatepost
from .http.app import create_app, create_management_app
from .http.options import HttpOptions
from .metrics import FOLDER, Exposition
from .settings import Settings


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
    # Here, because only here something is counted; the library takes a moment to import.
    from ..adapters.prometheus import PrometheusMetrics

    metrics = PrometheusMetrics(__version__, os.environ.get(FOLDER))
    async with open_gatepost(settings, metrics) as gatepost:
        exposition = Exposition(metrics, gatepost.backlog)
        sampling = asyncio.create_task(exposition.keep_sampling())
        options = replace(
            http_options(settings, draining), requests=metrics.requests, metrics=exposition
        )
        public, management = options, None
        if settings.management_port is not None:
            public = replace(options, metrics=None, health_checks=False)
            management = create_management_app(gatepost, options)
        made = Applications(create_app(gatepost, public), management, options)
        # What start-up made lives for ever: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        try:
            yield made
        finally:
            sampling.cancel()


def http_options(settings: Settings, draining: Callable[[], bool]) -> HttpOptions:
    return HttpOptions(
        docs=settings.serves_docs,
        password_grant=settings.password_grant,
        version=__version__,
        public_url=settings.issuer,
        frontend_url=settings.frontend_url,
        cors_origins=settings.http.cors_origins,
        trusted_proxies=settings.http.trusted_proxies,
        draining=draining,
    )
