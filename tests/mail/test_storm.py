"""Many mails, a mail server that misbehaves, and workers that are killed (`make test-mail`).

MAILS says how many (10,000 by default); a tenth is refused, a hundredth hangs, another is cut off
after its last byte. Each arrives, at most some twice, and nothing is left behind.
"""

import asyncio
import email
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

import asyncpg
import httpx2
import pytest
from dependency_injector import providers

from gatepost.adapters.embedded import start
from gatepost.adapters.postgres.migrate import upgrade
from gatepost.application.mail import Postbox
from gatepost.application.ports.delivery import MailTemplate
from gatepost.entrypoints.container import Container, open_gatepost
from gatepost.entrypoints.settings import Settings, load
from gatepost.testing.builders import an_account
from tests.service import PASSWORD, running
from tests.sink import CUT, HANG, Sink

MAILS = int(os.environ.get("MAILS", "10000"))
WORKERS = 3
KILL_EACH_SECONDS = 5.0
SLOWEST_SECONDS = 300 + MAILS / 10
NOBODY = "nobody"
WAITING = "SELECT status::text, count(*) FROM pgqueuer GROUP BY 1"
ROUNDS, REQUESTS, MOST_RATIO = 6, 150, 1.2


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink().listening() as listening:
        yield listening


def misbehaving(chance: random.Random) -> Callable[[str, str], str | None]:
    """Refuse, hang and cut by chance; addresses of nobody are refused for good."""

    def answer(command: str, argument: str) -> str | None:
        if command == "RCPT" and argument.startswith(NOBODY):
            return "550 5.1.1 no such user"
        drawn = chance.random()
        if command == "RCPT" and drawn < 0.11:
            return HANG if drawn < 0.01 else "451 4.3.0 later"
        return CUT if command == "END" and drawn < 0.01 else None

    return answer


@pytest.fixture
def settings(tmp_path: Path, sink: Sink) -> Iterator[Settings]:
    with start(tmp_path / "postgres", throwaway=True) as server:
        yield load(database_url=server.url, data_dir=tmp_path / "data", mail={"url": sink.url()})


async def queue_mails(settings: Settings) -> Counter[str]:
    """Queue as the use cases do; returns how many for somebody, and how many for nobody."""
    await upgrade(settings.direct_url)
    async with open_gatepost(settings):
        pass
    container = Container(settings=providers.Object(settings))
    postbox, uow, now = (
        Postbox(container.secrets(), container.cipher()),
        container.uow(),
        container.now(),
    )
    queued: Counter[str] = Counter()
    for first in range(0, MAILS, 500):
        async with uow() as tx:
            for number in range(first, min(first + 500, MAILS)):
                name = f"{NOBODY if number % 100 == 7 else 'somebody'}{number}"
                account = an_account(username=name)
                await postbox.notify(tx, account, MailTemplate.PASSWORD_CHANGED, now())
                queued[name.rstrip("0123456789")] += 1
            await tx.commit()
    await container.engine().dispose()
    return queued


def start_worker(settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    assert settings.mail.url is not None
    environment = {name: v for name, v in os.environ.items() if not name.startswith("GATEPOST_")}
    environment |= {
        "DATABASE_URL": settings.direct_url,
        "GATEPOST_DATA_DIR": str(settings.data_dir),
        "GATEPOST_MAIL__URL": settings.mail.url.get_secret_value(),
        "GATEPOST_LOG__FORMAT": "json",
    }
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "gatepost", "worker"], env=environment, stderr=file
        )


@contextmanager
def workers(settings: Settings, log: Path) -> Iterator[Callable[[], None]]:
    """Run three; what is yielded kills one and starts another."""
    running = [start_worker(settings, log) for _ in range(WORKERS)]
    turns = cycle(range(WORKERS))

    def kill_one() -> None:
        turn = next(turns)
        running[turn].kill()
        running[turn].wait()
        running[turn] = start_worker(settings, log)

    try:
        yield kill_one
    finally:
        for process in running:
            process.kill()
            process.wait()


async def wait_until_done(settings: Settings, kill_one: Callable[[], None]) -> Counter[str]:
    """Kill a worker now and then until nothing waits; returns what is left, by status."""
    connection = await asyncpg.connect(settings.direct_url)
    began = killed = time.monotonic()
    try:
        while True:
            await asyncio.sleep(0.5)
            left = Counter({status: n for status, n in await connection.fetch(WAITING)})
            if not left["queued"] + left["picked"] or time.monotonic() - began > SLOWEST_SECONDS:
                return left
            if time.monotonic() - killed > KILL_EACH_SECONDS:
                killed = time.monotonic()
                await asyncio.to_thread(kill_one)
    finally:
        await connection.close()


async def test_every_mail_arrives_though_servers_misbehave_and_workers_are_killed(
    settings: Settings, sink: Sink, tmp_path: Path
) -> None:
    queued = await queue_mails(settings)
    sink.answer = misbehaving(random.Random(1))  # noqa: S311
    began, log = time.monotonic(), tmp_path / "workers.log"
    with workers(settings, log) as kill_one:
        left = await wait_until_done(settings, kill_one)
    took = time.monotonic() - began
    ids = Counter(str(email.message_from_bytes(each.data)["Message-ID"]) for each in sink.received)
    expected = queued["somebody"]
    print(  # noqa: T201
        f"\n{expected} mails: {len(ids)} arrived in {took:.0f} s, {ids.total() - len(ids)} of them"
        f" again, {expected - len(ids)} missing; left in the queue: {dict(left)};"
        f" {log.read_text().count('mail refused for good')} refusals for good of {queued[NOBODY]}"
    )
    assert len(ids) == expected
    assert left.total() == 0
    assert not any(each.recipient.startswith(NOBODY) for each in sink.received)


async def timed(call: Callable[[], Awaitable[httpx2.Response]], times: list[float]) -> None:
    started = time.perf_counter()
    answer = await call()
    times.append(time.perf_counter() - started)
    assert answer.status_code == 202


def p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


async def test_ob_01_the_api_is_as_quick_when_the_mail_server_hangs(
    sink: Sink, tmp_path: Path
) -> None:
    """Registers by turns while the server is well and while it hangs, and compares."""
    times: dict[bool, list[float]] = {False: [], True: []}
    with running(tmp_path / "service", GATEPOST_MAIL__URL=sink.url()) as service:
        async with httpx2.AsyncClient(base_url=service.url, timeout=30) as client:
            for turn in range(2 * ROUNDS):
                # Well, hanging, hanging, well: what changes with time touches both.
                hangs = turn % 4 in (1, 2)
                sink.answer = (lambda *_: HANG) if hangs else (lambda *_: None)
                warm: list[float] = []
                for number in range(REQUESTS):
                    name = f"user{turn}x{number}"
                    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
                    into = times[hangs] if number >= 10 else warm
                    await timed(partial(client.post, "/v1/register", json=body), into)
        ratio = p99(times[True]) / p99(times[False])
    print(  # noqa: T201
        f"\np99 of registering: {p99(times[False]) * 1000:.1f} ms with the mail server well,"
        f" {p99(times[True]) * 1000:.1f} ms while it hangs; ratio {ratio:.2f}"
    )
    assert ratio < MOST_RATIO
