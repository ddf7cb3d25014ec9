"""Counting in Redis or Valkey: one script a hit, with the server's clock.

Importing this module needs the extra `redis`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ..application.ports.limits import RateLimiter
from ..application.ports.security import Clock
from ..domain.errors import Unavailable
from ..domain.limits import MOST_STRIKES, Budget, Decision

_PREFIX = b"gatepost:limit:"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 0.5
_CHECKOUT_SECONDS = 1.0
# A script takes microseconds: more connections only wait for one another.
_CONNECTIONS = 8

# KEYS[1]; ARGV: moment or an empty string, interval, full, highest debt, longest delay, memory,
# 1 to hit. Numbers are doubles: whole microseconds are exact until the year 2255.
_HIT = f"""
local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local interval, full, highest = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local longest, memory = tonumber(ARGV[5]), tonumber(ARGV[6])
local state = redis.call('HMGET', KEYS[1], 'tat', 'strikes')
local tat, strikes = tonumber(state[1] or '0'), tonumber(state[2] or '0')
local debt = math.min(math.max(tat - now, 0), highest)
if now >= tat + memory then strikes = 0 end
if debt + interval > full then return {{0, debt, strikes}} end
if ARGV[7] ~= '1' then return {{1, debt, strikes}} end
local cost = interval
if longest > interval and debt + 2 * interval > full then
    strikes = math.min(strikes + 1, {MOST_STRIKES})
    cost = math.min(interval * 2 ^ (strikes - 1), longest)
end
debt = debt + cost
local kept = debt
if strikes > 0 then kept = debt + memory end
redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', now + debt), 'strikes', strikes)
redis.call('PEXPIRE', KEYS[1], math.ceil(kept / 1000))
return {{1, debt, strikes}}
"""
# Keys run out by themselves; one that did is not made again.
_GIVE_BACK = """
local state = redis.call('HMGET', KEYS[1], 'tat', 'strikes')
if not state[1] then return 0 end
local strikes = math.max(tonumber(state[2]) - tonumber(ARGV[2]), 0)
local tat = string.format('%.0f', tonumber(state[1]) - tonumber(ARGV[1]))
redis.call('HSET', KEYS[1], 'tat', tat, 'strikes', strikes)
return 1
"""


def connect(url: str) -> Redis:
    """Make a client; nothing is connected yet. A call fails fast, and is not tried again."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_CHECKOUT_SECONDS,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


class RedisRateLimiter(RateLimiter):
    """Counts with the server's clock, or with a given one; `close` at the end."""

    def __init__(self, client: Redis, *, now: Clock | None = None) -> None:
        self._client = client
        self._now = now
        self._hit = client.register_script(_HIT)
        self._give_back = client.register_script(_GIVE_BACK)

    async def close(self) -> None:
        await self._client.aclose()

    async def spend(self, key: bytes, budget: Budget) -> Decision:
        return await self._run(key, budget, hits=1)

    async def give_back(self, key: bytes, decision: Decision) -> None:
        with _outages_as_unavailable():
            arguments = [decision.cost, int(decision.struck)]
            await self._give_back(keys=[_PREFIX + key], args=arguments)

    async def peek(self, key: bytes, budget: Budget) -> Decision:
        return await self._run(key, budget, hits=0)

    async def sweep(self, limit: int) -> int:
        """Forget nothing: keys run out by themselves."""
        return 0

    async def _run(self, key: bytes, budget: Budget, *, hits: int) -> Decision:
        arguments: list[Any] = [
            "" if self._now is None else (self._now() - _EPOCH) // _MICROSECOND,
            budget.interval,
            budget.full,
            budget.highest_debt,
            budget.longest,
            budget.memory,
            hits,
        ]
        with _outages_as_unavailable():
            allowed, debt, strikes = await self._hit(keys=[_PREFIX + key], args=arguments)
        return Decision(allowed == 1, budget, debt, strikes)


@contextmanager
def _outages_as_unavailable() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable from error
