"""Workers on a real queue."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from uuid import UUID, uuid4

import asyncpg
import pytest
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.queries import Queries

from gatepost.adapters.postgres.consumer import Pace, consume
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.application.ports.delivery import Job, JobName
from gatepost.domain.errors import Unavailable
from gatepost.domain.jobs import JobFilter, JobState
from gatepost.testing.builders import a_job, new_id
from gatepost.testing.contracts.jobs import (
    RETRIES,
    Work,
    becomes,
    in_lane,
    kill,
    listed,
    queue,
    removed,
    revived,
    working,
)
from gatepost.testing.contracts.jobs import JobWorkContract as TestJobWork
from tests.children import IMPORTING, becomes_true

__all__ = ["TestJobWork"]

FAST = Pace(heartbeat=timedelta(seconds=1), poll=timedelta(seconds=0.1))
# So that none is due by chance while the tests run.
YEARLY = {JobName.PURGE: "0 0 1 1 *"}

# A tick that is due.
TICK = """
INSERT INTO pgqueuer_schedules (expression, entrypoint, next_run)
VALUES ('0 0 1 1 *', $1, now() - interval '1 second')
"""
# A worker as its own process. It writes a line when it begins a job and when it ends one; a job
# says in its payload what it does.
WORKER = """
import asyncio, os, signal, sys
from datetime import timedelta
from pathlib import Path
from gatepost.adapters.postgres.consumer import Pace, consume
from gatepost.application.ports.delivery import JobName
from gatepost.domain.jobs import RetryPolicy

notes = Path(sys.argv[2])

def note(*words):
    with notes.open("a") as file:
        print(os.getpid(), *words, file=file, flush=True)

async def run(job):
    note("begins", job.id)
    match job.payload.get("does"):
        case "kills":
            # As what eats the memory does: others get something done before.
            await asyncio.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleeps":
            await asyncio.sleep(float(job.payload["seconds"]))
    note("ends", job.id)

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    note("starts")
    await consume(
        sys.argv[1], run, stop,
        retries=RetryPolicy(first=timedelta(milliseconds=200), crashes=3),
        pace=Pace(heartbeat=timedelta(seconds=1), poll=timedelta(seconds=0.1),
                  grace=timedelta(seconds=float(sys.argv[3]))),
        schedules={JobName.PURGE: "0 0 1 1 *"},
    )

