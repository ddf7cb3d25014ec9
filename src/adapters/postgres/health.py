"""Whether the database can be worked with, and whether the work in it gets done."""

import asyncio
import json

import asyncpg

from ...application.ports.delivery import Backlog, BacklogReader
from ...application.ports.storage import HealthCheck
from ...domain.audit import AuditType
from ...domain.errors import Unavailable
from ...domain.keys import KeyState
from .read_pool import ReadPool
from .revisions import is_behind

_LIMIT = 1.0
# Counted to a bound: a queue that grew for days must not cost seconds at every look.
_MOST_COUNTED = 10_000
_BACKLOG = f"""
SELECT (SELECT count(*) FROM (
           SELECT FROM pgqueuer WHERE status = 'queued' LIMIT {_MOST_COUNTED}) AS c) AS pending,
       (SELECT count(*) FROM (
           SELECT FROM pgqueuer WHERE status = 'failed' LIMIT {_MOST_COUNTED}) AS c) AS failed,
       (SELECT greatest(0, extract(epoch FROM now() - min(execute_after)))::float8
          FROM (SELECT execute_after FROM pgqueuer WHERE status = 'queued'
                 ORDER BY id LIMIT {_MOST_COUNTED}) AS c) AS oldest,
       (SELECT count(*) FROM (
           SELECT FROM audit_events
            WHERE type = '{AuditType.MAIL_UNDELIVERABLE}' AND created_at > now() - interval '1 day'
            LIMIT {_MOST_COUNTED}) AS c) AS undeliverable,
       (SELECT json_object_agg(state, age) FROM (
           SELECT state, greatest(0, extract(epoch FROM now() - min(
                      coalesce(activated_at, created_at))))::float8 AS age
             FROM signing_keys GROUP BY state) AS k) AS key_ages
"""  # noqa: S608


class PostgresHealth(HealthCheck):
    """Asks on a connection of its own, so that busy pools do not look like an outage.

    `open` before use, `close` at the end.
    """

    def __init__(self, url: str) -> None:
        self._pool = ReadPool(url, size=1)
        self.open = self._pool.open
        self.close = self._pool.close

    async def __call__(self) -> None:
        try:
            async with asyncio.timeout(_LIMIT):
                row = await self._pool.fetchrow("SELECT version_num FROM alembic_version")
        except TimeoutError as error:
            raise Unavailable from error
        except asyncpg.UndefinedTableError:
            row = None
        if is_behind(row and row["version_num"]):
            raise Unavailable("The database is not migrated.")


class PostgresBacklog(BacklogReader):
    """Looks at the queue on a connection of its own, so that no slow look delays another check.

    `open` before use, `close` at the end.
    """

    def __init__(self, url: str) -> None:
        self._pool = ReadPool(url, size=1)
        self.open = self._pool.open
        self.close = self._pool.close

    async def read(self) -> Backlog:
        row = await self._pool.fetchrow(_BACKLOG)
        if row is None:
            return Backlog(0, 0, 0.0)
        oldest = row["oldest"] or 0.0
        ages = {KeyState(state): age for state, age in json.loads(row["key_ages"] or "{}").items()}
        return Backlog(row["pending"], row["failed"], oldest, row["undeliverable"], ages)
