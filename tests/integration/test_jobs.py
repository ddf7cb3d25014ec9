"""Workers on a real queue."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest

from gatepost.adapters.postgres.consumer import consume
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.application.ports.delivery import Job, JobName
from tests.builders import new_id

Run = Callable[[Job], Awaitable[None]]


async def queue(uow: PostgresUnitOfWork, count: int) -> set[UUID]:
    jobs = [Job(id=new_id(), name=JobName.SEND_MAIL, payload={}) for _ in range(count)]
    async with uow() as tx:
        for job in jobs:
            await tx.jobs.enqueue(job)
        await tx.commit()
    return {job.id for job in jobs}


async def working(url: str, run: Run, *, workers: int, until: asyncio.Event) -> None:
    """Let workers run until something has happened, then stop them in order."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(consume(url, run, stop)) for _ in range(workers)]
    async with asyncio.timeout(60):
        await until.wait()
    stop.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks)


async def test_ob_04_two_workers_do_each_of_a_thousand_jobs_once(
    uow: PostgresUnitOfWork, url: str
) -> None:
    queued = await queue(uow, 1000)
    done: Counter[UUID] = Counter()
    all_done = asyncio.Event()

    async def run(job: Job) -> None:
        done[job.id] += 1
        if done.total() >= len(queued):
            all_done.set()

    await working(url, run, workers=2, until=all_done)
    assert set(done) == queued
    assert set(done.values()) == {1}


@pytest.mark.parametrize("name", [JobName.PURGE, JobName.ROTATE_KEYS])
async def test_of_three_workers_one_does_what_is_due_by_the_clock(name: JobName, url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM pgqueuer_schedules")
    started = asyncio.Event()
    started.set()
    await working(url, _nothing, workers=1, until=started)
    # Long overdue: it is done once all the same, not once for every time that was missed.
    missed = (
        "UPDATE pgqueuer_schedules SET next_run = now() - interval '3 days' WHERE entrypoint = $1"
    )
    assert await connection.execute(missed, name.value) == "UPDATE 1"
    done: Counter[JobName] = Counter()
    begun = asyncio.Event()

    async def run(job: Job) -> None:
        done[job.name] += 1
        # Time for the others to look, too.
        await asyncio.sleep(0.5)
        begun.set()
        raise OSError("the next tick tries again")

    await working(url, run, workers=3, until=begun)
    assert done == {name: 1}
    state = "SELECT status FROM pgqueuer_schedules WHERE entrypoint = $1 AND next_run > now()"
    assert await connection.fetchval(state, name.value) == "queued"
    await connection.close()


async def _nothing(_: Job) -> None:
    pass


async def test_a_job_that_fails_is_tried_again_and_holds_up_nobody(
    uow: PostgresUnitOfWork, url: str
) -> None:
    failing = await queue(uow, 1)
    others = await queue(uow, 20)
    tried: Counter[UUID] = Counter()
    all_tried = asyncio.Event()

    async def run(job: Job) -> None:
        tried[job.id] += 1
        if tried.total() >= 23:
            all_tried.set()
        if job.id in failing and tried[job.id] < 3:
            raise OSError("the mail server said a secret")

    await working(url, run, workers=1, until=all_tried)
    assert tried == Counter(dict.fromkeys(others, 1) | dict.fromkeys(failing, 3))


async def test_a_worker_that_is_told_to_stop_finishes_what_it_does(
    uow: PostgresUnitOfWork,
    url: str,
    queued_jobs: Callable[[], Awaitable[list[Job]]],
) -> None:
    await queue(uow, 1)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def run(job: Job) -> None:
        begun.set()
        await asyncio.sleep(0.3)
        ended.set()

    await working(url, run, workers=1, until=begun)
    assert ended.is_set()
    assert await queued_jobs() == []
