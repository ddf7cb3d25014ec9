"""The application of Celery's own workers: `celery --app gatepost.entrypoints.celery worker`."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import structlog
from celery.signals import setup_logging

from ..adapters.celery import Do, make_app
from ..adapters.postgres.relay import HandedJobs
from .container import open_gatepost
from .logging import configure_logging
from .relaying import broker_url
from .settings import load
from .tracing import tracing
from .worker import run_of

settings = load()
log = structlog.get_logger(__name__)


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log_as_ours(**_: Any) -> None:
    configure_logging(settings)


@contextlib.asynccontextmanager
async def _open_jobs() -> AsyncIterator[Do]:
    with tracing() as traces:
        async with (
            open_gatepost(settings) as gatepost,
            HandedJobs(settings.pooled_url, run_of(gatepost, traces)) as jobs,
        ):
            log.info("worker takes jobs")
            yield jobs.do


app = make_app(broker_url(settings), _open_jobs)
