"""What administrators ask of a large table, and how PostgreSQL means to answer it."""

import itertools
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from gatepost import load_settings, open_gatepost
from gatepost.adapters.postgres.engine import create_engine
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.application.ports.directory import AccountQuery, AccountSort
from gatepost.domain.accounts import AccountStatus
from gatepost.domain.audit import ClientContext
from gatepost.domain.errors import RoleInUse
from gatepost.domain.roles import Principal, Role
from gatepost.testing.builders import NOW
from tests.integration.conftest import Databases, named
from tests.service import PASSWORD

PEOPLE = 100_000
SEED = """
INSERT INTO accounts (id, username, username_key, email, email_key, email_verified,
    is_placeholder, locale, status, roles, created_at, updated_at)
SELECT gen_random_uuid(), name, name, address, address, n % 10 > 0, n % 100 = 1, 'en',
    CASE WHEN n % 1000 = 0 THEN 'suspended' ELSE 'active' END,
    CASE WHEN n % 20000 = 2 THEN '{admin}' WHEN n % 3 = 0 THEN '{staff}' ELSE '{}' END::text[],
    now() - n * interval '1 minute', now()
  FROM (SELECT n, 'user-' || lpad(n::text, 6, '0') AS name,
               chr(97 + n % 26) || '.' || n || '@example.com' AS address
          FROM generate_series(1, $1::int) AS n) AS people
"""
PREFIXES = (None, "user-0777", "user", "q.", "a.9", "no")
ROLES = (None, "admin", "staff", "unknown")
STATUSES = (None, *AccountStatus)


@pytest.fixture(scope="module")
async def crowded(databases: Databases, template: str) -> AsyncIterator[str]:
    """The URL of a database with many people."""
    name = await databases.create(template)
    connection = await asyncpg.connect(named(databases.url, name))
    await connection.execute("SET synchronous_commit = off")
    await connection.execute(SEED, PEOPLE)
    await connection.execute("VACUUM ANALYZE accounts")
    await connection.close()
    yield named(databases.url, name)
    await databases.drop(name)


@pytest.fixture(scope="module")
async def engine(crowded: str) -> AsyncIterator[AsyncEngine]:
    engine = AsyncEngine(create_engine(crowded).sync_engine)
    yield engine
    await engine.dispose()


class Explained:
    """Catches the statements that run, and asks for their plans."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.caught: list[tuple[str, tuple[Any, ...]]] = []
        event.listen(engine.sync_engine, "before_cursor_execute", self._catch)

    def _catch(self, _1: object, _2: object, sql: str, parameters: Any, *_3: object) -> None:
        self.caught.append((sql, tuple(parameters)))

    async def plans(self, mode: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Plan each statement as the server does early (custom) or later on (generic)."""
        event.remove(self.engine.sync_engine, "before_cursor_execute", self._catch)
        found = []
        async with self.engine.connect() as connection:
            await connection.exec_driver_sql(f"SET plan_cache_mode = force_{mode}_plan")
            for sql, parameters in self.caught:
                await connection.exec_driver_sql(f"PREPARE asked AS {sql}")
                given = ", ".join(map(quoted, parameters))
                rows = await connection.exec_driver_sql(
                    f"EXPLAIN (FORMAT JSON) EXECUTE asked({given})"
                )
                plan = rows.scalar_one()
                await connection.exec_driver_sql("DEALLOCATE asked")
                found.append((given, (plan if isinstance(plan, list) else json.loads(plan))[0]))
        return found


def quoted(value: object) -> str:
    if isinstance(value, list):
        return f"'{{{','.join(value)}}}'"
    return f"'{value.isoformat() if isinstance(value, datetime) else value}'"


def nodes(plan: Mapping[str, Any]) -> Iterator[str]:
    yield plan["Node Type"]
    for part in plan.get("Plans", ()):
        yield from nodes(part)


