"""Jobs on PgQueuer, queued by the transaction that causes them."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ...application.correlation import REQUEST_ID, TRACEPARENT
from ...application.ports.delivery import Job, JobName
from ...application.ports.storage import JobQueue
from ...domain.accounts import AccountId
from ...domain.jobs import JobFilter, JobRecord, JobState
from .connection import Connection
from .queue_names import renaming

if TYPE_CHECKING:
    # A server queues jobs and does none: it goes without the library.
    from pgqueuer.domain.models import Job as QueuedJob

_STATES = {"queued": JobState.WAITING, "picked": JobState.RUNNING, "failed": JobState.DEAD}
_STATUS = {state: status for status, state in _STATES.items()}

# What PgQueuer's own `enqueue` does for one job. A duplicate that raised would spoil the caller's
# transaction; workers are not given the dedupe key, so the headers hold the id too.
_ENQUEUE = """
WITH queued AS (
    INSERT INTO pgqueuer
           (entrypoint, priority, payload, dedupe_key, headers, status, execute_after)
    VALUES ($1, $2, $3, $4, $5::jsonb, 'queued', now())
    ON CONFLICT (dedupe_key) WHERE status IN ('queued', 'picked') AND dedupe_key IS NOT NULL
       DO NOTHING
    RETURNING id, entrypoint, priority
), logged AS (
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
    SELECT id, 'queued', entrypoint, priority FROM queued
) SELECT id FROM queued
"""
# Reads the whole queue, which is short, for what happens seldom.
_DROP_OF = """
DELETE FROM pgqueuer WHERE status IN ('queued', 'failed') AND headers ->> 'account_id' = $1
"""
_WANTED = """
status = ANY ($1::pgqueuer_status[]) AND ($2::text IS NULL OR entrypoint = $2)
   AND ($3::text[] IS NULL OR headers ->> 'job_id' = ANY ($3))
"""
# The last failure is not in the count of what was given up. Of the log only what `consume` wrote
# is shown: the class of an error.
_LIST = f"""
SELECT headers ->> 'job_id' AS id, entrypoint AS name, status::text AS status,
       attempts + (status = 'failed')::int AS attempts, created, execute_after, updated,
       (SELECT substring(traceback ->> 'exception_message' FROM '^\\w+$') FROM pgqueuer_log
         WHERE job_id = pgqueuer.id AND traceback IS NOT NULL
         ORDER BY created DESC, pgqueuer_log.id DESC LIMIT 1) AS error
  FROM pgqueuer WHERE {_WANTED} AND headers ->> 'job_id' IS NOT NULL
 ORDER BY pgqueuer.id LIMIT $4
"""  # noqa: S608
_REVIVE = f"""
WITH revived AS (
    UPDATE pgqueuer SET status = 'queued', attempts = 0, execute_after = now(), updated = now(),
           slot = NULL, dedupe_key = headers ->> 'job_id', headers = headers - 'crashes'
     WHERE id = ANY (ARRAY(
        SELECT id FROM pgqueuer WHERE {_WANTED} AND NOT EXISTS (
            SELECT FROM pgqueuer AS twin WHERE twin.status IN ('queued', 'picked')
               AND twin.dedupe_key = pgqueuer.headers ->> 'job_id'
                OR twin.status = 'failed' AND twin.id < pgqueuer.id
               AND twin.headers ->> 'job_id' = pgqueuer.headers ->> 'job_id')
         ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED))
    RETURNING id, entrypoint, priority
), logged AS (
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
    SELECT id, 'queued', entrypoint, priority FROM revived
) SELECT count(*) AS rows FROM revived
"""  # noqa: S608
_REMOVE_DEAD = f"""
WITH removed AS (
    DELETE FROM pgqueuer WHERE id = ANY (ARRAY(
        SELECT id FROM pgqueuer WHERE {_WANTED} AND updated < now() - $5::interval
         ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED))
    RETURNING id
) SELECT count(*) AS rows FROM removed
"""  # noqa: S608
# What PgQueuer writes down of each job, and its sums of that, nothing of ours reads for long.
_FORGET = """
WITH removed AS (
    DELETE FROM {table} WHERE id = ANY (ARRAY(
        SELECT id FROM {table} WHERE created < now() - $1::interval
         ORDER BY created LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING id
) SELECT count(*) AS rows FROM removed
"""
_TRACES = ("pgqueuer_log", "pgqueuer_statistics")


def refuse_renamed_queue() -> None:
    """Raise ValueError when the environment renames PgQueuer's objects."""
    if renamed := renaming(os.environ):
        names = ", ".join(renamed)
        raise ValueError(f"The environment renames parts of the job queue; unset: {names}.")


def job_of(queued: "QueuedJob") -> Job:
    """Read back what `enqueue` wrote, for a worker."""
    headers, payload = queued.headers or {}, queued.payload or b"{}"
    return Job(
        id=UUID(str(headers["job_id"])),
        name=JobName(queued.entrypoint),
        payload=json.loads(payload),
        account_id=UUID(str(headers["account_id"])) if "account_id" in headers else None,
        lane=UUID(str(headers["lane"])) if "lane" in headers else None,
    )


class PgQueuerJobs(JobQueue):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def enqueue(self, job: Job) -> None:
        await self._connection.fetch(
            _ENQUEUE,
            job.name.value,
            job.name.priority,
            json.dumps(dict(job.payload)).encode(),
            str(job.id),
            json.dumps(_headers(job)),
        )

    async def drop_of(self, account_id: AccountId) -> None:
        await self._connection.fetch(_DROP_OF, str(account_id))

    async def list_oldest(self, filter_: JobFilter, *, limit: int) -> Sequence[JobRecord]:
        states = (filter_.state,) if filter_.state else tuple(JobState)
        rows = await self._connection.fetch(_LIST, *_wanted(filter_, *states), limit)
        return [_record(row) for row in rows]

    async def revive(self, filter_: JobFilter, *, limit: int) -> int:
        return await self._count(_REVIVE, *_wanted(filter_, JobState.DEAD), limit)

    async def remove_dead(self, filter_: JobFilter, *, older: timedelta, limit: int) -> int:
        return await self._count(_REMOVE_DEAD, *_wanted(filter_, JobState.DEAD), limit, older)

    async def forget_done(self, *, older: timedelta, limit: int) -> int:
        counts = [
            await self._count(_FORGET.format(table=table), older, limit) for table in _TRACES
        ]
        return max(counts)

    async def _count(self, sql: str, *arguments: object) -> int:
        (row,) = await self._connection.fetch(sql, *arguments)
        return int(str(row["rows"]))


def _wanted(filter_: JobFilter, *states: JobState) -> tuple[object, ...]:
    ids = None if filter_.ids is None else [str(one) for one in filter_.ids]
    return [_STATUS[state] for state in states], filter_.name, ids


def _record(row: Mapping[str, Any]) -> JobRecord:
    return JobRecord(
        id=UUID(row["id"]),
        name=row["name"],
        state=_STATES[row["status"]],
        attempts=row["attempts"],
        error=row["error"],
        created_at=row["created"],
        due_at=row["execute_after"],
        changed_at=row["updated"],
    )


def _headers(job: Job) -> dict[str, str]:
    told = {
        "job_id": job.id,
        "account_id": job.account_id,
        "lane": job.lane,
        "request_id": REQUEST_ID.get(),
        "traceparent": TRACEPARENT.get(),
    }
    return {name: str(value) for name, value in told.items() if value}
