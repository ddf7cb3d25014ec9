"""Taking jobs from the queue: each at least once, by one worker at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.domain import models
from pgqueuer.domain.errors import FailingListenerError
from pgqueuer.ports.driver import Driver

from ...application.ports.delivery import Job, JobName
from ...domain.errors import Unavailable
from ...domain.jobs import RetryPolicy
from .attempts import Attempts
from .crashes import TakeBack
from .dsn import to_dsn
from .engine import connect
from .failures import outages_as_unavailable
from .lanes import FairQueries

# A worker takes no more than it can do at once: what it holds when it dies, others wait for.
_BATCH = 10
# More than all jobs that are bounded (`JobName.at_once`) take together: the rest is for mail.
_HANDS = 3 * _BATCH
_LOOK_SECONDS = 0.5
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
    names: Collection[JobName] = tuple(JobName),
    schedules: Mapping[JobName, str] = SCHEDULES,
) -> None:
    """Work jobs on a connection of its own until `stop` is set; running ones are finished.

    `names`: which jobs to take; the others stay. `schedules`: the times of jobs that nobody asks
    for, as cron has them.

    Raises Unavailable when the connection cannot be had or is lost.
    """
    pace = pace or Pace()
    attempts = Attempts(run, retries or RetryPolicy())

    def queue_on(driver: Driver) -> PgQueuer:
        return queue_of(FairQueries(driver), attempts.make, names, schedules)

    def end() -> None:
        attempts.end_within(pace.grace)

    await keep_taking(url, queue_on, stop, end=end, retries=attempts.retries, pace=pace)


async def keep_taking(
    url: str,
    queue_on: Callable[[Driver], PgQueuer],
    stop: asyncio.Event,
    *,
    end: Callable[[], None],
    retries: RetryPolicy,
    pace: Pace,
) -> None:
    """Run a queue on a connection of its own until `stop`, when `end` is called, or it shuts down.

    `end` is called for a lost connection too: others take over the jobs of whom nobody hears, and
    he must come back for others.

    Raises Unavailable when the connection cannot be had or is lost.
    """
    try:
        with outages_as_unavailable():
            connection = await connect(to_dsn(url), statement_timeout=0)
            try:
                queue = queue_on(AsyncpgDriver(connection))
                beside = _pass_on(stop, queue, end), _notice_loss(connection, end)
                await _run(queue, beside, retries, pace)
            finally:
                await connection.close(timeout=2)
    except FailingListenerError as error:
        raise Unavailable from error


async def _run(
    queue: PgQueuer,
    besides: Iterable[Coroutine[Any, Any, None]],
    retries: RetryPolicy,
    pace: Pace,
) -> None:
    take_back = TakeBack(queue, retries, pace.heartbeat)
    beside = [asyncio.create_task(one) for one in (*besides, take_back.keep_on())]
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


async def _pass_on(stop: asyncio.Event, queue: PgQueuer, end: Callable[[], None]) -> None:
    await stop.wait()
    queue.shutdown.set()
    end()


async def _notice_loss(connection: asyncpg.Connection, end: Callable[[], None]) -> None:
    """Look again and again: the driver tells nobody of a connection that it gave up itself."""
    while not connection.is_closed():  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_SECONDS)
    end()


def queue_of(
    queries: FairQueries,
    do: Callable[[models.Job], Awaitable[None]],
    names: Collection[JobName],
    schedules: Mapping[JobName, str] = SCHEDULES,
) -> PgQueuer:
    """Make a queue that gives each job of these names to `do`, and ticks."""
    queue = PgQueuer(queries.driver, queries=queries)
    # Names of a newer release are none of ours: its jobs stay for its workers.
    for name in names:
        # `hold` keeps what was given up, so that it can be looked at and tried again.
        queue.entrypoint(name.value, concurrency_limit=name.at_once or 0, on_failure="hold")(do)
    for name, times in schedules.items():
        queue.schedule(name.value, times)(_tick(queries, name))
    return queue


def _tick(queries: FairQueries, name: JobName) -> Callable[[models.Schedule], Awaitable[None]]:
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
