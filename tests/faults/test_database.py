"""The database goes away under load, in every way that one can, and comes back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

import asyncpg
import pytest

from tests.faults.conftest import Missing, Start, Table
from tests.faults.database import MOST_CONNECTIONS, Database
from tests.faults.load import Crowd, Tally, Wire, until
from tests.service import Service

RECOVERED_WITHIN = 2.0
# Waiting for a free connection, then for a new one, or for a statement; and some for the machine.
ANSWERED_WITHIN = 5.5

numbers = count(1)
Fault = Callable[[], Awaitable[None]]


class Watch:
    """Asks like an orchestrator does: live must stay, ready must tell."""

    def __init__(self, port: int) -> None:
        self._wires = {"/livez": Wire(port), "/readyz": Wire(port)}
        self.live: set[int] = set()
        self.ready: set[int] = set()

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looking.cancel()
            for wire in self._wires.values():
                wire.close()

    async def _look(self) -> None:
        while True:
            for path, seen in (("/livez", self.live), ("/readyz", self.ready)):
                seen.add((await self._wires[path].ask("GET", path)).status)
            await asyncio.sleep(0.1)


async def nothing_is_in_doubt(database: Database) -> None:
    """No connection stays in a transaction that nobody will end, and none is left over."""

    async def is_clear() -> bool:
        states = [state for _, state in await database.connections()]
        return not any(state.startswith("idle in transaction") for state in states)

    await until(is_clear, 4)
    assert len(await database.connections()) <= MOST_CONNECTIONS


class Suffer:
    """Lets a crowd work through a fault, and checks what holds in every one."""

    def __init__(self, database: Database, missing: Missing, table: Table) -> None:
        self._database, self._missing, self._table = database, missing, table

    async def __call__(
        self, service: Service, name: str, fault: Fault, *, told: bool = True
    ) -> Tally:
        """`told`: it lasts long enough for `/readyz` to say so."""
        crowd, watch = Crowd(service.port, f"f{next(numbers)}"), Watch(service.port)
        async with watch.looking(), crowd.working() as tally:
            await asyncio.sleep(1)
            await fault()
            returned = time.monotonic()
            await asyncio.sleep(RECOVERED_WITHIN + 1.5)
        recovery = tally.recovery(returned)
        lost = await self._missing(crowd.promised) + await crowd.sessions_lost()
        self._table.add(name, tally, lost=lost, recovery=recovery)
        assert not tally.wrong
        assert lost == 0
        assert watch.live == {200}
        assert not told or 503 in watch.ready
        assert recovery <= RECOVERED_WITHIN
        assert tally.slowest <= ANSWERED_WITHIN
        await nothing_is_in_doubt(self._database)
        assert '"event": "unhandled"' not in service.log()
        return tally


@pytest.fixture
def suffer(database: Database, missing: Missing, table: Table) -> Suffer:
    return Suffer(database, missing, table)


async def test_re_03_a_restart(serving: Start, database: Database, suffer: Suffer) -> None:
    async def restart() -> None:
        await database.stop()
        await database.start()

    async with serving() as service:
        await suffer(service, "restart", restart, told=False)


async def test_re_03_ten_seconds_without_a_database(
    serving: Start, database: Database, suffer: Suffer
) -> None:
    async def stopped() -> None:
        await database.stop()
        await asyncio.sleep(10)
        await database.start()

    async with serving() as service:
        tally = await suffer(service, "stopped 10 s", stopped)
        assert tally.refused > 0


async def test_re_03_a_kill_of_the_server(
    serving: Start, database: Database, suffer: Suffer
) -> None:
    async def killed() -> None:
        await database.kill()
        await database.start()

    async with serving() as service:
        await suffer(service, "kill -9", killed, told=False)


async def test_re_03_a_kill_of_one_backend(
    serving: Start, database: Database, suffer: Suffer
) -> None:
    async def killed() -> None:
        bystander = await database.admin()

        async def is_cut() -> bool:
            return bool(bystander.is_closed())

        (pid, _), *_ = await database.connections()
        database.kill_backend(pid)
        # Until it has noticed, the server answers as before, and only then goes away.
        await until(is_cut, 20)
        await until(database.answers, 20)

    async with serving() as service:
        await suffer(service, "kill -9 of a backend", killed, told=False)


async def test_re_03_a_freeze(serving: Start, database: Database, suffer: Suffer) -> None:
    async def frozen() -> None:
        database.freeze()
        try:
            await asyncio.sleep(8)
        finally:
            database.thaw()

    async with serving() as service:
        tally = await suffer(service, "frozen 8 s", frozen)
        assert tally.refused > 0


async def test_re_03_a_network_that_swallows_everything(
    serving: Start, database: Database, suffer: Suffer
) -> None:
    async def silent() -> None:
        database.proxy.freeze()
        await asyncio.sleep(8)
        # Then the way there is a new one: nothing of the old arrives.
        database.proxy.cut()
        database.proxy.thaw()

    async with serving() as service:
        await suffer(service, "network silent 8 s", silent)


async def test_re_03_a_network_that_refuses(
    serving: Start, database: Database, suffer: Suffer
) -> None:
    async def refused() -> None:
        await database.proxy.refuse()
        await asyncio.sleep(5)
        await database.proxy.accept()

    async with serving() as service:
        await suffer(service, "network refuses 5 s", refused)


async def test_re_03_every_connection_is_cut_again_and_again(
    serving: Start, database: Database, suffer: Suffer
) -> None:
    async def cut() -> None:
        for _ in range(20):
            database.proxy.cut()
            await asyncio.sleep(0.2)

    async with serving() as service:
        await suffer(service, "all connections cut x 20", cut, told=False)


@pytest.mark.parametrize("passed_on", [False, True], ids=["before", "after"])
async def test_re_03_a_cut_in_the_middle_of_a_transaction(
    serving: Start, database: Database, suffer: Suffer, passed_on: bool
) -> None:
    """Cut at COMMIT: before it arrives nothing happened, after it nobody was told."""

    async def cut() -> None:
        for _ in range(20):
            database.proxy.cut_at(b"COMMIT", passed_on=passed_on)
            await asyncio.wait_for(database.proxy.struck.wait(), 5)

    where = "after" if passed_on else "before"
    async with serving() as service:
        tally = await suffer(service, f"cut {where} COMMIT x 20", cut, told=False)
        assert tally.refused > 0


async def test_re_03_a_registration_in_doubt_is_told_when_it_is_sent_again(
    serving: Start, database: Database
) -> None:
    """Who got 503 for what was done sends it again with its key, and has one account."""
    async with serving() as service:
        first = None
        # The worker commits as well: who is cut off is for the proxy to meet.
        while first is None or first.status == 201:
            wire, name = Wire(service.port), f"doubt{next(numbers)}"
            body = {
                "username": name,
                "email": f"{name}@example.com",
                "password": "a quiet sea of 7",
            }
            key = f"Idempotency-Key: {name}\r\n"
            database.proxy.cut_at(b"COMMIT", passed_on=True)
            first = await wire.ask("POST", "/v1/register", body, headers=key)
        assert first.is_documented_refusal
        answers = [await wire.ask("POST", "/v1/register", body, headers=key) for _ in range(2)]
        assert [answer.status for answer in answers] == [201, 201]
        assert answers[0].json()["id"] == answers[1].json()["id"]
        sql = "SELECT id FROM accounts WHERE username = $1"
        assert len(await database.rows(sql, name)) == 1
        wire.close()


@pytest.mark.parametrize("milliseconds", [50, 200])
async def test_re_05_a_slow_network_breaks_nothing(
    serving: Start, database: Database, missing: Missing, table: Table, milliseconds: int
) -> None:
    trip = milliseconds / 1000
    async with serving() as service:
        crowd = Crowd(service.port, f"f{next(numbers)}", size=4)
        async with crowd.working():
            # Long enough that connections know their statements.
            await asyncio.sleep(2)
        crowd.tally.seconds.clear()
        database.proxy.delay = trip / 2
        try:
            async with crowd.working(pause=trip) as tally:
                await asyncio.sleep(12)
        finally:
            database.proxy.delay = 0.0
        lost = await missing(crowd.promised)
        usual = tally.quantile(0.99, "me", "keys", "login", "refresh") / trip
        registering = tally.quantile(0.5, "register") / trip
        also = f"p99 {usual:.1f} round trips, to register {registering:.1f}"
        table.add(f"{milliseconds} ms to the database", tally, lost=lost, also=also)
        assert not tally.wrong
        assert tally.refused == 0
        assert lost == 0
        assert usual <= 10
        # One transaction that writes five rows; nobody registers twice.
        assert registering <= 15


async def test_re_23_others_take_every_connection(
    serving: Start, database: Database, suffer: Suffer
) -> None:
    async def taken() -> None:
        # Those of the service go, and before it comes back all are taken.
        database.proxy.cut()
        others: list[asyncpg.Connection] = []
        try:
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline:
                try:
                    others.append(await database.admin())
                except (asyncpg.TooManyConnectionsError, asyncpg.PostgresError, OSError):
                    database.proxy.cut()
                    await asyncio.sleep(0.05)
            assert len(others) > 80
        finally:
            for other in others:
                await other.close()

    async with serving() as service:
        tally = await suffer(service, "max_connections reached 4 s", taken, told=False)
        assert tally.refused > 0


async def test_re_16_a_table_that_is_locked_uses_up_the_pool(
    serving: Start, database: Database, suffer: Suffer
) -> None:
    async def locked() -> None:
        holder = await database.admin()
        try:
            async with holder.transaction():
                await holder.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(6)
        finally:
            await holder.close()

    async with serving() as service:
        tally = await suffer(service, "accounts locked 6 s", locked, told=False)
        assert tally.refused > 0
