"""Counting in PostgreSQL: one statement a hit, on connections that know no transactions."""

from datetime import UTC, datetime, timedelta

import asyncpg

from ...application.ports.limits import RateLimiter
from ...application.ports.security import Clock
from ...domain.limits import MEMORY, MOST_STRIKES, Budget, Decision
from .engine import READ_POOL_SIZE
from .read_pool import ReadPool

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MEMORY = MEMORY // _MICROSECOND
_TRIES = 3

# The server's clock unless one is given: replicas write the same rows.
_CLOCK = """
WITH clock AS MATERIALIZED (
    SELECT coalesce($2::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
)"""
# The budget: $3 interval, $4 full, $5 highest debt, $6 longest delay, $7 memory. Beside ON
# CONFLICT the moment is known only through the row that was to be inserted.
_MOMENT = "(excluded.tat - $3)"
_DEBT = "least(greatest(r.tat - {now}, 0), $5::bigint)"
_STRIKES = "CASE WHEN {now} < r.tat + $7::bigint THEN r.strikes ELSE 0 END"
_IS_LAST = f"($6::bigint > $3 AND {_DEBT} + 2 * $3 > $4)"
_STRUCK = f"least(({_STRIKES}) + 1, {MOST_STRIKES})"
_AT_HIT = {
    name: expression.format(now=_MOMENT)
    for name, expression in {
        "debt": _DEBT,
        "strikes": _STRIKES,
        "is_last": _IS_LAST,
        "struck": _STRUCK,
    }.items()
}

# A flood of refused hits only reads: it locks no row and leaves no dead ones behind. Whoever
# meets a row that was changed since is decided on by the condition of the update.
_SPEND = f"""{_CLOCK},
hit AS (
    INSERT INTO rate_limits AS r (key, tat, strikes)
    SELECT $1, now + $3::bigint, CASE WHEN $6::bigint > $3 AND 2 * $3 > $4 THEN 1 ELSE 0 END
      FROM clock
     WHERE NOT EXISTS (
        SELECT FROM rate_limits r
         WHERE key = $1 AND {_DEBT.format(now="now")} + $3 > $4::bigint
     )
    ON CONFLICT (key) DO UPDATE SET
        tat = {_MOMENT} + {_AT_HIT["debt"]} + CASE WHEN {_AT_HIT["is_last"]}
              THEN least($3 << ({_AT_HIT["struck"]} - 1), $6) ELSE $3 END,
        strikes = CASE WHEN {_AT_HIT["is_last"]}
                  THEN {_AT_HIT["struck"]} ELSE {_AT_HIT["strikes"]} END
     WHERE {_AT_HIT["debt"]} + $3 <= $4
    RETURNING r.tat, r.strikes
)
SELECT true AS allowed, hit.tat - now AS debt, strikes FROM hit, clock
UNION ALL
SELECT false, {_DEBT.format(now="now")}, {_STRIKES.format(now="now")} FROM rate_limits r, clock
 WHERE key = $1 AND NOT EXISTS (SELECT FROM hit)
"""  # noqa: S608
_PEEK = f"""{_CLOCK}
SELECT {_DEBT.format(now="now")} + $3::bigint <= $4::bigint AS allowed,
       {_DEBT.format(now="now")} AS debt, {_STRIKES.format(now="now")} AS strikes
  FROM rate_limits r, clock WHERE key = $1 AND $6::bigint >= 0
"""  # noqa: S608
_GIVE_BACK = """
UPDATE rate_limits SET tat = tat - $2, strikes = greatest(strikes - $3, 0) WHERE key = $1
"""
_SWEEP = """
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), gone AS (
    DELETE FROM rate_limits WHERE key = ANY (ARRAY(
        SELECT key FROM rate_limits, clock
         WHERE tat + CASE WHEN strikes > 0 THEN $3::bigint ELSE 0 END <= now
         LIMIT $2 FOR UPDATE OF rate_limits SKIP LOCKED
    )) RETURNING 1
)
SELECT count(*) FROM gone
"""


class PostgresRateLimiter(RateLimiter):
    """Counts on a pool of its own: `open` before use, `close` at the end.

    A request that waits here holds no connection of the pool for transactions, and the other
    way round. The table is unlogged: a crash of the server empties it, and every budget.
    """

    def __init__(self, url: str, *, size: int = READ_POOL_SIZE, now: Clock | None = None) -> None:
        self._pool = ReadPool(url, size=size)
        self._now = now
        self.open = self._pool.open
        self.close = self._pool.close

    async def spend(self, key: bytes, budget: Budget) -> Decision:
        for _ in range(_TRIES):
            row = await self._ask(_SPEND, key, budget)
            # Refused by a row as others left it since: only the next look tells for how long.
            if row is not None and (row["allowed"] or row["debt"] + budget.interval > budget.full):
                return Decision(row["allowed"], budget, row["debt"], row["strikes"])
        return Decision(False, budget, budget.full)

    async def give_back(self, key: bytes, decision: Decision) -> None:
        await self._pool.fetchrow(_GIVE_BACK, key, decision.cost, int(decision.struck))

    async def peek(self, key: bytes, budget: Budget) -> Decision:
        row = await self._ask(_PEEK, key, budget)
        if row is None:
            return Decision(True, budget, 0)
        return Decision(row["allowed"], budget, row["debt"], row["strikes"])

    async def sweep(self, limit: int) -> int:
        row = await self._pool.fetchrow(_SWEEP, self._moment(), limit, _MEMORY)
        return row["count"] if row else 0

    async def _ask(self, sql: str, key: bytes, budget: Budget) -> asyncpg.Record | None:
        return await self._pool.fetchrow(
            sql,
            key,
            self._moment(),
            budget.interval,
            budget.full,
            budget.highest_debt,
            budget.longest,
            budget.memory,
        )

    def _moment(self) -> int | None:
        return None if self._now is None else (self._now() - _EPOCH) // _MICROSECOND
