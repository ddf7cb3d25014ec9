"""What storage must do for jobs that a transaction queues."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from ...application.ports.delivery import Job, JobName
from ...application.ports.storage import UnitOfWork
from ..builders import NOW, a_job, an_account, new_id
from .account_storage import stored

QueuedJobs = Callable[[], Awaitable[list[Job]]]


class JobQueueContract:
    async def test_a_committed_job_is_queued(
        self, uow: UnitOfWork, queued_jobs: QueuedJobs
    ) -> None:
        first = a_job(payload={"sealed": "00ff", "text": "Zoë"})
        second = a_job(name=JobName.PURGE)
        async with uow() as tx:
            await tx.jobs.enqueue(first)
            await tx.jobs.enqueue(second)
            assert await queued_jobs() == []
            await tx.commit()
        assert await queued_jobs() == [first, second]

    async def test_a_job_that_was_not_committed_does_not_exist(
        self, uow: UnitOfWork, queued_jobs: QueuedJobs
    ) -> None:
        async with uow() as tx:
            await tx.jobs.enqueue(a_job())
        assert await queued_jobs() == []

    async def test_a_job_that_is_queued_already_is_dropped_and_the_transaction_goes_on(
        self, uow: UnitOfWork, queued_jobs: QueuedJobs
    ) -> None:
        first, other, account = a_job(), a_job(), an_account()
        async with uow() as tx:
            await tx.jobs.enqueue(first)
            await tx.jobs.enqueue(first)
            await tx.commit()
        async with uow() as tx:
            await tx.jobs.enqueue(a_job(job_id=first.id))
            await tx.jobs.enqueue(other)
            await tx.accounts.add(account, NOW)
            await tx.commit()
        assert await queued_jobs() == [first, other]
        assert await stored(uow, account) == account

    async def test_of_many_that_queue_one_job_at_once_all_succeed(
        self, uow: UnitOfWork, queued_jobs: QueuedJobs
    ) -> None:
        job_id = new_id()

        async def enqueue(job_id: UUID) -> None:
            async with uow() as tx:
                await tx.jobs.enqueue(a_job(job_id=job_id))
                await tx.commit()

        await asyncio.gather(*(enqueue(job_id) for _ in range(8)))
        assert [job.id for job in await queued_jobs()] == [job_id]
