"""Handing jobs to another engine: the row stays, and says how each of them stands.

A message tells which row to do, and nothing of what the job is about. Who gets it claims the row,
does the job and writes down how that ended. So a message may be lost, late or there twice.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self
from uuid import UUID, uuid4

import asyncpg
import structlog
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.domain import models
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.ports.driver import Driver

from ...application.ports.delivery import Job, JobName
from ...domain.errors import Unavailable
from ...domain.jobs import RetryPolicy
from .attempts import Attempts, JobFailed
from .consumer import SCHEDULES, Pace, keep_taking, queue_of
from .dsn import to_dsn
from .engine import READ_POOL_SIZE, connect
from .lanes import FairQueries

# After that it counts as lost; a fleet that is merely busy gets it twice, and does it once.
BEGUN_WITHIN = timedelta(minutes=1)
# Before the message is sent: who gets it must find this.
_HAND_OVER = """
UPDATE pgqueuer SET heartbeat = now() + $3::interval,
       headers = headers || '{"handed_over": true}'
 WHERE id = $1 AND status = 'picked' AND queue_manager_id = $2
RETURNING id
"""
_KEEP = """
UPDATE pgqueuer SET status = 'queued', updated = now(), queue_manager_id = NULL, slot = NULL,
       headers = headers - 'handed_over'
 WHERE id = $1 AND status = 'picked' AND queue_manager_id = $2 AND headers ? 'handed_over'
"""
# One claim for each time that it was handed over.
_CLAIM = """
UPDATE pgqueuer SET queue_manager_id = $3, heartbeat = now(), updated = now(),
       headers = headers - 'handed_over'
 WHERE id = $1 AND status = 'picked' AND queue_manager_id = $2 AND headers ? 'handed_over'
   AND entrypoint = ANY($4)
RETURNING *
"""

# The engine's workers have no subscribers to tell.
_NAMES = tuple(name for name in JobName if name is not JobName.TELL_SUBSCRIBERS)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Which row to do, by which relay; name and id of the job are for who watches."""

    row: int
    relay: UUID
    name: JobName
    job_id: str


Publish = Callable[[Message], Awaitable[None]]


async def relay(
    url: str,
    publish: Publish,
    stop: asyncio.Event,
    *,
    retries: RetryPolicy | None = None,
    pace: Pace | None = None,
    begun_within: timedelta = BEGUN_WITHIN,
    schedules: Mapping[JobName, str] = SCHEDULES,
) -> None:
    """Hand due jobs to `publish` until `stop` is set, the most urgent first.

    No more than a worker would hold wait there to be begun: what is urgent overtakes all others.
    Jobs that were not begun, and those whose worker died, are taken back. `publish` raises
    Unavailable while the engine cannot be reached; so does this, then, or without a database.
    """
    handing = _Handing(publish, begun_within, schedules)
    await keep_taking(
        url,
        handing.queue_on,
        stop,
        end=lambda: None,
        retries=retries or RetryPolicy(),
        pace=pace or Pace(),
    )
    if handing.lost is not None:
        raise handing.lost


class _RelayQueries(FairQueries):
    async def log_jobs(self, job_status: list[Any]) -> None:
        """Leave the rows: that they were handed over is not how the jobs end."""

    async def update_heartbeat(self, job_ids: list[Any]) -> None:
        """Leave it set ahead."""


class _Handing:
    def __init__(
        self, publish: Publish, begun_within: timedelta, schedules: Mapping[JobName, str]
    ) -> None:
        self.lost: Unavailable | None = None
        self._publish = publish
        self._begun_within = begun_within
        self._schedules = schedules
        # One after the other, so that they arrive in their order, and one failure is enough.
        self._turn = asyncio.Lock()

    def queue_on(self, driver: Driver) -> PgQueuer:
        queue: PgQueuer

        async def do(row: models.Job) -> None:
            async with self._turn:
                await self._hand_over(queue, row)

        queue = queue_of(_RelayQueries(driver), do, _NAMES, self._schedules)
        return queue

    async def _hand_over(self, queue: PgQueuer, row: models.Job) -> None:
        own, fetch = queue.qm.queue_manager_id, queue.connection.fetch
        if not await fetch(_HAND_OVER, row.id, own, self._begun_within):
            return
        job_id = str((row.headers or {}).get("job_id"))
        try:
            if self.lost is not None:
                raise self.lost
            name = JobName(row.entrypoint)
            await self._publish(Message(row=row.id, relay=own, name=name, job_id=job_id))
        except Unavailable as lost:
            # No fault of the job: it is not counted. The queue ends first: one that goes on would
            # take the row again while this hand still holds it, and then leave it taken.
            self.lost = lost
            queue.shutdown.set()
            await fetch(_KEEP, row.id, own)


class HandedJobs:
    """Does jobs that a relay handed over, as `run` does them; an async context.

    Failures are counted, and lead to retries and graves, as those of any worker.
    """

    def __init__(
        self,
        url: str,
        run: Callable[[Job], Awaitable[None]],
        *,
        retries: RetryPolicy | None = None,
        heartbeat: timedelta | None = None,
    ) -> None:
        self._dsn = to_dsn(url)
        self._attempts = Attempts(run, retries or RetryPolicy())
        self._heartbeat = heartbeat or Pace().heartbeat
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        pool = asyncpg.create_pool(self._dsn, min_size=0, max_size=READ_POOL_SIZE, connect=connect)
        self._queries = FairQueries(AsyncpgPoolDriver(await self._stack.enter_async_context(pool)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def do(self, row: int, relay: UUID) -> None:
        """Do the job of a message, unless that was begun or put back; returns when it ended."""
        names = [name.value for name in _NAMES]
        found = await self._queries.driver.fetch(_CLAIM, row, relay, uuid4(), names)
        if not found:
            log.info("message without a job", row=row)
            return
        job = models.Job.model_validate(found[0])
        beating = asyncio.create_task(self._beat(job))
        try:
            await self._attempt(job)
        finally:
            beating.cancel()

    async def _attempt(self, job: models.Job) -> None:
        try:
            await self._attempts.make(job)
        except RetryRequested as retry:
            trace = models.TracebackRecord.from_exception(retry, job.id)
            await self._queries.retry_job(job, retry.delay, trace)
        except JobFailed as failed:
            trace = models.TracebackRecord.from_exception(failed, job.id)
            await self._queries.log_jobs([(job, "failed", trace)])
        else:
            await self._queries.log_jobs([(job, "successful", None)])

    async def _beat(self, job: models.Job) -> None:
        while True:
            await asyncio.sleep(self._heartbeat.total_seconds() / 3)
            try:
                await self._queries.update_heartbeat([job.id])
            except Exception as failed:
                log.warning("no heartbeat written", error=type(failed).__name__)
