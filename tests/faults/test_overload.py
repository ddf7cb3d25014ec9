"""Ten times the logins that there is room for.

Everything is on one machine: those who ask, the server, its database. RE-11 compares what is
served under the flood with what the server could serve. So that nothing else is compared,

- capacity is measured before, between and after the parts of the flood, as a machine that others
  use as well is not the same a minute later;
- the same cheap calls run beside both;
- both are counted for each core that those who ask leave over. Asking ten times as often costs
  them more, and elsewhere they would be on machines of their own. What the server spends on
  refusing, and what its database takes, is charged to the server;
- logins count until the time is up, and not those that still wait then.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.faults.conftest import Start, Table
from tests.faults.database import Database
from tests.faults.load import Person, Tally, Wire, quantile
from tests.faults.processes import memory_of, on_linux
from tests.service import Service

# What production has; a cheap hash would make the capacity that of the server's own code.
COSTLY = {"GATEPOST_PASSWORD__MEMORY_KIB": "19456", "GATEPOST_PASSWORD__QUEUE": "64"}
CHEAP = ("me", "keys", "livez")
TIMES = 10
AT_ONCE = 8
MEASURED_SECONDS = 5.0
ROUNDS = 3


@dataclass
class Part:
    """Logins for some seconds, and the cores that were left to answer them."""

    told: dict[str, Any]
    seconds: float
    cores: float

    @property
    def rate(self) -> float:
        return float(self.told["accepted"]) / self.seconds


@dataclass
class Logins:
    """Lets people come, with the same cheap calls beside them."""

    service: Service
    one: Person
    cheap: Tally = field(default_factory=Tally)

    async def trickle(self, at_once: int = AT_ONCE) -> Part:
        """See how many can be served: nobody is refused, and all cores are at work."""
        async with cheap_calls(self.service, self.one, Tally()):
            return await self._part("trickle", at_once, MEASURED_SECONDS)

    async def pour(self, rate: float, seconds: float) -> Part:
        async with cheap_calls(self.service, self.one, self.cheap):
            return await self._part("pour", rate, seconds)

    async def _part(self, how: str, amount: float, seconds: float) -> Part:
        wall, own = time.monotonic(), time.process_time()
        flood = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.flood",
            how, str(self.service.port), self.one.name, str(amount), str(seconds),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await flood.communicate()
        assert flood.returncode == 0
        told = json.loads(output)
        own = (time.process_time() - own) / (time.monotonic() - wall)
        cores = (os.cpu_count() or 1) - own - told["cpu_seconds"] / seconds
        return Part(told, seconds, cores)


def goodput(capacities: list[Part], floods: list[Part]) -> float:
    """Compare each part of the flood with the capacity before and after it."""
    could = sum(
        flood.seconds * flood.cores * sum(each.rate / each.cores for each in around) / 2
        for flood, *around in zip(floods, capacities, capacities[1:], strict=False)
    )
    return sum(int(flood.told["accepted"]) for flood in floods) / could


@asynccontextmanager
async def cheap_calls(service: Service, one: Person, tally: Tally) -> AsyncIterator[None]:
    """Ask for what costs little, some 80 times a second, and for the metrics once."""
    stop = asyncio.Event()

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
        yield
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
        logins = Logins(service, one)
        # Memory is that of a server at work: every hash has had its room once.
        await logins.trickle(80)
        await asyncio.sleep(2)
        before, unloaded = memory_of(service), Tally()
        async with cheap_calls(service, one, unloaded):
            await asyncio.sleep(MEASURED_SECONDS)
        capacities, floods = [await logins.trickle()], []
        for _ in range(ROUNDS):
            rate = TIMES * capacities[-1].rate
            floods.append(await logins.pour(rate, seconds / ROUNDS))
            capacities.append(await logins.trickle())
        await asyncio.sleep(5)
        after = memory_of(service)
        one.wire.close()

        loaded = logins.cheap
        usual, cheap = unloaded.quantile(0.99, *CHEAP), loaded.quantile(0.99, *CHEAP)
        told = [flood.told for flood in floods]
        refused = [each for part in told for each in part["refused"]]
        good = goodput(capacities, floods)
        both = Tally(
            loaded.requests + sum(part["requests"] for part in told),
            loaded.refused + len(refused),
            sum((Counter(part["wrong"]) for part in told), loaded.wrong),
        )
        both.seconds["login"].append(max(part["slowest"] for part in told))
        offered = sum(part["requests"] for part in told) / seconds
        also = [
            f"capacity {'-'.join(f'{each.rate:.0f}' for each in capacities)}/s,"
            f" offered {offered:.0f}/s, served {good:.0%} of capacity",
            f"cheap p99 {cheap * 1000:.0f} ms (unloaded {usual * 1000:.0f} ms)",
            f"refused told within {quantile(refused, 0.99) * 1000:.0f} ms (p99),"
            f" half within {quantile(refused, 0.5) * 1000:.0f} ms",
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
        assert quantile(refused, 0.99) < 0.1
        assert good >= 0.8
        assert after <= 1.2 * before
