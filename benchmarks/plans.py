"""How PostgreSQL answers the hot statements, lists and purges of a large database."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
from sqlalchemy import event

from benchmarks import seed
from benchmarks.statements import SQL, Subject
from gatepost.adapters.postgres.engine import create_engine
from gatepost.adapters.postgres.rows import row_to_account, row_to_session
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.application.ports.directory import AccountQuery, AccountSort
from gatepost.application.ports.storage import Transaction
from gatepost.domain.accounts import AccountStatus
from gatepost.domain.audit import AuditFilter, AuditType

# After five runs the server decides whether to keep one plan for all arguments.
_RUNS = 6
_MOST = 51
# Moments, the types of audit entries, and what no name goes beyond.
_SHORTENED = {
    r"'\d{4}-\d\d-\d\d [^']*'": "'…'",
    r"'\{(\w+\.\w+,){9}[^']*'": "'{…}'",
    r"ARRAY\[(\(\$\d+\)::text, ){9}[^]]*": "ARRAY[…",
    "\U0010ffff": "…",
}
_EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF)"
_HEAD = """# Query plans

Written by `python -m benchmarks.growth --plans` on a database with {size:,} accounts, as many
sessions and twice as many audit entries (PostgreSQL {version}). Each plan is the one that the
server has come to after {runs} runs, with what the next run did: rows at each step, pages of the
cache (`hit`) and pages fetched into it (`read`). `$1` stands where one plan serves all arguments;
where values stand, the server plans anew for each. Moments are left out.

What is prepared goes by its name in `src/adapters/postgres`; a list is put together from what is
asked for.
"""
Ask = Callable[[Transaction], Awaitable[Any]]


async def page(url: str, size: int) -> str:
    """Write the page for a database that `seed` filled."""
    connection = await asyncpg.connect(url)
    try:
        version = await connection.fetchval("SHOW server_version")
        parts = [_HEAD.format(size=size, version=version, runs=_RUNS)]
        subject = await _subject(connection, size // 3)
        for name, sql in SQL.items():
            arguments = [subject.arguments(name) for _ in range(_RUNS + 1)]
            parts.append(_section(name, await _plan(connection, sql, arguments)))
        async for name, sql, given in _listed(url, size):
            plan = await _plan(connection, sql, [given] * (_RUNS + 1))
            parts.append(_section(name, plan))
    finally:
        await connection.close()
    return "\n".join(parts)


def _section(name: str, plan: str) -> str:
    return f"## {name}\n\n```text\n{plan}\n```\n"


async def _subject(connection: asyncpg.Connection, number: int) -> Subject:
    account, session = seed.account_id(number), seed.session_id(number)
    return Subject(
        row_to_account(await connection.fetchrow(f"{_ROW.format('accounts')}", account)),
        row_to_session(await connection.fetchrow(f"{_ROW.format('sessions')}", session)),
    )


_ROW = "SELECT * FROM {} WHERE id = $1"


async def _plan(connection: asyncpg.Connection, sql: str, runs: Sequence[Sequence[object]]) -> str:
    """Run a statement some times, explain it, and undo all that."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"PREPARE asked AS {sql}")
        for given in runs[:-1]:
            await connection.execute(f"EXECUTE asked{_quoted(given)}")
        rows = await connection.fetch(f"{_EXPLAIN} EXECUTE asked{_quoted(runs[-1])}")
        await connection.execute("DEALLOCATE asked")
    finally:
        await transaction.rollback()
    text = "\n".join(row[0] for row in rows).partition("\nPlanning:")[0]
    for part, shown in _SHORTENED.items():
        text = re.sub(part, shown, text)
    return text


def _quoted(values: Sequence[object]) -> str:
    return f"({', '.join(map(_literal, values))})" if values else ""


def _literal(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value)
        case bytes():
            return f"'\\x{value.hex()}'"
        case list():
            return f"'{{{','.join(map(str, value))}}}'"
    return "'{}'".format(str(value).replace("'", "''"))


def _asked(size: int) -> dict[str, Ask]:
    """Name what administrators ask for, and what is purged by and by."""
    now, person = datetime.now(UTC), seed.account_id(size // 3)
    name = seed.username(size // 3, size)
    newest, by_name = AccountSort.NEWEST, AccountSort.USERNAME
    behind = (now.isoformat(), str(person))

    def listed(after: Sequence[str] | None = None, **asked: Any) -> Ask:
        query = AccountQuery(**asked)
        return lambda tx: tx.directory.list_accounts(query, after=after, limit=_MOST)

    def trail(before: Any = None, **asked: Any) -> Ask:
        return lambda tx: tx.audit.list_newest(AuditFilter(**asked), before=before, limit=_MOST)

    return {
        "list accounts, newest first": listed(),
        "list accounts, a later page": listed(behind, sort=newest),
        "list accounts by name, a later page": listed((name,), sort=by_name),
        "list accounts that are suspended": listed(status=AccountStatus.SUSPENDED),
        "list accounts with a role": listed(role="staff"),
        "search accounts, one is found": listed(prefix=name),
        "search accounts, a hundred are found": listed(prefix=name[:-2]),
        "search accounts, ten thousand are found": listed(prefix=name[:-4]),
        "search accounts, a hundred thousand are found": listed(prefix=name[:-5]),
        "search accounts, all are found": listed(prefix="user-"),
        "search accounts, none is found": listed(prefix="nobody"),
        "list sessions of an account": lambda tx: tx.sessions.list_live(person, now),
        "newest of the trail": trail(),
        "newest of the trail, a later page": trail((now, person)),
        "trail of one account": trail(subject=person),
        "trail of one type": trail(type=AuditType.SESSION_CREATED),
        "trail of a type that never was": trail(type=AuditType.KEY_CREATED),
        "purge accounts": lambda tx: tx.accounts.remove_expired(now, 1000),
        "purge sessions": lambda tx: tx.sessions.remove_ended(seed.session_id(0), now, 2000),
        "purge the trail": lambda tx: tx.audit.remove_before(now.replace(year=2000), 1000),
    }


async def _listed(url: str, size: int) -> AsyncIterator[tuple[str, str, Sequence[object]]]:
    """Yield what the adapters send for it, with its arguments."""
    async with _noting(url) as (uow, sent):
        for name, ask in _asked(size).items():
            sent.clear()
            async with uow() as tx:
                await ask(tx)
            for number, (sql, given) in enumerate(sent):
                yield name + f", {number + 1}" * (len(sent) > 1), sql, given


@asynccontextmanager
async def _noting(url: str) -> AsyncIterator[tuple[PostgresUnitOfWork, list[Any]]]:
    engine = create_engine(url)
    sent: list[Any] = []

    def note(_: Any, __: Any, sql: str, given: Any, *___: Any) -> None:
        sent.append((sql, given))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield PostgresUnitOfWork(engine), sent
    finally:
        await engine.dispose()
