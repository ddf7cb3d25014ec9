"""The audit trail is read by index, however long it is."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from gatepost.adapters.postgres.engine import create_engine
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.domain.audit import AuditFilter, AuditType
from gatepost.testing.builders import NOW

ROWS = 100_000
# A thousand people, a second between two entries, one theft in twenty thousand.
FILL = """
INSERT INTO audit_events (id, created_at, type, result, actor, subject)
SELECT gen_random_uuid(), $1::timestamptz - number * interval '1 second',
       CASE WHEN number % 20000 = 0 THEN 'session.refresh_reused' ELSE 'session.created' END,
       'success', person, person
  FROM generate_series(1, $2::int) AS number,
       LATERAL (SELECT lpad(to_hex(number % 1000), 32, '0')::uuid AS person) AS people
"""
ADA = UUID(int=7)
NOBODY = UUID(int=7_000_000)
LONG_AGO = NOW - timedelta(seconds=ROWS // 2)
FILTERS = {
    "everything": AuditFilter(),
    "by actor": AuditFilter(actor=ADA),
    "by subject": AuditFilter(subject=ADA),
    "by a common type": AuditFilter(type=AuditType.SESSION_CREATED),
    "by a rare type": AuditFilter(type=AuditType.REFRESH_REUSED),
    "by a type that never was": AuditFilter(type=AuditType.KEY_CREATED),
    "by time": AuditFilter(since=LONG_AGO, until=LONG_AGO + timedelta(minutes=5)),
    "by all of it": AuditFilter(
        actor=ADA, subject=ADA, type=AuditType.SESSION_CREATED, since=LONG_AGO, until=NOW
    ),
    "by nobody": AuditFilter(actor=NOBODY),
}


@pytest.fixture(scope="module")
async def engine(databases: Any, template: str) -> AsyncIterator[AsyncEngine]:
    name = await databases.create(template)
    url = urlunsplit(urlsplit(databases.url)._replace(path=f"/{name}"))
    # Not by the engine, whose limit of time is for what the service asks.
    connection = await asyncpg.connect(url)
    await connection.execute(FILL, NOW, ROWS)
    await connection.execute("ANALYZE audit_events")
    await connection.close()
    engine = AsyncEngine(create_engine(url).sync_engine)
    yield engine
    await engine.dispose()
    await databases.drop(name)


async def plan_of(engine: AsyncEngine, filter_: AuditFilter, *, paged: bool) -> dict[str, Any]:
    """Read a page as the service does, and explain the statement that it sent."""
    sent: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        sent.append((statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    before = (LONG_AGO + timedelta(minutes=4), ADA) if paged else None
    async with PostgresUnitOfWork(engine)() as tx:
        await tx.audit.list_newest(filter_, before=before, limit=51)
    event.remove(engine.sync_engine, "before_cursor_execute", note)
    (statement, parameters) = sent[-1]
    async with engine.connect() as connection:
        explained = await connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
        )
        found = explained.scalar_one()
    (plan,) = json.loads(found) if isinstance(found, str) else found
    return dict(plan["Plan"])


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from steps(inner)


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("name", FILTERS)
async def test_a_page_is_read_by_index_and_reads_little(
    engine: AsyncEngine, name: str, paged: bool
) -> None:
    plan = await plan_of(engine, FILTERS[name], paged=paged)
    for step in steps(plan):
        assert step["Node Type"] != "Seq Scan", plan
        assert step["Actual Rows"] + step.get("Rows Removed by Filter", 0) <= 400, plan
