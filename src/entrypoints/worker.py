"""The worker: does queued jobs, or hands them on, until it is told to stop."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Sequence

import structlog

from ..adapters.postgres.consumer import consume
from ..application.events import Subscriber
from ..application.gatepost import Gatepost
from ..application.ports import Ports
from ..application.ports.delivery import Job
from ..domain.errors import Unavailable
from .container import open_gatepost
from .metrics import worker_metrics
from .relaying import relay_jobs
from .settings import Settings
from .tracing import Traces, Untraced, tracing

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
log = structlog.get_logger(__name__)


async def work(
    settings: Settings,
    subscribers: Sequence[Subscriber] = (),
    *,
    adapt: Callable[[Ports], Ports] | None = None,
) -> None:
    """Work jobs until SIGTERM or SIGINT; the running ones are finished first.

    A lost database, or broker, is waited for, also at the start: jobs stay where they are, and
    nobody has to restart the worker. Anything else ends it. `adapt` is that of `open_gatepost`.
    """
    with tracing() as traces:
        await _work(settings, subscribers, adapt, traces)


async def _work(
    settings: Settings,
    subscribers: Sequence[Subscriber],
    adapt: Callable[[Ports], Ports] | None,
    traces: Traces,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    patience, metrics = _Patience(stop), worker_metrics(settings)
    while not stop.is_set():
        try:
            if settings.jobs.relay_url is not None:
                log.info("worker hands jobs to celery")
                await relay_jobs(settings, stop)
                continue
            async with open_gatepost(
                settings, metrics, subscribers=subscribers, adapt=adapt
            ) as gatepost:
                log.info("worker takes jobs")
                patience.renew()
                await _take(settings, gatepost, traces, stop)
        except Unavailable as lost:
            await patience.wait(lost)


async def keep_working(settings: Settings, gatepost: Gatepost, stop: asyncio.Event) -> None:
    """Work jobs in a process that has other things to do, until `stop`; takes no signals.

    Whatever happens is logged and tried again: nothing would notice that it had ended.
    """
    patience = _Patience(stop)
    while not stop.is_set():
        try:
            await _take(settings, gatepost, Untraced(), stop)
        except Exception as lost:
            await patience.wait(lost)


async def _take(
    settings: Settings, gatepost: Gatepost, traces: Traces, stop: asyncio.Event
) -> None:
    names = gatepost.jobs.handlers
    await consume(settings.direct_url, run_of(gatepost, traces), stop, names=tuple(names))


class _Patience:
    """Waits between tries, longer each time, and never beyond the end."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self.renew()

    def renew(self) -> None:
        self._pause = _SHORTEST_PAUSE

    async def wait(self, lost: Exception) -> None:
        cause = type(lost.__cause__ or lost).__name__
        log.warning("worker has no queue", error=cause, next_try_seconds=self._pause)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)


def run_of(gatepost: Gatepost, traces: Traces) -> Callable[[Job], Awaitable[None]]:
    """Do a job, and say so."""

    async def run(job: Job) -> None:
        with traces.job(job):
            await gatepost.jobs.run(job)
            log.info("job done", job=job.name.value, job_id=str(job.id))

    return run