asyncio.run(main())
"""


@pytest.fixture
def work(url: str) -> Work:
    return partial(consume, url, retries=RETRIES, pace=FAST, schedules=YEARLY)


@pytest.fixture
async def sql(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM pgqueuer_schedules")
    yield connection
    await connection.close()


async def test_a_job_is_queued_as_pgqueuer_queues_it(
    sql: asyncpg.Connection, uow: PostgresUnitOfWork
) -> None:
    job = a_job()
    payload = json.dumps(dict(job.payload)).encode()
    async with uow() as tx:
        await tx.jobs.enqueue(job)
        await tx.jobs.enqueue(job)
        await tx.commit()
    ours = await queued_rows(sql)
    await sql.execute("DELETE FROM pgqueuer")
    for _ in range(2):
        await Queries(AsyncpgDriver(sql)).enqueue(
            job.name.value,
            payload,
            priority=job.name.priority,
            dedupe_key=str(job.id),
            headers={"job_id": str(job.id)},
            on_conflict="skip",
        )
    assert ours == await queued_rows(sql)


async def queued_rows(sql: asyncpg.Connection) -> list[dict[str, object]]:
    """Read all that was queued, and what was logged of it, but for numbers and times."""
    rows = await sql.fetch(
        """
        SELECT to_jsonb(q) - '{id,created,updated,heartbeat,execute_after}'::text[] AS queued,
               execute_after = created AS is_due,
               (SELECT json_agg(to_jsonb(l) - '{id,job_id,created}'::text[])
                  FROM pgqueuer_log l WHERE job_id = q.id)::text AS logged
          FROM pgqueuer q
        """
    )
    return [dict(row) for row in rows]


class Workers:
    """Processes that work jobs, and what they wrote down."""

    def __init__(self, folder: Path, url: str) -> None:
        self.notes = folder / "notes"
        self.notes.touch()
        self._log = folder / "log"
        self._url = url
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *, grace: float = 20) -> subprocess.Popen[bytes]:
        with self._log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", WORKER, self._url, str(self.notes), str(grace)],
                env=IMPORTING,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def noted(self, what: str, job_id: UUID | None = None) -> list[int]:
        """List the processes that noted something, of one job or of any."""
        lines = [line.split() for line in self.notes.read_text().splitlines()]
        return [
            int(pid)
            for pid, noted, *ids in lines
            if noted == what and (job_id is None or ids == [str(job_id)])
        ]

    def log(self) -> str:
        return self._log.read_text()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@contextmanager
def _workers(folder: Path, url: str) -> Iterator[Workers]:
    workers = Workers(folder, url)
    try:
        yield workers
    finally:
        workers.end()


@pytest.fixture
def workers(tmp_path: Path, url: str) -> Iterator[Workers]:
    with _workers(tmp_path, url) as made:
        yield made


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    assert await asyncio.to_thread(becomes_true, lambda: bool(condition()), seconds)


async def test_ob_04_two_workers_do_each_of_a_thousand_jobs_once(
    uow: PostgresUnitOfWork, url: str
) -> None:
    ids = await queue(uow, *(a_job() for _ in range(1000)))
    done: Counter[UUID] = Counter()
    all_done, stop = asyncio.Event(), asyncio.Event()

    async def run(job: Job) -> None:
        done[job.id] += 1
        if done.total() >= len(ids):
            all_done.set()

    tasks = [asyncio.create_task(consume(url, run, stop)) for _ in range(2)]
    async with asyncio.timeout(60):
        await all_done.wait()
    stop.set()
    await asyncio.gather(*tasks)
    assert done == Counter(dict.fromkeys(ids, 1))


async def test_a_job_whose_worker_is_killed_is_done_by_another_and_has_an_attempt_more(
    uow: PostgresUnitOfWork, workers: Workers
) -> None:
    (job_id,) = await queue(uow, a_job(payload={"does": "sleeps", "seconds": "2"}))
    first = workers.start()
    await until(lambda: workers.noted("begins", job_id))
    workers.start()
    first.kill()
    await until(lambda: len(workers.noted("begins", job_id)) == 2)
    (record,) = await listed(uow)
    assert (record.state, record.attempts) == (JobState.RUNNING, 1)
    assert record.error == "WorkerLost"
    await until(lambda: workers.noted("ends", job_id))
    assert workers.noted("begins", job_id)[0] == first.pid
    assert first.pid not in workers.noted("ends")


async def test_a_job_that_kills_each_worker_dies_itself_and_holds_up_nobody(
    uow: PostgresUnitOfWork, workers: Workers
) -> None:
    poison = a_job(payload={"does": "kills"})
    others = [a_job() for _ in range(20)]
    await queue(uow, *others[:10], poison, *others[10:])

    async def is_dead() -> bool:
        """Start a new worker for each that died, as a supervisor does."""
        alive = [process for process in workers.processes if process.poll() is None]
        if not alive:
            workers.start()
        dead = await listed(uow, JobFilter(state=JobState.DEAD))
        return [record.id for record in dead] == [poison.id]

    await becomes(is_dead, 30)
    assert len(workers.noted("begins", poison.id)) == 3
    workers.start()
    await until(lambda: all(workers.noted("ends", job.id) for job in others))
    (record,) = await listed(uow)
    assert (record.id, record.attempts, record.error) == (poison.id, 3, "WorkerLost")


async def test_of_three_workers_one_takes_a_tick(
    sql: asyncpg.Connection, workers: Workers
) -> None:
    await sql.execute(TICK, JobName.PURGE)
    for _ in range(3):
        workers.start()
    await until(lambda: len(workers.noted("starts")) == 3)
    await until(lambda: workers.noted("ends"))
    # Every worker has looked at the schedule by then.
    await asyncio.sleep(1)
    assert len(workers.noted("begins")) == len(workers.noted("ends")) == 1
    due = await sql.fetchval("SELECT next_run > now() FROM pgqueuer_schedules")
    assert due is True


async def test_a_tick_queues_nothing_while_its_last_job_is_not_done(
    uow: PostgresUnitOfWork, work: Work, sql: asyncpg.Connection
) -> None:
    # Somebody holds the place of the one job of that name that may run at once.
    await sql.execute(
        "INSERT INTO pgqueuer (priority, status, entrypoint, slot, queue_manager_id, heartbeat)"
        " VALUES (0, 'picked', $1, 0, gen_random_uuid(), now() + interval '1 hour')",
        JobName.PURGE,
    )

    async def run(job: Job) -> None:
        raise AssertionError

    async def has_ticked() -> bool:
        ticked = "SELECT last_run IS NOT NULL FROM pgqueuer_schedules WHERE entrypoint = $1"
        return bool(await sql.fetchval(ticked, JobName.PURGE))

    for _ in range(2):
        await sql.execute("DELETE FROM pgqueuer_schedules")
        await sql.execute(TICK, JobName.PURGE)
        stop = asyncio.Event()
        worker = asyncio.create_task(work(run, stop))
        await becomes(has_ticked)
        stop.set()
        await worker
    assert len(await listed(uow)) == 1


async def test_a_worker_that_is_told_to_stop_ends_its_job_and_exits_with_0(
    uow: PostgresUnitOfWork, workers: Workers
) -> None:
    (job_id,) = await queue(uow, a_job(payload={"does": "sleeps", "seconds": "1"}))
    worker = workers.start()
    await until(lambda: workers.noted("begins", job_id))
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 10) == 0
    assert workers.noted("ends", job_id) == [worker.pid]
    assert await listed(uow) == []


async def test_a_stop_waits_no_longer_than_its_grace_and_puts_the_job_back(
    uow: PostgresUnitOfWork, workers: Workers
) -> None:
    (job_id,) = await queue(uow, a_job(payload={"does": "sleeps", "seconds": "60"}))
    worker = workers.start(grace=0.3)
    await until(lambda: workers.noted("begins", job_id))
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 10) == 0
    (record,) = await listed(uow)
    assert (record.id, record.state, record.attempts) == (job_id, JobState.WAITING, 1)
    assert record.error == "TimeoutError"


async def test_a_job_of_a_newer_release_stays_for_its_workers(
    uow: PostgresUnitOfWork, work: Work, sql: asyncpg.Connection
) -> None:
    newer = "mail.send.v2"
    await sql.execute(
        "INSERT INTO pgqueuer (priority, status, entrypoint, payload, headers)"
        " VALUES (20, 'queued', $1, $2, $3)",
        newer,
        b"{}",
        json.dumps({"job_id": str(uuid4())}),
    )
    await queue(uow, a_job())
    done = asyncio.Event()

    async def run(job: Job) -> None:
        done.set()

    await working(work, run, done)
    (record,) = await listed(uow)
    assert (record.name, record.state, record.attempts) == (newer, JobState.WAITING, 0)


async def test_a_row_that_cannot_be_read_is_given_up_and_holds_up_nobody(
    uow: PostgresUnitOfWork, work: Work, sql: asyncpg.Connection
) -> None:
    await sql.execute(
        "INSERT INTO pgqueuer (priority, status, entrypoint, payload, headers)"
        " VALUES (20, 'queued', $1, $2, $3)",
        JobName.SEND_MAIL,
        b"not json",
        json.dumps({"job_id": str(uuid4())}),
    )
    await queue(uow, a_job())
    done, stop = asyncio.Event(), asyncio.Event()

    async def run(job: Job) -> None:
        done.set()

    async def is_dead() -> bool:
        return [record.state for record in await listed(uow)] == [JobState.DEAD]

    worker = asyncio.create_task(work(run, stop))
    await becomes(is_dead)
    stop.set()
    await worker
    assert done.is_set()
    assert {record.error for record in await listed(uow)} == {"JSONDecodeError"}


async def test_all_that_is_slow_at_once_leaves_hands_for_a_mail(
    uow: PostgresUnitOfWork, work: Work
) -> None:
    slow = [name for name in JobName if name.at_once for _ in range(name.at_once)]
    await queue(uow, *(a_job(name=name) for name in slow))
    mailed = asyncio.Event()
    begun: list[JobName] = []

    async def run(job: Job) -> None:
        if job.name is JobName.SEND_MAIL:
            mailed.set()
            return
        begun.append(job.name)
        if len(begun) == len(slow):
            await queue(uow, a_job())
        await mailed.wait()

    await working(work, run, mailed)
    assert sorted(begun) == sorted(slow)


async def test_a_lane_that_hangs_leaves_the_waits_of_the_others_as_they_are(
    uow: PostgresUnitOfWork, work: Work
) -> None:
    hanging, lane, stop, hangs = new_id(), new_id(), asyncio.Event(), asyncio.Event()
    begun: dict[UUID, float] = {}
    held: set[UUID] = set()
    loop = asyncio.get_running_loop()

    async def run(job: Job) -> None:
        begun[job.id] = loop.time()
        if job.lane == hanging:
            held.add(job.id)
            await hangs.wait()

    async def waits() -> float:
        """How long a job waits, at the median."""
        seconds = []
        for _ in range(25):
            queued, job = loop.time(), in_lane(lane)
            await queue(uow, job)
            async with asyncio.timeout(20):
                while job.id not in begun:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            seconds.append(begun[job.id] - queued)
        return median(seconds)

    async def nothing_is_left() -> bool:
        return not await listed(uow)

    worker = asyncio.create_task(work(run, stop))
    alone = await waits()
    ids = await queue(uow, *(in_lane(hanging) for _ in range(200)))
    beside = await waits()
    assert len(held) == JobName.DELIVER_WEBHOOK.at_once_in_lane
    assert {record.attempts for record in await listed(uow)} == {0}
    hangs.set()
    await becomes(nothing_is_left, 30)
    stop.set()
    await worker
    assert held == ids
    assert beside < 3 * alone, f"{beside:.4f} s beside it, {alone:.4f} s alone"


async def test_a_worker_that_loses_its_connection_does_not_wait_for_what_hangs(
    uow: PostgresUnitOfWork, url: str, sql: asyncpg.Connection
) -> None:
    await queue(uow, a_job())
    begun, ended = asyncio.Event(), asyncio.Event()

    async def run(job: Job) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    pace = Pace(grace=timedelta(seconds=0.1), poll=timedelta(seconds=0.1))
    worker = asyncio.create_task(consume(url, run, asyncio.Event(), pace=pace, schedules=YEARLY))
    await begun.wait()
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(20):
        with pytest.raises(Unavailable):
            await worker
    assert ended.is_set()


async def test_of_two_dead_jobs_with_one_id_one_is_revived(
    uow: PostgresUnitOfWork, work: Work, sql: asyncpg.Connection
) -> None:
    """What queues a job may run twice: the second time after the first job was given up."""
    await kill(uow, work, a_job())
    await sql.execute(
        "INSERT INTO pgqueuer (priority, status, entrypoint, payload, headers, dedupe_key)"
        " SELECT priority, status, entrypoint, payload, headers, dedupe_key FROM pgqueuer"
    )
    assert await revived(uow) == 1
    states = [record.state for record in await listed(uow)]
    assert sorted(states) == [JobState.DEAD, JobState.WAITING]
    assert await revived(uow) == 0


async def test_old_traces_of_jobs_go_in_batches(
    uow: PostgresUnitOfWork, work: Work, sql: asyncpg.Connection
) -> None:
    await kill(uow, work, a_job())
    await sql.execute("UPDATE pgqueuer_log SET created = now() - interval '8 days'")
    kept = await sql.fetchval("SELECT count(*) FROM pgqueuer_log")
    counts = []
    for _ in range(3):
        async with uow() as tx:
            counts.append(await tx.jobs.forget_done(older=timedelta(days=7), limit=kept - 1))
            await tx.commit()
    assert counts[:2] == [kept - 1, 1]
    assert await sql.fetchval("SELECT count(*) FROM pgqueuer_log") == 0
    assert await removed(uow) == 1


async def test_no_text_of_an_error_is_stored_with_a_job(
    uow: PostgresUnitOfWork, work: Work, sql: asyncpg.Connection
) -> None:
    await kill(uow, work, a_job())
    stored = await sql.fetch("SELECT traceback::text FROM pgqueuer_log")
    assert "OSError" in repr(stored)
    assert "secret" not in repr(stored)
