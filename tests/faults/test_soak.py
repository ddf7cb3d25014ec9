"""An hour's worth of requests, and what they leave behind: nothing."""

import asyncio
import time

import pytest

from tests.faults.conftest import Missing, Start, Table
from tests.faults.database import MOST_CONNECTIONS, Database
from tests.faults.load import Crowd, Person, Tally
from tests.faults.processes import handles_of, memory_of, on_linux

PEOPLE = 8
# By then every statement is known and every pool full; routes and caches have been met.
WARMED_UP = 0.1
# What one round of a person asks for: mostly who he is, as pages and services do.
ROUND = ("read",) * 12 + ("keys",) * 3 + ("live",) * 2 + ("refresh",) * 2 + ("sign_in",)
REGISTER_EVERY = 5


class Regular(Person):
    """Comes back for ever."""

    async def live(self) -> bool:
        return await self.tally.ask("live", 200, self.wire, "GET", "/livez") is not None

    async def go_round(self, number: int) -> None:
        for step in ROUND:
            await getattr(self, step)()
        if number % REGISTER_EVERY == 0:
            await self.register()


@on_linux
@pytest.mark.timeout(3600)
async def test_a_soak_leaves_no_memory_and_no_connection_behind(
    serving: Start, database: Database, missing: Missing, table: Table, pytestconfig: pytest.Config
) -> None:
    wanted: int = pytestconfig.getoption("--soak-requests")
    async with serving(DATABASE_URL=database.direct_url) as service:
        crowd = Crowd(service.port, "soak", size=0)
        tally = crowd.tally
        crowd.people = [Regular(service.port, f"soak-{n}", tally) for n in range(PEOPLE)]
        for one in crowd.people:
            await one.arrive()
        began = time.monotonic()
        await _ask(crowd, tally, int(wanted * WARMED_UP))
        before = (memory_of(service), handles_of(service), len(await database.connections()))
        await _ask(crowd, tally, wanted)
        seconds = time.monotonic() - began
        after = (memory_of(service), handles_of(service), len(await database.connections()))
        lost = await missing(crowd.promised) + await crowd.sessions_lost()
        growth = after[0] / before[0] - 1
        also = (
            f"{wanted / seconds:.0f}/s, p99 {tally.quantile(0.99) * 1000:.0f} ms,"
            f" memory {before[0] / 1024:.0f} -> {after[0] / 1024:.0f} MB ({growth:+.1%}),"
            f" handles {before[1]} -> {after[1]}, connections {before[2]} -> {after[2]}"
        )
        table.add("soak", tally, lost=lost, also=also)
        assert not tally.wrong
        assert tally.refused == 0
        assert lost == 0
        assert growth < 0.05
        assert after[1] <= before[1] + 2
        # Pools fill when there is need, up to their size.
        assert after[2] <= MOST_CONNECTIONS


async def _ask(crowd: Crowd, tally: Tally, until: int) -> None:
    async def again(one: Regular) -> None:
        number = 0
        while tally.requests < until:
            await one.go_round(number)
            number += 1

    await asyncio.gather(*(again(one) for one in crowd.people if isinstance(one, Regular)))
