"""What a job queue and its workers must do, whichever engine runs the jobs.

Collecting modules provide the fixtures

- `uow`: a UnitOfWork on empty storage, through which jobs are queued and looked at;
- `work`: an async callable that takes (`run`, `stop`), has every job that was committed run by
  `run(job)`, in this process, and returns soon after the event `stop` is set and what had begun
  has ended. It follows `RETRIES`. An adapter that hands jobs to another engine starts that here.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from ...application.ports.delivery import Job, JobName
from ...application.ports.storage import UnitOfWork
from ...domain.jobs import JobFilter, JobRecord, JobState, RetryPolicy
from ..builders import a_job, an_account, new_id

RETRIES = RetryPolicy(attempts=3, first=timedelta(0))
ANY = JobFilter()
WAITING = JobFilter(state=JobState.WAITING)
DEAD = JobFilter(state=JobState.DEAD)
HOUR = timedelta(hours=1)

Run = Callable[[Job], Awaitable[None]]
Work = Callable[[Run, asyncio.Event], Coroutine[Any, Any, None]]


async def queue(uow: UnitOfWork, *jobs: Job) -> set[UUID]:
    async with uow() as tx:
        for job in jobs:
            await tx.jobs.enqueue(job)
        await tx.commit()
    return {job.id for job in jobs}


def in_lane(lane: UUID) -> Job:
    return replace(a_job(name=JobName.DELIVER_WEBHOOK), lane=lane)


async def listed(uow: UnitOfWork, filter_: JobFilter = ANY, limit: int = 100) -> list[JobRecord]:
    async with uow() as tx:
        return list(await tx.jobs.list_oldest(filter_, limit=limit))


async def revived(uow: UnitOfWork, filter_: JobFilter = ANY, limit: int = 100) -> int:
    async with uow() as tx:
        count = await tx.jobs.revive(filter_, limit=limit)
        await tx.commit()
    return count


async def removed(
    uow: UnitOfWork,
    filter_: JobFilter = ANY,
    *,
    older: timedelta = timedelta(0),
    limit: int = 100,
) -> int:
    async with uow() as tx:
        count = await tx.jobs.remove_dead(filter_, older=older, limit=limit)
        await tx.commit()
    return count


async def becomes(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def working(work: Work, run: Run, until: asyncio.Event) -> None:
    """Let a worker run until something has happened, then stop it in order."""
    stop = asyncio.Event()
    worker = asyncio.create_task(work(run, stop))
    try:
        async with asyncio.timeout(30):
            await until.wait()
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await worker


async def kill(uow: UnitOfWork, work: Work, *jobs: Job) -> Counter[UUID]:
    """Have jobs fail until they are given up; returns how often each was tried."""
    tried: Counter[UUID] = Counter()
    ids, stop = await queue(uow, *jobs), asyncio.Event()

    async def run(job: Job) -> None:
        tried[job.id] += 1
        raise OSError("the mail server said a secret")

    async def all_are_dead() -> bool:
        return {record.id for record in await listed(uow, DEAD)} >= ids

    worker = asyncio.create_task(work(run, stop))
    try:
        await becomes(all_are_dead)
    finally:
        stop.set()
        await worker
    return tried


class JobWorkContract:
    async def test_a_job_is_run_once_as_it_was_queued(self, uow: UnitOfWork, work: Work) -> None:
        owner = an_account().id
        jobs = [
            a_job(payload={"sealed": "00ff", "text": "Zoë"}),
            replace(a_job(name=JobName.REMOVE_EXPORT), account_id=owner),
        ]
        await queue(uow, *jobs)
        done: list[Job] = []
        all_done = asyncio.Event()

        async def run(job: Job) -> None:
            done.append(job)
            if len(done) == len(jobs):
                all_done.set()

        await working(work, run, all_done)
        assert sorted(done, key=lambda job: job.id) == jobs
        assert await listed(uow) == []

    async def test_of_many_workers_one_does_a_job(self, uow: UnitOfWork, work: Work) -> None:
        ids = await queue(uow, *(a_job() for _ in range(60)))
        done: Counter[UUID] = Counter()
        all_done, stop = asyncio.Event(), asyncio.Event()

        async def run(job: Job) -> None:
            done[job.id] += 1
            if done.total() == len(ids):
                all_done.set()

        workers = [asyncio.create_task(work(run, stop)) for _ in range(3)]
        async with asyncio.timeout(30):
            await all_done.wait()
        stop.set()
        await asyncio.gather(*workers)
        assert done == Counter(dict.fromkeys(ids, 1))

    async def test_a_job_that_fails_is_tried_again_and_holds_up_nobody(
        self, uow: UnitOfWork, work: Work
    ) -> None:
        (failing,) = await queue(uow, a_job())
        others = await queue(uow, *(a_job() for _ in range(5)))
        tried: Counter[UUID] = Counter()
        enough = asyncio.Event()

        async def run(job: Job) -> None:
            tried[job.id] += 1
            if tried.total() == len(others) + 2:
                enough.set()
            if job.id == failing and tried[job.id] < 2:
                raise OSError

        await working(work, run, enough)
        assert tried == Counter(dict.fromkeys(others, 1) | {failing: 2})

    async def test_a_job_that_fails_too_often_is_dead_and_tells_the_class_of_the_error_alone(
        self, uow: UnitOfWork, work: Work
    ) -> None:
        job = a_job()
        assert await kill(uow, work, job) == {job.id: RETRIES.attempts}
        (record,) = await listed(uow)
        assert (record.id, record.name, record.state) == (job.id, job.name, JobState.DEAD)
        assert (record.attempts, record.error) == (RETRIES.attempts, "OSError")
        assert "secret" not in repr(record)
        assert record.created_at <= record.changed_at

    async def test_jobs_are_listed_by_state_and_name_oldest_first(
        self, uow: UnitOfWork, work: Work
    ) -> None:
        dead = a_job()
        await kill(uow, work, dead)
        waiting = [a_job(), a_job(name=JobName.REQUEST_RESET)]
        await queue(uow, *waiting)
        mails = JobFilter(name=JobName.SEND_MAIL)
        shown = {
            "any": [record.id for record in await listed(uow)],
            "waiting": [record.id for record in await listed(uow, WAITING)],
            "mails": [record.id for record in await listed(uow, mails)],
            "one": [record.id for record in await listed(uow, limit=1)],
            "running": await listed(uow, JobFilter(state=JobState.RUNNING)),
            "others": await listed(uow, JobFilter(name="of.another.release.v9")),
        }
        assert shown == {
            "any": [dead.id, waiting[0].id, waiting[1].id],
            "waiting": [waiting[0].id, waiting[1].id],
            "mails": [dead.id, waiting[0].id],
            "one": [dead.id],
            "running": [],
            "others": [],
        }
        assert {record.attempts for record in await listed(uow, WAITING)} == {0}

    async def test_a_dead_job_is_revived_by_id_by_name_or_with_all_others(
        self, uow: UnitOfWork, work: Work
    ) -> None:
        mails, reset = [a_job(), a_job()], a_job(name=JobName.REQUEST_RESET)
        await kill(uow, work, *mails, reset)
        assert await revived(uow, JobFilter(ids=(new_id(),))) == 0
        assert await revived(uow, JobFilter(ids=(mails[0].id,))) == 1
        assert {record.id for record in await listed(uow, WAITING)} == {mails[0].id}
        assert await revived(uow, JobFilter(name=JobName.REQUEST_RESET)) == 1
        assert await revived(uow) == 1
        assert await revived(uow) == 0
        assert await listed(uow, DEAD) == []
        assert {record.attempts for record in await listed(uow)} == {0}

    async def test_a_revived_job_is_done_like_a_new_one(self, uow: UnitOfWork, work: Work) -> None:
        job = a_job(payload={"sealed": "beef"})
        await kill(uow, work, job)
        assert await revived(uow) == 1
        done: list[Job] = []
        enough = asyncio.Event()

        async def run(job: Job) -> None:
            done.append(job)
            if len(done) < RETRIES.attempts:
                raise OSError
            enough.set()

        await working(work, run, enough)
        assert done == [job] * RETRIES.attempts
        assert await listed(uow) == []

    async def test_dead_jobs_are_revived_and_removed_in_batches(
        self, uow: UnitOfWork, work: Work
    ) -> None:
        await kill(uow, work, *(a_job() for _ in range(5)))
        assert await revived(uow, limit=2) == 2
        assert await removed(uow, limit=2) == 2
        assert await removed(uow, limit=2) == 1
        assert len(await listed(uow)) == 2

    async def test_dead_jobs_are_removed_by_age_and_name_and_no_others(
        self, uow: UnitOfWork, work: Work
    ) -> None:
        mail, reset = a_job(), a_job(name=JobName.REQUEST_RESET)
        await kill(uow, work, mail, reset)
        waiting = await queue(uow, a_job())
        assert await removed(uow, older=HOUR) == 0
        assert await removed(uow, JobFilter(name=JobName.REQUEST_RESET)) == 1
        assert await removed(uow) == 1
        assert {record.id for record in await listed(uow)} == waiting

    async def test_the_dead_jobs_of_an_account_go_with_it(
        self, uow: UnitOfWork, work: Work
    ) -> None:
        owner = an_account().id
        of_nobody, own = a_job(), replace(a_job(), account_id=owner)
        await kill(uow, work, of_nobody, own)
        async with uow() as tx:
            await tx.jobs.drop_of(owner)
            await tx.commit()
        assert [record.id for record in await listed(uow)] == [of_nobody.id]

    async def test_traces_that_are_young_are_kept(self, uow: UnitOfWork, work: Work) -> None:
        await kill(uow, work, a_job())
        async with uow() as tx:
            assert await tx.jobs.forget_done(older=HOUR, limit=10) == 0

    async def test_the_most_urgent_job_goes_first(self, uow: UnitOfWork, work: Work) -> None:
        names = (JobName.PURGE, JobName.BUILD_EXPORT, JobName.REQUEST_RESET, JobName.SEND_MAIL)
        await queue(uow, *(a_job(name=name) for name in names))
        begun: list[JobName] = []
        all_begun = asyncio.Event()

        async def run(job: Job) -> None:
            begun.append(job.name)
            if len(begun) == len(names):
                all_begun.set()

        await working(work, run, all_begun)
        assert begun == list(reversed(names))

    async def test_fifty_exports_do_not_delay_a_mail(self, uow: UnitOfWork, work: Work) -> None:
        await queue(uow, *(a_job(name=JobName.BUILD_EXPORT) for _ in range(50)))
        exports_begun, mailed = asyncio.Event(), asyncio.Event()
        running = most = done = 0

        async def run(job: Job) -> None:
            nonlocal running, most, done
            if job.name is JobName.SEND_MAIL:
                mailed.set()
                return
            running += 1
            most = max(most, running)
            exports_begun.set()
            await asyncio.sleep(0.03)
            running -= 1
            done += 1

        async def mail() -> None:
            await exports_begun.wait()
            await queue(uow, a_job())

        mailing = asyncio.create_task(mail())
        await working(work, run, mailed)
        await mailing
        assert done < 25
        assert most <= (JobName.BUILD_EXPORT.at_once or 0)

    async def test_no_more_jobs_of_a_lane_run_at_once_than_its_part(
        self, uow: UnitOfWork, work: Work
    ) -> None:
        lane, all_done = new_id(), asyncio.Event()
        waiting = await queue(uow, *(in_lane(lane) for _ in range(20)))
        running = most = 0

        async def run(job: Job) -> None:
            nonlocal running, most
            assert job.lane == lane
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.02)
            running -= 1
            waiting.discard(job.id)
            if not waiting:
                all_done.set()

        await working(work, run, all_done)
        assert most <= (JobName.DELIVER_WEBHOOK.at_once_in_lane or 0)

    async def test_a_stop_lets_the_running_job_end_and_leaves_the_others(
        self, uow: UnitOfWork, work: Work
    ) -> None:
        await queue(uow, a_job())
        begun, ended, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def run(job: Job) -> None:
            begun.set()
            await asyncio.sleep(0.1)
            ended.set()

        worker = asyncio.create_task(work(run, stop))
        await begun.wait()
        assert [record.state for record in await listed(uow)] == [JobState.RUNNING]
        stop.set()
        left = await queue(uow, a_job())
        await worker
        assert ended.is_set()
        assert {record.id for record in await listed(uow, WAITING)} == left
