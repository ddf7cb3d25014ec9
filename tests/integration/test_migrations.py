"""The migrations: there and back, by one process at a time, to the declared schema."""

import asyncio
import os
import time

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pgqueuer.queries import Queries
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from gatepost.adapters.postgres import migrate
from gatepost.adapters.postgres.dsn import to_dsn
from gatepost.adapters.postgres.engine import connect, create_engine
from gatepost.adapters.postgres.revisions import revisions
from gatepost.adapters.postgres.tables import metadata
from gatepost.domain.errors import Unavailable

# What the comparison of metadata leaves out: checks, conditions of indexes, collations, storage.
CATALOGUE = """
SELECT 'column', attrelid::regclass::text, attname::text,
       format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || attcollation::regcollation
  FROM pg_attribute WHERE attnum > 0 AND attrelid = ANY($1::regclass[])
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE conrelid = ANY($1::regclass[])
UNION ALL
SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid)
  FROM pg_index WHERE indrelid = ANY($1::regclass[])
UNION ALL
SELECT 'options', oid::regclass::text, '', coalesce(reloptions::text, '')
  FROM pg_class WHERE oid = ANY($1::regclass[])
ORDER BY 1, 2, 3, 4
"""
LEFT = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""
# Of this database alone: others are at work on the same server.
WAITING = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
 WHERE datname = current_database() AND NOT granted
"""


async def catalogue(url: str) -> list[tuple[str, ...]]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(CATALOGUE, [table for table in metadata.tables])
    await connection.close()
    return [tuple(row) for row in rows]


async def test_up_down_and_up_again(empty_url: str) -> None:
    await migrate.upgrade(empty_url)
    assert await migrate.is_current(empty_url)
    first = await catalogue(empty_url)
    await migrate.run(empty_url, lambda config: command.downgrade(config, "base"))
    assert not await migrate.is_current(empty_url)
    connection = await asyncpg.connect(empty_url)
    left = {row[0] for row in await connection.fetch(LEFT)}
    await connection.close()
    assert left - {"_alembic_version"} == {"alembic_version", "alembic_version_pkc"}
    await migrate.upgrade(empty_url)
    assert await catalogue(empty_url) == first


async def test_the_migrated_schema_is_the_declared_one(engine: AsyncEngine) -> None:
    def difference(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection, opts={"include_name": migrate.is_ours, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(difference) == []


async def test_it_is_so_to_the_last_detail(url: str, empty_url: str) -> None:
    declared = AsyncEngine(create_engine(empty_url).sync_engine)
    async with declared.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await declared.dispose()
    assert await catalogue(url) == await catalogue(empty_url)


async def test_the_job_queue_is_as_its_package_wants_it(url: str) -> None:
    connection = await asyncpg.connect(url)
    plan = await Queries.from_asyncpg_connection(connection).plan_upgrade()
    await connection.close()
    assert list(plan.statements) == []


async def test_of_four_at_once_one_migrates_and_all_succeed(empty_url: str) -> None:
    await asyncio.gather(*[migrate.upgrade(empty_url) for _ in range(4)])
    assert await migrate.is_current(empty_url)


async def test_who_waits_too_long_gives_up(empty_url: str) -> None:
    holder = await asyncpg.connect(empty_url)
    await holder.execute("SELECT pg_advisory_lock($1)", migrate._LOCK)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="Another process"):
        await migrate.upgrade(empty_url, patience=0.5)
    assert time.monotonic() - started < 2
    await holder.close()
    await migrate.upgrade(empty_url)


async def test_re_14_a_migration_gives_way_before_those_who_wait_behind_it_are_refused(
    own_url: str,
) -> None:
    await migrate.run(own_url, lambda config: command.downgrade(config, "0003"))
    long, waits = await asyncpg.connect(own_url), "SELECT count(*) FROM exports"
    async with long.transaction():
        await long.fetchval(waits)
        migration = asyncio.create_task(migrate.upgrade(own_url))
        while not await long.fetchval(WAITING):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        # As a server connects, with the limit of its statements.
        server = await connect(to_dsn(own_url))
        assert await server.fetchval(waits) == 0
        with pytest.raises(Unavailable):
            await migration
    assert not await migrate.is_current(own_url)
    await migrate.upgrade(own_url)
    assert await migrate.is_current(own_url)
    for connection in (long, server):
        await connection.close()


async def test_a_database_of_a_newer_release_is_left_alone(own_url: str) -> None:
    connection = await asyncpg.connect(own_url)
    await connection.execute("UPDATE alembic_version SET version_num = 'newer'")
    await migrate.upgrade(own_url)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "newer"
    assert await migrate.is_current(own_url)
    await connection.close()


async def test_no_server_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await migrate.upgrade("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Unavailable):
        await migrate.is_current("postgresql://nobody@127.0.0.1:1/nothing")


async def test_an_environment_that_renames_the_job_queue_migrates_nothing(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANNEL", "elsewhere")
    with pytest.raises(ValueError, match="CHANNEL"):
        await migrate.upgrade(empty_url)
    monkeypatch.delenv("CHANNEL")
    assert os.environ.get("CHANNEL") is None
    assert not await migrate.is_current(empty_url)


def test_the_revisions_that_a_server_knows_are_those_of_the_scripts() -> None:
    scripts = ScriptDirectory.from_config(migrate._config())
    known = [script.revision for script in scripts.walk_revisions()]
    assert revisions() == tuple(reversed(known))
