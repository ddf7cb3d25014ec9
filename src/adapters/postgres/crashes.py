"""Jobs whose worker died: they count the attempt, wait, and are given up like any other.

What was handed to another engine and not begun there in time is put back uncounted.
"""

import asyncio
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from pgqueuer import PgQueuer
from pgqueuer.domain import models

from ...domain.jobs import RetryPolicy

_MOST = 100
# Our own jobs may look silent after a pause of this process; they are at work.
_SILENT = """
SELECT id, entrypoint, attempts, heartbeat, headers ->> 'job_id' AS job_id,
       coalesce((headers ->> 'crashes')::int, 0) AS crashes
  FROM pgqueuer
 WHERE status = 'picked' AND heartbeat < now() - $1::interval
   AND queue_manager_id IS DISTINCT FROM $2::uuid AND NOT headers ? 'handed_over'
 ORDER BY heartbeat LIMIT $3
"""
# Of several workers that see it one takes it, and none if its own has woken up.
_TAKE_BACK = """
WITH taken AS (
    UPDATE pgqueuer SET status = $3::pgqueuer_status, attempts = attempts + $4,
           execute_after = now() + $5::interval, updated = now(), queue_manager_id = NULL,
           slot = NULL, headers = headers || jsonb_build_object('crashes', $6::int)
     WHERE id = $1 AND status = 'picked' AND heartbeat = $2
    RETURNING id, entrypoint, priority
), logged AS (
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority, traceback)
    SELECT id, $3::pgqueuer_status, entrypoint, priority, $7::jsonb FROM taken
) SELECT id FROM taken
"""
# The heartbeat of these is set ahead, to when they should have been begun. They stay as old as
# they are, so that it is seen that nobody does them.
_PUT_BACK = """
UPDATE pgqueuer SET status = 'queued', updated = now(), queue_manager_id = NULL, slot = NULL,
       headers = headers - 'handed_over'
 WHERE status = 'picked' AND heartbeat < now() AND headers ? 'handed_over'
RETURNING id
"""

log = structlog.get_logger(__name__)


class WorkerLost(Exception):
    """The worker died on the job, or could not be heard any more."""


class TakeBack:
    """Puts the jobs of silent workers back into the queue, each with an attempt more."""

    def __init__(self, queue: PgQueuer, retries: RetryPolicy, heartbeat: timedelta) -> None:
        self._queue = queue
        self._retries = retries
        self._heartbeat = heartbeat

    async def keep_on(self) -> None:
        """Look twice in the time after which a worker counts as dead, until cancelled."""
        while True:
            try:
                await self()
            except Exception as failed:
                # Of a lost connection the queue itself makes an end.
                log.warning("dead workers not looked for", error=type(failed).__name__)
            await asyncio.sleep(self._heartbeat.total_seconds() / 2)

    async def __call__(self) -> None:
        if unbegun := await self._queue.connection.fetch(_PUT_BACK):
            log.warning("jobs not begun where they were handed to", jobs=len(unbegun))
        own = self._queue.qm.queue_manager_id
        for row in await self._queue.connection.fetch(_SILENT, self._heartbeat, own, _MOST):
            await self._take(row)

    async def _take(self, row: Mapping[str, Any]) -> None:
        failed, crashes = row["attempts"] + 1, row["crashes"] + 1
        given_up = self._retries.gives_up(failed, crashes)
        delay = self._retries.delay(failed, random.random())  # noqa: S311
        taken = await self._queue.connection.fetch(
            _TAKE_BACK,
            row["id"],
            row["heartbeat"],
            "failed" if given_up else "queued",
            # As PgQueuer does it: the failure that ends a job is not counted.
            0 if given_up else 1,
            delay,
            crashes,
            models.TracebackRecord.from_exception(
                WorkerLost(WorkerLost.__name__), row["id"]
            ).model_dump_json(),
        )
        if taken:
            say = log.error if given_up else log.warning
            event = "job given up" if given_up else "job taken back from a dead worker"
            say(event, job=row["entrypoint"], job_id=row["job_id"], crashes=crashes)