@pytest.mark.parametrize("mode", ["custom", "generic"])
async def test_no_list_search_or_order_reads_the_whole_table(
    engine: AsyncEngine, mode: str
) -> None:
    explained = Explained(engine)
    async with PostgresUnitOfWork(engine)() as tx:
        (somebody,) = await tx.directory.list_accounts(AccountQuery(prefix="user-05"), limit=1)
        for sort, status, role, prefix, is_first in itertools.product(
            AccountSort, STATUSES, ROLES, PREFIXES, (True, False)
        ):
            query = AccountQuery(sort=sort, status=status, role=role, prefix=prefix)
            after = None if is_first else sort.position(somebody)
            await tx.directory.list_accounts(query, after=after, limit=51)
    plans = await explained.plans(mode)
    assert len(plans) == 1 + 6 * 3 * 4 * 6 * 2
    whole = [given for given, plan in plans if "Seq Scan" in set(nodes(plan["Plan"]))]
    assert whole == []


async def test_administrators_and_holders_of_a_role_are_found_by_an_index(
    engine: AsyncEngine,
) -> None:
    explained = Explained(engine)
    async with PostgresUnitOfWork(engine)() as tx:
        assert len(await tx.directory.lock_admins()) == 5
        await tx.roles.put(Role(name="staff", scopes=frozenset()), NOW)
        explained.caught.pop()
        with pytest.raises(RoleInUse):
            await tx.roles.delete("staff")
    explained.caught = [each for each in explained.caught if "accounts" in each[0]]
    assert len(explained.caught) == 2
    for _, plan in await explained.plans("generic"):
        assert "Seq Scan" not in set(nodes(plan["Plan"]))


SESSIONS = """
INSERT INTO sessions (id, account_id, secret_hash, generation, created_at, rotated_at,
    idle_until, absolute_until)
SELECT gen_random_uuid(), id, uuid_send(gen_random_uuid()), 1, now(), now(),
    now() + interval '30 days', now() + interval '90 days'
  FROM accounts LIMIT 30000
"""
READ = """
SELECT coalesce(sum(seq_tup_read), 0)::int, coalesce(sum(idx_tup_fetch), 0)::int
  FROM pg_stat_user_tables
"""
TIMES = 20


async def rows_read(url: str, data: Path) -> tuple[float, float]:
    """Sign in and refresh; return how many rows one of each reads, in order and by index."""
    settings = load_settings(database_url=url, data_dir=data)
    async with open_gatepost(settings) as gatepost:
        await gatepost.administration.create_administrator(
            actor=Principal.operator(),
            username="root",
            email="root@example.com",
            password=PASSWORD,
            client=ClientContext(),
        )
    before = await read_so_far(url)
    async with open_gatepost(settings) as gatepost:
        sessions = gatepost.sessions
        for login in ("root", "root@example.com") * (TIMES // 2):
            signed_in = await sessions.log_in(
                login=login, password=PASSWORD, client=ClientContext()
            )
            await sessions.refresh(refresh_token=signed_in.refresh_token, client=ClientContext())
    after = await read_so_far(url)
    in_order, by_index = (now - then for now, then in zip(after, before, strict=True))
    return in_order / TIMES, by_index / TIMES


async def read_so_far(url: str) -> tuple[int, int]:
    """Ask PostgreSQL what was read; a connection that is closed has told all it knows."""
    connection = await asyncpg.connect(url)
    row = await connection.fetchrow(READ)
    await connection.close()
    return row[0], row[1]


async def test_re_13_signing_in_and_refreshing_reads_no_more_rows_than_of_an_empty_table(
    crowded: str, own_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEPOST_PASSWORD__MEMORY_KIB", "8")
    connection = await asyncpg.connect(crowded)
    await connection.execute("SET synchronous_commit = off")
    await connection.execute(SESSIONS)
    await connection.execute("ANALYZE sessions")
    await connection.close()
    few = await rows_read(own_url, tmp_path)
    many = await rows_read(crowded, tmp_path)
    # Below one: nothing as large as the table is read in order, whatever the machine.
    assert many[0] < 1
    assert sum(many) < 1.5 * sum(few)
