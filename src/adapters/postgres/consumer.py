"""Taking jobs from the queue: each at least once, by one worker at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog
from pgqueuer import PgQueuer
from pgqueuer.core.executors import DatabaseRetryEntrypointExecutor
from pgqueuer.domain import models
from pgqueuer.domain.errors import FailingListenerError

from ...application.ports.delivery import Job, JobName
from ...domain.errors import Unavailable
from .dsn import to_dsn
from .engine import connect
from .failures import outages_as_unavailable
from .jobs import job_of

# A worker that dies leaves its jobs picked; another takes them over after this time.
_HEARTBEAT = timedelta(seconds=10)
_POLL = timedelta(seconds=5)
# 1, 2, 4 ... 600 seconds: some three hours in all, less than the life of a verification link.
_ATTEMPTS = 25
_LONGEST_DELAY = timedelta(minutes=10)
# Of the heavy ones so many at once, in all workers together: connections are for who waits.
_AT_ONCE = {JobName.BUILD_EXPORT: 4, JobName.DELIVER_WEBHOOK: 16}
_PURGE_EACH_HOUR = "17 * * * *"

log = structlog.get_logger(__name__)


class JobFailed(Exception):
    """A handler failed. Names the error's class alone: this text is stored with the job."""


async def consume(url: str, run: Callable[[Job], Awaitable[None]], stop: asyncio.Event) -> None:
    """Work jobs on a connection of its own until `stop` is set; running ones are finished.

    Raises Unavailable when the connection cannot be had or is lost.
    """
    try:
        with outages_as_unavailable():
            await _consume(url, run, stop)
    except FailingListenerError as error:
        raise Unavailable from error


async def _consume(url: str, run: Callable[[Job], Awaitable[None]], stop: asyncio.Event) -> None:
    connection = await connect(to_dsn(url), statement_timeout=0)
    try:
        queue = PgQueuer.from_asyncpg_connection(connection)
        _register(queue, run)
        stopping = asyncio.create_task(_pass_on(stop, queue.shutdown))
        try:
            await queue.run(
                dequeue_timeout=_POLL,
                heartbeat_timeout=_HEARTBEAT,
                shutdown_on_listener_failure=True,
            )
        finally:
            stopping.cancel()
    finally:
        await connection.close(timeout=2)


async def _pass_on(stop: asyncio.Event, shutdown: asyncio.Event) -> None:
    await stop.wait()
    shutdown.set()


def _register(queue: PgQueuer, run: Callable[[Job], Awaitable[None]]) -> None:
    async def entrypoint(row: models.Job) -> None:
        job = job_of(row)
        try:
            await run(job)
        except Exception as failed:
            error = type(failed).__name__
            log.warning("job failed", job=job.name.value, job_id=str(job.id), error=error)
            raise JobFailed(error) from None

    executor = partial(
        DatabaseRetryEntrypointExecutor, max_attempts=_ATTEMPTS, max_delay=_LONGEST_DELAY
    )
    for name in JobName:
        # `hold` keeps what failed to the end, so that it can be looked at and tried again.
        queue.entrypoint(
            name.value,
            concurrency_limit=_AT_ONCE.get(name, 0),
            executor_factory=executor,
            on_failure="hold",
        )(entrypoint)

    async def purge(_: models.Schedule) -> None:
        await run(Job(id=UUID(int=0), name=JobName.PURGE, payload={}))

    queue.schedule(JobName.PURGE.value, _PURGE_EACH_HOUR)(purge)
