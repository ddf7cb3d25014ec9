"""Ten times the logins that there is room for."""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.faults.conftest import Start, Table
from tests.faults.database import Database
from tests.faults.load import Person, Tally, Wire
from tests.faults.processes import memory_of, on_linux
from tests.service import Service

# What production has; a cheap hash would make the capacity that of the server's own code.
COSTLY = {"GATEPOST_PASSWORD__MEMORY_KIB": "19456", "GATEPOST_PASSWORD__QUEUE": "64"}
CHEAP = ("me", "keys", "livez")
TIMES = 10
MEASURED_SECONDS = 5.0


class Cores:
    """How many cores those who ask leave to those who answer."""

    def __init__(self) -> None:
        self._wall, self._own = time.monotonic(), time.process_time()

    def left(self, flood_cpu_seconds: float) -> float:
        spent = time.process_time() - self._own + flood_cpu_seconds
        return (os.cpu_count() or 1) - spent / (time.monotonic() - self._wall)


async def flooded(how: str, service: Service, login: str, amount: float, seconds: float) -> Any:
    flood = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.flood",
        how, str(service.port), login, str(amount), str(seconds),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await flood.communicate()
    assert flood.returncode == 0
    return json.loads(output)


@asynccontextmanager
async def cheap_calls(service: Service, one: Person) -> AsyncIterator[Tally]:
    """Ask for what costs little, some 80 times a second, and for the metrics once."""
    tally, stop = Tally(), asyncio.Event()

    async def again(kind: str, path: str, pause: float, token: str | None = None) -> None:
        wire = Wire(service.port)
        while not stop.is_set():
            await tally.ask(kind, 200, wire, "GET", path, token=token)
            await asyncio.sleep(pause)
        wire.close()

    asking = [
        asyncio.create_task(again("me", "/v1/users/me", 0.025, one.access)),
        asyncio.create_task(again("keys", "/.well-known/jwks.json", 0.05)),
        asyncio.create_task(again("livez", "/livez", 0.05)),
        asyncio.create_task(again("metrics", "/metrics", 1.0)),
    ]
    try:
        yield tally
    finally:
        stop.set()
        await asyncio.gather(*asking)


@on_linux
@pytest.mark.timeout(600)
async def test_re_11_re_24_ten_times_the_login_capacity(
    serving: Start, database: Database, table: Table, pytestconfig: pytest.Config
) -> None:
    seconds: float = pytestconfig.getoption("--overload-seconds")
    async with serving(DATABASE_URL=database.direct_url, **COSTLY) as service:
        one = Person(service.port, "overload", Tally())
        await one.arrive()
        # Memory is that of a server at work: every hash has had its room once.
        await flooded("trickle", service, one.name, 80, MEASURED_SECONDS)
        cores = Cores()
        measured = await flooded("trickle", service, one.name, 8, MEASURED_SECONDS)
        capacity, room = (
            measured["accepted"] / MEASURED_SECONDS,
            cores.left(measured["cpu_seconds"]),
        )
        await asyncio.sleep(2)
        before = memory_of(service)
        async with cheap_calls(service, one) as unloaded:
            await asyncio.sleep(MEASURED_SECONDS)
        async with cheap_calls(service, one) as loaded:
            cores = Cores()
            told = await flooded("pour", service, one.name, TIMES * capacity, seconds)
            room = cores.left(told["cpu_seconds"]) / room
        await asyncio.sleep(5)
        after = memory_of(service)
        one.wire.close()

        usual, cheap = unloaded.quantile(0.99, *CHEAP), loaded.quantile(0.99, *CHEAP)
        good = told["accepted"] / seconds / capacity
        both = Tally(
            loaded.requests + told["requests"],
            loaded.refused + told["refused"],
            loaded.wrong + Counter(told["wrong"]),
        )
        both.seconds["login"].append(told["slowest"])
        also = [
            f"capacity {capacity:.0f}/s, offered {told['requests'] / seconds:.0f}/s,"
            f" served {good:.0%} of capacity, with {room:.0%} of the cores that were left before",
            f"cheap p99 {cheap * 1000:.0f} ms (unloaded {usual * 1000:.0f} ms)",
            f"refused told within {told['refused_p99'] * 1000:.0f} ms (p99),"
            f" half within {told['refused_p50'] * 1000:.0f} ms",
            f"memory {before / 1024:.0f} -> {after / 1024:.0f} MB",
            *(
                f"{kind} p99 {loaded.quantile(0.99, kind) * 1000:.0f} ms"
                f" ({unloaded.quantile(0.99, kind) * 1000:.0f})"
                for kind in (*CHEAP, "metrics")
            ),
        ]
        table.add(f"{TIMES} x the login capacity, {seconds:.0f} s", both, also=", ".join(also))
        assert not both.wrong
        assert loaded.refused == 0
        assert loaded.quantile(0.99, "livez") < 0.25
        assert loaded.quantile(0.99, "metrics") < 0.25
        assert cheap < 0.1
        assert cheap < 5 * usual
        assert told["refused_p99"] < 0.1
        assert good >= 0.8
        assert after <= 1.2 * before
