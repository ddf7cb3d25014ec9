"""Whether the database can be worked with."""

import asyncio

import asyncpg

from ...application.ports.storage import HealthCheck
from ...domain.errors import Unavailable
from .engine import ReadPool
from .migrate import is_behind

_LIMIT = 1.0


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
