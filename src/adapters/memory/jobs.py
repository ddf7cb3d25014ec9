"""The job queue in memory, and a worker for it."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID

from ...application.ports.delivery import Job
from ...application.ports.security import Clock
from ...application.ports.storage import JobQueue
from ...domain.accounts import AccountId
from ...domain.jobs import JobFilter, JobRecord, JobState, RetryPolicy

if TYPE_CHECKING:
    from .storage import MemoryStorage

_POLL_SECONDS = 0.01


@dataclass(slots=True)
class QueueTable:
    """The jobs, and a record for each of them; `dead` are those that were given up."""

    jobs: dict[UUID, Job] = field(default_factory=dict)
    dead: dict[UUID, Job] = field(default_factory=dict)
    records: dict[UUID, JobRecord] = field(default_factory=dict)

    def copy(self) -> "QueueTable":
        return QueueTable(self.jobs.copy(), self.dead.copy(), self.records.copy())

    def remove(self, ids: Iterable[UUID]) -> None:
        for job_id in list(ids):
            for rows in (self.jobs, self.dead, self.records):
                rows.pop(job_id, None)

    def change(self, job_id: UUID, record: JobRecord) -> None:
        """Note how a job stands, unless it was deleted meanwhile."""
        if job_id in self.records:
            self.records[job_id] = record


class MemoryJobs(JobQueue):
    def __init__(self, table: QueueTable, now: Clock) -> None:
        self._table = table
        self._now = now

    async def enqueue(self, job: Job) -> None:
        if job.id in self._table.records:
            return
        self._table.jobs[job.id] = replace(job, payload=MappingProxyType(dict(job.payload)))
        self._table.records[job.id] = _record(job, self._now())

    async def drop_of(self, account_id: AccountId) -> None:
        kept = (self._table.jobs, self._table.dead)
        owned = (id_ for rows in kept for id_, job in rows.items() if job.account_id == account_id)
        self._table.remove(owned)

    async def list_oldest(self, filter_: JobFilter, *, limit: int) -> Sequence[JobRecord]:
        return list(islice(self._records(filter_), limit))

    async def revive(self, filter_: JobFilter, *, limit: int) -> int:
        found, now = list(islice(self._records(_dead(filter_)), limit)), self._now()
        for record in found:
            self._table.jobs[record.id] = self._table.dead.pop(record.id)
            self._table.change(
                record.id,
                replace(record, state=JobState.WAITING, attempts=0, due_at=now, changed_at=now),
            )
        return len(found)

    async def remove_dead(self, filter_: JobFilter, *, older: timedelta, limit: int) -> int:
        before = self._now() - older
        dead = (one.id for one in self._records(_dead(filter_)) if one.changed_at < before)
        found = list(islice(dead, limit))
        self._table.remove(found)
        return len(found)

    async def forget_done(self, *, older: timedelta, limit: int) -> int:
        # What is done leaves nothing here.
        return 0

    def _records(self, filter_: JobFilter) -> Iterable[JobRecord]:
        return (record for record in self._table.records.values() if filter_.admits(record))


class MemoryWorker:
    """Does the committed jobs one after the other, the most urgent first, until it is stopped."""

    def __init__(self, storage: "MemoryStorage", retries: RetryPolicy | None = None) -> None:
        self._storage = storage
        self._retries = retries or RetryPolicy()

    async def __call__(self, run: Callable[[Job], Awaitable[None]], stop: asyncio.Event) -> None:
        while not stop.is_set():
            job = await self._take()
            if job is None:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            try:
                await run(job)
            except Exception as failed:
                await self._put_back(job, type(failed).__name__)
            else:
                async with self._storage.alone():
                    self._table.remove([job.id])

    @property
    def _table(self) -> QueueTable:
        return self._storage.committed.queue

    async def _take(self) -> Job | None:
        async with self._storage.alone():
            now, table = self._storage.now(), self._table
            due = [job for job in table.jobs.values() if table.records[job.id].due_at <= now]
            # The first of those that are equally urgent is the oldest.
            job = max(due, key=lambda job: job.name.priority, default=None)
            if job is not None:
                del table.jobs[job.id]
                table.change(job.id, replace(table.records[job.id], state=JobState.RUNNING))
        return job

    async def _put_back(self, job: Job, error: str) -> None:
        async with self._storage.alone():
            now, record = self._storage.now(), self._table.records[job.id]
            attempts = record.attempts + 1
            is_dead = self._retries.gives_up(attempts, 0)
            longest = job.name.longest_wait
            delay = self._retries.delay(attempts, random.random(), longest)  # noqa: S311
            rows = self._table.dead if is_dead else self._table.jobs
            rows[job.id] = job
            self._table.change(
                job.id,
                replace(
                    record,
                    state=JobState.DEAD if is_dead else JobState.WAITING,
                    attempts=attempts,
                    error=error,
                    due_at=now if is_dead else now + delay,
                    changed_at=now,
                ),
            )


def _dead(filter_: JobFilter) -> JobFilter:
    return replace(filter_, state=JobState.DEAD)


def _record(job: Job, now: datetime) -> JobRecord:
    return JobRecord(
        id=job.id,
        name=job.name.value,
        state=JobState.WAITING,
        attempts=0,
        error=None,
        created_at=now,
        due_at=now,
        changed_at=now,
    )
