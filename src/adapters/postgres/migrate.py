"""Migrations, run by one process at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from ...domain.errors import Unavailable
from .dsn import to_dsn
from .engine import connect
from .failures import outages_as_unavailable
from .jobs import refuse_renamed_queue
from .revisions import is_behind
from .tables import metadata

T = TypeVar("T")

# Any constant will do, as long as no other program takes the same one in this database.
_LOCK = 0x6761_7465_706F_7374
_POLL = 0.25
# Who needs a table that a migration waits for waits behind it: less than a statement may take, so
# that he is served late, and not refused.
_LOCK_TIMEOUT = 2.0


def is_ours(name: str | None, type_: str, parents: Any) -> bool:
    """Tell our tables from PgQueuer's, whose shape its own package knows."""
    return not (type_ == "table" and (name or "").startswith("pgqueuer"))


async def upgrade(url: str, *, patience: float = 60.0) -> None:
    """Migrate to this release's schema, unless the database is there or further.

    Of several processes one migrates and the others wait, up to `patience` seconds.
    Raises Unavailable, and ValueError when the environment renames the job queue.
    """
    refuse_renamed_queue()
    with outages_as_unavailable():
        async with _alone(url, patience):
            await run(url, _upgrade)


async def is_current(url: str) -> bool:
    """Tell whether the database has everything that this release needs."""
    with outages_as_unavailable():
        return not is_behind(await _on_connection(url, _revision))


async def run(url: str, step: Callable[[Config], None]) -> None:
    """Run an Alembic command on a connection of its own."""

    def on_connection(connection: Connection) -> None:
        config = _config()
        config.attributes |= {
            "connection": connection,
            "metadata": metadata,
            "include_name": is_ours,
        }
        step(config)

    await _on_connection(url, on_connection)


def _upgrade(config: Config) -> None:
    if is_behind(_revision(config.attributes["connection"])):
        command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    revision = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()
    return revision


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", f"{__package__}:migrations")
    config.set_main_option("path_separator", "os")
    return config


async def _on_connection(url: str, step: Callable[[Connection], T]) -> T:
    dsn = to_dsn(url)

    async def connected() -> asyncpg.Connection:
        return await connect(dsn, statement_timeout=0, lock_timeout=_LOCK_TIMEOUT)

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connected, poolclass=NullPool
    )
    async with engine.connect() as connection:
        return await connection.run_sync(step)


@asynccontextmanager
async def _alone(url: str, patience: float) -> AsyncIterator[None]:
    """Hold the lock; polled, as waiting in it would block a concurrent index build for ever."""
    connection = await connect(to_dsn(url))
    try:
        await _take_lock(connection, patience)
        yield
    finally:
        # Ends the session, and the lock with it.
        await connection.close()


async def _take_lock(connection: asyncpg.Connection, patience: float) -> None:
    waited = 0.0
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
        if waited >= patience:
            raise Unavailable("Another process has been migrating for too long.")
        await asyncio.sleep(_POLL)
        waited += _POLL
