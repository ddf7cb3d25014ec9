"""The worker: does queued jobs, or hands them on, until it is told to stop."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Sequence

import structlog

from ..adapters.postgres.consumer import consume
from ..application.events import Subscriber
from ..application.gatepost import Gatepost
from ..application.ports.delivery import Job
from ..domain.errors import Unavailable
from .container import open_gatepost
from .metrics import worker_metrics
from .relaying import relay_jobs
from .settings import Settings

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
log = structlog.get_logger(__name__)


async def work(settings: Settings, subscribers: Sequence[Subscriber] = ()) -> None:
    """Work jobs until SIGTERM or SIGINT; the running ones are finished first.

    A lost database, or broker, is waited for, also at the start: jobs stay where they are, and
    nobody has to restart the worker. Anything else ends it.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    pause, metrics = _SHORTEST_PAUSE, worker_metrics(settings)
    while not stop.is_set():
        try:
            if settings.jobs.relay_url is not None:
                log.info("worker hands jobs to celery")
                await relay_jobs(settings, stop)
                continue
            async with open_gatepost(settings, metrics, subscribers=subscribers) as gatepost:
                log.info("worker takes jobs")
                pause = _SHORTEST_PAUSE
                await consume(settings.direct_url, run_of(gatepost), stop)
        except Unavailable as lost:
            cause = type(lost.__cause__ or lost).__name__
            log.warning("worker has no queue", error=cause, next_try_seconds=pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def run_of(gatepost: Gatepost) -> Callable[[Job], Awaitable[None]]:
    """Do a job, and say so."""

    async def run(job: Job) -> None:
        await gatepost.jobs.run(job)
        log.info("job done", job=job.name.value, job_id=str(job.id))

    return run
