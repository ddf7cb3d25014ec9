"""Taking jobs so that none of their lanes takes all places.

What is over a lane's part goes back into the queue uncounted, together with all of the lane that
waits, so that others are reached at once; each job of the lane that ends lets the next ones come.
"""

from datetime import timedelta
from typing import Any

from pgqueuer.domain import models
from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.queries import Queries

from ...application.ports.delivery import JobName

_NEVER = timedelta(days=36_500)
# Should nobody call them: who would have done so may have died.
_TURN_AT_LAST = timedelta(seconds=30)
_MOST = 1000
# Both counts see what others took: a batch is committed before it is looked at. `waits_turn` goes
# from those that got in, or a later wait between two attempts would be cut short.
_PUT_BACK = """
WITH taken AS (
    SELECT id, entrypoint, headers ->> 'lane' AS lane,
           row_number() OVER (PARTITION BY entrypoint, headers ->> 'lane' ORDER BY id) AS place
      FROM pgqueuer WHERE id = ANY ($1) AND headers ? 'lane'
), over AS (
    SELECT id, entrypoint, lane FROM taken
      JOIN unnest($2::text[], $3::int[]) AS part (name, size) ON name = entrypoint
     WHERE place + (SELECT count(*) FROM pgqueuer AS other
                     WHERE status = 'picked' AND other.entrypoint = taken.entrypoint
                       AND headers ->> 'lane' = taken.lane AND id <> ALL ($1)) > size
), waiting AS (
    SELECT id FROM pgqueuer
     WHERE status = 'queued' AND execute_after <= now()
       AND (entrypoint, headers ->> 'lane') IN (SELECT entrypoint, lane FROM over)
     ORDER BY id LIMIT $5 FOR UPDATE SKIP LOCKED
), admitted AS (
    UPDATE pgqueuer SET headers = headers - 'waits_turn'
     WHERE id = ANY ($1) AND headers ? 'waits_turn' AND id NOT IN (SELECT id FROM over)
), put_back AS (
    UPDATE pgqueuer SET status = 'queued', execute_after = now() + $4::interval, updated = now(),
           queue_manager_id = NULL, slot = NULL, headers = headers || '{"waits_turn": true}'
     WHERE id IN (SELECT id FROM over UNION ALL SELECT id FROM waiting)
) SELECT id FROM over
"""
_CALL = """
WITH ended AS (
    SELECT entrypoint, lane, size
      FROM unnest($1::text[], $2::text[]) AS ended (entrypoint, lane)
      JOIN unnest($3::text[], $4::int[]) AS part (name, size) ON name = entrypoint
), next AS (
    SELECT waiting.id FROM ended CROSS JOIN LATERAL (
        SELECT id FROM pgqueuer
         WHERE status = 'queued' AND entrypoint = ended.entrypoint
           AND headers ->> 'lane' = ended.lane AND headers ? 'waits_turn'
         ORDER BY id FOR UPDATE SKIP LOCKED
         LIMIT greatest(0, size - (SELECT count(*) FROM pgqueuer AS other
                                    WHERE status = 'picked' AND headers ->> 'lane' = ended.lane
                                      AND other.entrypoint = ended.entrypoint))) AS waiting
)
UPDATE pgqueuer SET execute_after = now(), updated = now(), headers = headers - 'waits_turn'
 WHERE id IN (SELECT id FROM next)
"""
_PARTS = {name.value: name.at_once_in_lane for name in JobName if name.at_once_in_lane}


class FairQueries(Queries):
    """Takes queued jobs alone: PgQueuer would hand on those of a dead worker uncounted."""

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[models.Job]:
        while taken := await super().dequeue(
            batch_size, entrypoints, queue_manager_id, global_concurrency_limit, _NEVER
        ):
            # An empty answer would mean that nothing is due.
            if admitted := await self._within_lanes(taken):
                return admitted
        return []

    async def log_jobs(self, job_status: list[Any]) -> None:
        await super().log_jobs(job_status)
        await self._call_next([job for job, _, _ in job_status])

    async def retry_job(
        self,
        job: models.Job,
        delay: timedelta,
        traceback_record: models.TracebackRecord | None,
    ) -> None:
        await super().retry_job(job, delay, traceback_record)
        await self._call_next([job])

    async def _within_lanes(self, taken: list[models.Job]) -> list[models.Job]:
        ids = [job.id for job in taken if _lane_of(job)]
        if not ids:
            return taken
        names, sizes = list(_PARTS), list(_PARTS.values())
        rows = await self.driver.fetch(_PUT_BACK, ids, names, sizes, _TURN_AT_LAST, _MOST)
        over = {row["id"] for row in rows}
        return [job for job in taken if job.id not in over]

    async def _call_next(self, ended: list[models.Job]) -> None:
        lanes = {(job.entrypoint, lane) for job in ended if (lane := _lane_of(job))}
        if lanes:
            names, ids = zip(*lanes, strict=True)
            parts = list(_PARTS), list(_PARTS.values())
            await self.driver.execute(_CALL, list(names), list(ids), *parts)


def _lane_of(job: models.Job) -> str | None:
    """Name the lane of a job whose kind has lanes."""
    lane = (job.headers or {}).get("lane")
    return str(lane) if lane and job.entrypoint in _PARTS else None
