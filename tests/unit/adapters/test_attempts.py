"""One attempt at a job, when its worker is to end."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from pgqueuer.domain import models
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.types import JobId

from gatepost.adapters.postgres.attempts import Attempts
from gatepost.application.ports.delivery import Job, JobName
from gatepost.domain.jobs import RetryPolicy
from gatepost.testing.builders import new_id

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def a_row() -> models.Job:
    return models.Job(
        id=JobId(1),
        priority=0,
        created=NOW,
        updated=NOW,
        heartbeat=NOW,
        execute_after=NOW,
        status="picked",
        entrypoint=JobName.SEND_MAIL,
        payload=b"{}",
        queue_manager_id=None,
        attempts=0,
        headers={"job_id": str(new_id())},
    )


async def test_the_end_may_be_told_again_and_comes_no_later() -> None:
    told = asyncio.Event()

    async def run(job: Job) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            # The worker loses its connection while the job clears up.
            attempts.end_within(timedelta(hours=1))
            told.set()

    attempts = Attempts(run, RetryPolicy())
    making = asyncio.create_task(attempts.make(a_row()))
    await asyncio.sleep(0)
    attempts.end_within(timedelta(0))
    attempts.end_within(timedelta(hours=1))
    async with asyncio.timeout(5):
        with pytest.raises(RetryRequested) as asked:
            await making
    assert (asked.value.reason, told.is_set()) == ("TimeoutError", True)
