"""The worker: does queued jobs until it is told to stop."""

import asyncio
import contextlib
import signal

import structlog

from ..adapters.postgres.consumer import consume
from ..application.ports.delivery import Job
from .container import open_gatepost
from .settings import Settings

_PAUSE_SECONDS = 1.0
log = structlog.get_logger(__name__)


async def work(settings: Settings) -> None:
    """Work jobs until SIGTERM or SIGINT; the running ones are finished first.

    A lost database is waited for: jobs stay where they are, and nobody has to restart the worker.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_gatepost(settings) as gatepost:

        async def run(job: Job) -> None:
            await gatepost.jobs.run(job)
            log.info("job done", job=job.name.value, job_id=str(job.id))

        while not stop.is_set():
            try:
                await consume(settings.direct_url, run, stop)
            except Exception as lost:
                log.warning("worker lost the queue", error=type(lost).__name__)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _PAUSE_SECONDS)
