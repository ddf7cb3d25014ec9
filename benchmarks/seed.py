"""A database with many accounts, filled by COPY: the rows are made by PostgreSQL itself.

Every account has a session, and two entries in the audit trail. Ids grow with time, as those of
version 7 do; names have nothing to do with the order of coming, as in life.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg

from gatepost.adapters.argon2 import Argon2PasswordHasher
from gatepost.adapters.embedded import EmbeddedPostgres, exists, start
from gatepost.adapters.postgres.migrate import upgrade
from gatepost.domain.sessions import RefreshClaim, SessionId
from tests.service import PASSWORD

SECRET = bytes(range(16))
# Coprime to every size that is asked for: it deals each name to one account.
_DEALER = 2_654_435_761
_ACCOUNT, _SESSION, _EVENT = 1, 2, 3
_BUFFERED = 64
# Of the size that a server of its own would have at least; the rest is for filling it quickly.
_SETTINGS = {
    "shared_buffers": "512MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "4GB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}


def _id(table: int, number: str = "n") -> str:
    """Write the expression of what `id_of` computes."""
    chance = f"to_hex({number}::bigint * {_DEALER} % 72057594037927936)"
    return f"(lpad(to_hex({number}), 16, '0') || '{table}0' || lpad({chance}, 14, '0'))::uuid"


def id_of(table: int, number: int) -> UUID:
    return UUID(f"{number:016x}{table}0{number * _DEALER % 2**56:014x}")


def account_id(number: int) -> UUID:
    return id_of(_ACCOUNT, number)


def session_id(number: int) -> SessionId:
    return SessionId(id_of(_SESSION, number))


def claim(number: int, generation: int = 0) -> RefreshClaim:
    return RefreshClaim(session_id(number), SECRET, generation)


def username(number: int, size: int) -> str:
    return f"user-{number * _DEALER % size:08}"


_MOMENT = "timestamptz '2025-01-01Z' + n * interval '1 s'"
_ROWS = {
    "accounts": f"""
        SELECT {_id(_ACCOUNT)} AS id, name AS username, name AS username_key, email,
               email AS email_key, true AS email_verified, false AS is_placeholder,
               '{{password_hash}}' AS password_hash, 'en' AS locale, 'active' AS status,
               CASE WHEN n % 1000 = 0 THEN '{{{{staff}}}}' ELSE '{{{{}}}}' END::text[] AS roles,
               {_MOMENT} AS created_at, {_MOMENT} AS updated_at
          FROM (SELECT n, 'user-' || lpad(place::text, 8, '0') AS name,
                       chr((97 + place % 26)::int) || '.' || place || '@example.com' AS email
                  FROM (SELECT n, n::bigint * {_DEALER} % {{size}} AS place
                          FROM generate_series(0, {{size}} - 1) AS n) AS places) AS people""",
    "sessions": f"""
        SELECT {_id(_SESSION)} AS id, {_id(_ACCOUNT)} AS account_id,
               '\\x{hashlib.sha256(SECRET).hexdigest()}'::bytea AS secret_hash,
               0::bigint AS generation, {_MOMENT} AS created_at, {_MOMENT} AS rotated_at,
               timestamptz '{{until}}' AS idle_until, timestamptz '{{until}}' AS absolute_until
          FROM generate_series(0, {{size}} - 1) AS n""",
    "audit_events": f"""
        SELECT {_id(_EVENT, "event")} AS id, {_MOMENT} AS created_at,
               CASE event % 2 WHEN 0 THEN 'account.registered' ELSE 'session.created' END AS type,
               'success' AS result, {_id(_ACCOUNT)} AS actor, {_id(_ACCOUNT)} AS subject
          FROM (SELECT event, event / 2 AS n
                  FROM generate_series(0, 2 * {{size}} - 1) AS event) AS events""",
}  # fmt: skip


@contextmanager
def cluster(folder: Path) -> Iterator[EmbeddedPostgres]:
    """Run a PostgreSQL for databases of all sizes; they stay in the folder."""
    if not exists(folder):
        with start(folder) as fresh:
            asyncio.run(_configure(fresh.url))
    with start(folder) as server:
        yield server


async def _configure(url: str) -> None:
    connection = await asyncpg.connect(url)
    for name, value in _SETTINGS.items():
        await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    await connection.close()


async def database(server: EmbeddedPostgres, size: int) -> str:
    """Return the URL of a database with so many accounts; fills one unless there is one."""
    connection = await asyncpg.connect(server.url)
    try:
        name, unfinished = f"accounts_{size}", f"unfinished_{size}"
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            await connection.execute(f"DROP DATABASE IF EXISTS {unfinished}")
            await connection.execute(f"CREATE DATABASE {unfinished}")
            await upgrade(_named(server.url, unfinished))
            await _seed(_named(server.url, unfinished), size)
            await connection.execute(f"ALTER DATABASE {unfinished} RENAME TO {name}")
    finally:
        await connection.close()
    return _named(server.url, name)


def _named(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def _seed(url: str, size: int) -> None:
    """Fill the empty tables as a restore does: rows first, then what is built upon them."""
    password_hash = await _hash()
    until = datetime(datetime.now(UTC).year + 2, 1, 1, tzinfo=UTC)
    source, target = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        for table, rows in _ROWS.items():
            sql = rows.format(size=size, password_hash=password_hash, until=until)
            await _fill(source, target, table, sql)
            # What is to be known of the rows, and the map of what all can see.
            await target.execute(f"VACUUM ANALYZE {table}")
        await target.execute("CHECKPOINT")
    finally:
        await source.close()
        await target.close()


async def _hash() -> str:
    hasher = Argon2PasswordHasher(memory_kib=8, time_cost=1)
    try:
        return await hasher.hash(PASSWORD)
    finally:
        hasher.close()


async def _fill(
    source: asyncpg.Connection, target: asyncpg.Connection, table: str, sql: str
) -> None:
    """Copy the rows of a select into a table, by the binary format, with little in memory."""
    columns = [each.name for each in (await source.prepare(sql)).get_attributes()]
    indexes = await _take_indexes(target, table)
    parts: asyncio.Queue[bytes] = asyncio.Queue(_BUFFERED)

    async def read() -> None:
        await source.copy_from_query(sql, output=parts.put, format="binary")
        await parts.put(b"")

    async def arriving() -> AsyncIterator[bytes]:
        while part := await parts.get():
            yield part

    async with target.transaction(), asyncio.TaskGroup() as tasks:
        # Rows of a table that is emptied in the same transaction need no log, and come frozen.
        await target.execute(f"TRUNCATE {table} CASCADE")
        # Each row's account is there: it need not be looked for ten million times.
        await target.execute("SET LOCAL session_replication_role = replica")
        tasks.create_task(read())
        await target.copy_to_table(
            table, source=arriving(), columns=columns, format="binary", freeze=True
        )
        for statement in indexes:
            await target.execute(statement)


async def _take_indexes(connection: asyncpg.Connection, table: str) -> list[str]:
    """Drop the indexes that are no constraints, and return how to make them again."""
    found = await connection.fetch(
        "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition"
        " FROM pg_index WHERE indrelid = $1::regclass AND NOT EXISTS"
        " (SELECT FROM pg_constraint WHERE conindid = indexrelid)",
        table,
    )
    for index in found:
        await connection.execute(f"DROP INDEX {index['name']}")
    return [index["definition"] for index in found]
