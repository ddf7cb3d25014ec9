"""The counting contract on PostgreSQL, and what only a real server can show."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from gatepost.adapters.memory import ManualClock
from gatepost.adapters.postgres.limits import PostgresRateLimiter
from gatepost.application.ports.limits import RateLimiter
from gatepost.domain.errors import Unavailable
from gatepost.testing.builders import a_clock
from gatepost.testing.contracts.limits import (
    KEY,
    LOGIN,
    RateLimiterContract,
    expect_real_time,
    expect_unavailable,
    use_up,
)


@pytest.fixture
def clock() -> ManualClock:
    return a_clock()


class TestPostgres(RateLimiterContract):
    @pytest.fixture
    async def limiter(self, url: str, clock: ManualClock) -> AsyncIterator[RateLimiter]:
        limiter = PostgresRateLimiter(url, now=clock)
        await limiter.open()
        yield limiter
        await limiter.close()

    @pytest.fixture
    async def other_limiter(self, url: str, clock: ManualClock) -> AsyncIterator[RateLimiter]:
        limiter = PostgresRateLimiter(url, now=clock)
        await limiter.open()
        yield limiter
        await limiter.close()

    async def test_a_flood_of_refused_hits_writes_nothing(
        self, limiter: RateLimiter, url: str
    ) -> None:
        await use_up(limiter, LOGIN)
        connection = await asyncpg.connect(url)
        sql = "SELECT xmin::text, xmax::text, ctid::text FROM rate_limits"
        before = await connection.fetch(sql)
        for _ in range(50):
            await limiter.spend(KEY, LOGIN)
        assert await connection.fetch(sql) == before
        await connection.close()

    async def test_the_servers_clock_counts_by_default(self, url: str) -> None:
        limiter = PostgresRateLimiter(url)
        await limiter.open()
        await expect_real_time(limiter)
        await limiter.close()

    async def test_the_table_is_unlogged(self, url: str) -> None:
        connection = await asyncpg.connect(url)
        sql = "SELECT relpersistence::text FROM pg_class WHERE relname = 'rate_limits'"
        assert await connection.fetchval(sql) == "u"
        await connection.close()

    async def test_no_server_is_unavailable(self) -> None:
        limiter = PostgresRateLimiter("postgresql://nobody@127.0.0.1:1/nothing")
        await limiter.open()
        await expect_unavailable(limiter)
        with pytest.raises(Unavailable):
            await limiter.sweep(1)
        await limiter.close()
