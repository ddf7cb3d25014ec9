"""Processes end, in order and otherwise, while people work."""

import asyncio
import os
import random
import resource
import secrets
import signal
import time
from contextlib import suppress

import pytest

from tests.faults.conftest import Missing, Start, Table
from tests.faults.database import Database
from tests.faults.load import BROKEN, Crowd, Person, Tally, Wire, until
from tests.faults.processes import counts_of, delivered, letters, on_linux, pids_of, worked_off
from tests.faults.proxy import Balancer
from tests.service import Service
from tests.sink import CUT, Sink

REPLACED_WITHIN = 5.0
HANDLES = 64
CLIENTS = 200


async def test_re_09_a_rolling_restart_of_two_replicas_loses_no_request(
    serving: Start, database: Database, missing: Missing, table: Table
) -> None:
    settings = {
        "DATABASE_URL": database.direct_url,
        "GATEPOST_HTTP__SHUTDOWN_DELAY": "2s",
        # Whose tokens they are, whichever signs them.
        "GATEPOST_PUBLIC_URL": "http://127.0.0.1",
    }
    async with serving("one", **settings) as one, serving("two", **settings) as two:
        balancer = Balancer([one.port, two.port])
        await balancer.open()
        await balancer.has(one.port, two.port)
        crowd, slowest_end = Crowd(balancer.port, "rolling", size=8), 0.0
        try:
            async with crowd.working() as tally:
                await asyncio.sleep(1)
                for replica in (one, two):
                    began = time.monotonic()
                    assert await asyncio.to_thread(replica.stop) == 0
                    slowest_end = max(slowest_end, time.monotonic() - began)
                    await asyncio.to_thread(replica.start)
                    await balancer.has(one.port, two.port)
                    await asyncio.sleep(0.5)
            await worked_off(database)
            lost = await missing(crowd.promised) + await crowd.sessions_lost()
            mailed = letters(one, two)
            lost += sum(f"{name}@example.com" not in mailed for name in crowd.promised)
        finally:
            await balancer.close()
        also = f"slowest end {slowest_end:.1f} s"
        table.add("rolling restart of two", tally, lost=lost, also=also)
        assert not tally.wrong
        assert tally.refused == 0
        assert lost == 0
        assert slowest_end < 30


async def test_re_09_a_worker_that_is_told_to_end_leaves_no_job_half_done(
    serving: Start, database: Database, table: Table
) -> None:
    async with serving(DATABASE_URL=database.direct_url) as service:
        await worked_off(database)
        crowd = Crowd(service.port, "leaving", size=8)
        async with crowd.working(pause=0) as tally:
            await asyncio.sleep(2)
        began = time.monotonic()
        assert await asyncio.to_thread(service.stop) == 0
        seconds = time.monotonic() - began
        left, picked = await database.count_jobs("queued"), await database.count_jobs("picked")
        also = f"ended in {seconds:.1f} s, {left} jobs left queued"
        table.add("TERM with jobs queued", tally, lost=picked, also=also)
        assert picked == 0
        assert seconds < 30
        assert service.members() == []


@on_linux
async def test_a_process_that_dies_under_load_is_replaced(
    serving: Start, database: Database, missing: Missing, table: Table
) -> None:
    """What was on its connections is cut off with it; nobody else notices."""
    settings = {"DATABASE_URL": database.direct_url, "GATEPOST_HTTP__WORKERS": "2"}
    async with serving(**settings) as service:
        servers, workers = pids_of(service, "serve"), pids_of(service, "worker")
        assert counts_of(service) == (2, 1)
        crowd = Crowd(service.port, "replaced", size=8)
        async with crowd.working() as tally:
            await asyncio.sleep(1)
            for pid in (servers[0], workers[0]):
                os.kill(pid, signal.SIGKILL)
            began = time.monotonic()

            async def are_all_there() -> bool:
                return counts_of(service) == (2, 1)

            await until(are_all_there, REPLACED_WITHIN)
            replaced = time.monotonic() - began
            await asyncio.sleep(2)
        await worked_off(database)
        lost = await missing(crowd.promised) + await crowd.sessions_lost()
        mailed = letters(service)
        lost += sum(f"{name}@example.com" not in mailed for name in crowd.promised)
        cut_off = {"ConnectionResetError", "IncompleteReadError", "BrokenPipeError"}
        severed = sum(n for said, n in tally.wrong.items() if said.split(": ")[1] in cut_off)
        also = f"replaced after {replaced:.1f} s, {severed} cut off with it"
        table.add("kill -9 of a server and the worker", tally, lost=lost, also=also)
        assert tally.wrong.total() == severed <= len(crowd.people)
        assert tally.refused == 0
        assert lost == 0
        assert set(servers[:1] + workers).isdisjoint(service.members())
        assert await asyncio.to_thread(service.stop) == 0
        assert service.members() == []


