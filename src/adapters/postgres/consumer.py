"""Taking jobs from the queue: each at least once, by one worker at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.domain import models
from pgqueuer.domain.errors import FailingListenerError
from pgqueuer.ports.driver import Driver

from ...application.ports.delivery import Job, JobName
from ...domain.errors import Unavailable
from ...domain.jobs import RetryPolicy
from .attempts import Attempts
from .crashes import LiveQueries, TakeBack
from .dsn import to_dsn
from .engine import connect
from .failures import outages_as_unavailable

# A worker takes no more than it can do at once: what it holds when it dies, others wait for.
_BATCH = 10
_HANDS = 2 * _BATCH
# Each tick queues one job, whichever worker sees it first; none while the last one is not done.
SCHEDULES = {
    JobName.PURGE: "17 * * * *",
    JobName.ROTATE_KEYS: "*/5 * * * *",
    JobName.RESEAL_SECRETS: "*/5 * * * *",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a worker acts; the defaults are those of production.

    A worker that is silent for `heartbeat` counts as dead, and others take its jobs over. `poll`
    bounds how late a retry is noticed. `grace` is how long running jobs have once the worker is
    told to stop; then they are put back.
    """

    heartbeat: timedelta = timedelta(seconds=10)
    poll: timedelta = timedelta(seconds=5)
    grace: timedelta = timedelta(seconds=20)


async def consume(
    url: str,
    run: Callable[[Job], Awaitable[None]],
    stop: asyncio.Event,
    *,
    retries: RetryPolicy | None = None,
    pace: Pace | None = None,
    schedules: Mapping[JobName, str] = SCHEDULES,
) -> None:
    """Work jobs on a connection of its own until `stop` is set; running ones are finished.

    `schedules`: the times of jobs that nobody asks for, as cron has them.

    Raises Unavailable when the connection cannot be had or is lost.
    """
    try:
        with outages_as_unavailable():
            attempts = Attempts(run, retries or RetryPolicy())
            await _consume(url, attempts, schedules, stop, pace or Pace())
    except FailingListenerError as error:
        raise Unavailable from error


async def _consume(
    url: str,
    attempts: Attempts,
    schedules: Mapping[JobName, str],
    stop: asyncio.Event,
    pace: Pace,
) -> None:
    connection = await connect(to_dsn(url), statement_timeout=0)
    try:
        queue = _queue(AsyncpgDriver(connection), attempts, schedules)
        take_back = TakeBack(queue, attempts.retries, pace.heartbeat)
        beside = (
            asyncio.create_task(_pass_on(stop, queue, attempts, pace.grace)),
            asyncio.create_task(take_back.keep_on()),
        )
        try:
            await queue.run(
                dequeue_timeout=pace.poll,
                batch_size=_BATCH,
                max_concurrent_tasks=_HANDS,
                heartbeat_timeout=pace.heartbeat,
                shutdown_on_listener_failure=True,
            )
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
    finally:
        await connection.close(timeout=2)


async def _pass_on(
    stop: asyncio.Event, queue: PgQueuer, attempts: Attempts, grace: timedelta
) -> None:
    await stop.wait()
    queue.shutdown.set()
    attempts.end_within(grace)


def _queue(driver: Driver, attempts: Attempts, schedules: Mapping[JobName, str]) -> PgQueuer:
    queries = LiveQueries(driver)
    queue = PgQueuer(driver, queries=queries)
    # Names of a newer release are none of ours: its jobs stay for its workers.
    for name in JobName:
        # `hold` keeps what was given up, so that it can be looked at and tried again.
        queue.entrypoint(name.value, concurrency_limit=name.at_once or 0, on_failure="hold")(
            attempts.make
        )
    for name, times in schedules.items():
        queue.schedule(name.value, times)(_tick(queries, name))
    return queue


def _tick(queries: LiveQueries, name: JobName) -> Callable[[models.Schedule], Awaitable[None]]:
    async def tick(_: models.Schedule) -> None:
        await queries.enqueue(
            name.value,
            b"{}",
            priority=name.priority,
            dedupe_key=f"tick:{name.value}",
            headers={"job_id": str(uuid4())},
            on_conflict="skip",
        )

    return tick
