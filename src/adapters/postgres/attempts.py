"""One attempt at a job: bounded when the worker stops, and what becomes of a failure."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import structlog
from pgqueuer.domain import models
from pgqueuer.domain.errors import RetryRequested

from ...application.correlation import REQUEST_ID, TRACEPARENT
from ...application.ports.delivery import Job, JobName
from ...domain.jobs import RetryPolicy
from .jobs import job_of

log = structlog.get_logger(__name__)


class JobFailed(Exception):
    """A job was given up. Names the error's class alone: this text is stored with the job."""


class Attempts:
    """Runs what PgQueuer hands over; every failure becomes a retry or the job's end."""

    def __init__(self, run: Callable[[Job], Awaitable[None]], retries: RetryPolicy) -> None:
        self.retries = retries
        self._run = run
        self._running: set[asyncio.Timeout] = set()
        self._ends: float | None = None

    def end_within(self, grace: timedelta) -> None:
        """Let the running jobs go on for so long, and no longer; asked again, adds nothing."""
        ends = asyncio.get_running_loop().time() + grace.total_seconds()
        self._ends = ends if self._ends is None else min(ends, self._ends)
        for limit in self._running:
            # One that is over cannot be changed; its job is clearing up.
            if not limit.expired():
                limit.reschedule(self._ends)

    async def make(self, row: models.Job) -> None:
        headers: dict[str, Any] = row.headers or {}
        REQUEST_ID.set(headers.get("request_id"))
        TRACEPARENT.set(headers.get("traceparent"))
        try:
            await self._try(job_of(row))
        # PgQueuer deletes a job whose task is cancelled; this way it is tried again.
        except (Exception, asyncio.CancelledError) as failed:
            raise self._verdict(row, type(failed).__name__) from None

    async def _try(self, job: Job) -> None:
        async with asyncio.timeout_at(self._ends) as limit:
            self._running.add(limit)
            try:
                await self._run(job)
            finally:
                self._running.discard(limit)

    def _verdict(self, row: models.Job, error: str) -> Exception:
        failed, job_id = row.attempts + 1, str((row.headers or {}).get("job_id"))
        if self.retries.gives_up(failed, 0):
            log.error("job given up", job=row.entrypoint, job_id=job_id, error=error)
            return JobFailed(error)
        longest = JobName(row.entrypoint).longest_wait
        delay = self.retries.delay(failed, random.random(), longest)  # noqa: S311
        log.warning(
            "job failed",
            job=row.entrypoint,
            job_id=job_id,
            error=error,
            next_try_seconds=round(delay.total_seconds(), 1),
        )
        return RetryRequested(delay, error)