@on_linux
@pytest.mark.timeout(1800)
async def test_re_01_a_hundred_kills_lose_no_account_and_no_mail(
    serving: Start, database: Database, missing: Missing, table: Table, pytestconfig: pytest.Config
) -> None:
    cycles: int = pytestconfig.getoption("--kill-cycles")
    seed = secrets.randbelow(1_000_000)
    moments = random.Random(seed)  # noqa: S311
    tally, promised = Tally(), list[str]()
    # Every tenth message is taken, and nobody is told: it comes again, as the same one.
    sink = Sink(answer=lambda command, _: CUT if _is_tenth(sink, command) else None)
    async with (
        sink.listening(),
        serving(DATABASE_URL=database.direct_url, GATEPOST_MAIL__URL=sink.url()) as service,
    ):
        for cycle in range(cycles):
            if cycle:
                await asyncio.to_thread(service.start)
            stop = asyncio.Event()
            work = [
                asyncio.create_task(_register(service, f"kill{cycle}-{number}", tally, stop))
                for number in range(4)
            ]
            await asyncio.sleep(moments.uniform(0.1, 0.7))
            await asyncio.to_thread(_kill_all, service)
            stop.set()
            for names in await asyncio.gather(*work):
                promised += names
        await asyncio.to_thread(service.start)
        await worked_off(database)
        lost = await missing(promised)
        mailed = delivered(sink)
        sql = "SELECT username FROM accounts WHERE username LIKE 'kill%'"
        there = [row["username"] for row in await database.rows(sql)]
        mails_lost = sum(f"{name}@example.com" not in mailed for name in {*promised, *there})
        twins = sum(len(set(ids)) > 1 for ids in mailed.values())
        copies = sum(len(ids) - 1 for ids in mailed.values())
        also = (
            f"{len(promised):,} accounts confirmed, {len(there):,} made,"
            f" {copies} mails twice, seed {seed}"
        )
        name = f"kill -9 of everything x {cycles}"
        table.add(name, tally, lost=lost + mails_lost, also=also)
        assert not tally.wrong
        assert lost == 0
        assert mails_lost == 0
        assert twins == 0, "one mail under two ids"
        assert copies > 0, "nothing was sent twice: the ids prove nothing"


def _is_tenth(sink: Sink, command: str) -> bool:
    return command == "END" and sink.commands["END"] % 10 == 0


async def _register(service: Service, name: str, tally: Tally, stop: asyncio.Event) -> list[str]:
    """Register until the service is gone; return the names that were confirmed."""
    promised, wire, number = [], Wire(service.port), 0
    while not stop.is_set():
        number += 1
        body = Person.form(f"{name}-{number}")
        started = time.perf_counter()
        try:
            answer = await wire.ask("POST", "/v1/register", body)
        except BROKEN:
            break
        tally.note("register", started, answer, 201)
        if answer.status == 201:
            promised.append(body["username"])
        # No more than the worker can mail in the time that it has at the end.
        await asyncio.sleep(0.03)
    wire.close()
    return promised


def _kill_all(service: Service) -> None:
    """Servers and worker at once, then who would start them again."""
    for pid in pids_of(service, "serve") + pids_of(service, "worker"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    service.stop(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while service.members():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@on_linux
async def test_re_22_a_server_short_of_file_handles_recovers(
    serving: Start, database: Database, missing: Missing, table: Table
) -> None:
    async with serving(DATABASE_URL=database.direct_url) as service:
        (server,) = pids_of(service, "serve")
        crowd = Crowd(service.port, "handles", size=4)
        async with crowd.working():
            await asyncio.sleep(1)
            resource.prlimit(server, resource.RLIMIT_NOFILE, (HANDLES, HANDLES))
            others = []
            with suppress(OSError, TimeoutError):
                for _ in range(CLIENTS):
                    opened = asyncio.open_connection("127.0.0.1", service.port)
                    others.append(await asyncio.wait_for(opened, 2))
            await asyncio.sleep(3)
            for _, writer in others:
                writer.transport.abort()
            returned = time.monotonic()
            await asyncio.sleep(4)
        tally, recovery = crowd.tally, crowd.tally.recovery(returned)
        lost = await missing(crowd.promised) + await crowd.sessions_lost()
        also = f"{len(others)} idle clients"
        name = f"{HANDLES} file handles"
        table.add(name, tally, lost=lost, recovery=recovery, also=also)
        assert not tally.wrong
        assert lost == 0
        assert recovery <= REPLACED_WITHIN
        assert pids_of(service, "serve") == [server]
