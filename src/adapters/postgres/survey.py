"""What an operator should know of a database server; reads, and changes nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from ...application.ports.security import Clock
from .dsn import to_dsn
from .engine import connect
from .failures import outages_as_unavailable
from .tables import metadata

_QUEUE = ("pgqueuer", "pgqueuer_log", "pgqueuer_schedules")
_SERVER = """
SELECT current_setting('server_version_num')::int AS version,
       current_setting('transaction_read_only') = 'on' AS read_only,
       rolsuper AS superuser,
       current_setting('statement_timeout') <> '0' AS bounded,
       current_setting('default_transaction_isolation') AS isolation,
       inet_server_addr() IS NULL OR coalesce(
           (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted,
       coalesce(host(inet_server_addr()), '') AS address,
       least(current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true)::int, 0),
             nullif(rolconnlimit, -1), nullif(datconnlimit, -1)) AS connections,
       (SELECT count(*) FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND application_name <> 'gatepost') AS others
  FROM pg_roles, pg_database
 WHERE rolname = current_user AND datname = current_database()
"""
# One table a row, with what the role may not do.
_RIGHTS = """
SELECT relname
  FROM pg_class
 WHERE relname = ANY ($1) AND relkind IN ('r', 'p') AND pg_table_is_visible(oid)
   AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
            AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
 ORDER BY relname
"""
_HAS_TABLE = "SELECT to_regclass($1) IS NOT NULL"
_REVISION = "SELECT version_num FROM alembic_version"
# Workers set when they purge next, so a moment long past means that none is there.
_OVERDUE = """
SELECT CASE WHEN count(*) > 0
            THEN greatest(0, extract(epoch FROM clock_timestamp() - max(next_run)))::float8 END
  FROM pgqueuer_schedules
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """`connections`: how many this role may have in all; `others`: taken by other programs;
    `bounded`: whether statements end by themselves; `isolation`: of what begins without saying.

    `clock_ahead`: seconds by which the server's clock is ahead of ours, known to half of
    `round_trip`. `purge_overdue`: seconds since a worker should have purged; None if none ever
    ran.
    """

    version: int
    read_only: bool
    superuser: bool
    bounded: bool
    isolation: str
    encrypted: bool
    address: str
    connections: int
    others: int
    clock_ahead: float
    round_trip: float
    revision: str | None
    missing_rights: tuple[str, ...]
    purge_overdue: float | None


async def survey(url: str, now: Clock) -> ServerFacts:
    """Look at a server on a connection of its own; raises Unavailable."""
    with outages_as_unavailable():
        connection = await connect(to_dsn(url))
        try:
            return await _read(connection, now)
        finally:
            await connection.close(timeout=2)


async def _read(connection: asyncpg.Connection, now: Clock) -> ServerFacts:
    server = await connection.fetchrow(_SERVER)
    ahead, round_trip = await _clock(connection, now)
    tables = [*(table.name for table in metadata.sorted_tables), *_QUEUE]
    missing = tuple(row["relname"] for row in await connection.fetch(_RIGHTS, tables))
    return ServerFacts(
        **server,
        clock_ahead=ahead,
        round_trip=round_trip,
        revision=await _value(connection, "alembic_version", _REVISION),
        missing_rights=missing,
        purge_overdue=await _value(connection, "pgqueuer_schedules", _OVERDUE),
    )


async def _clock(connection: asyncpg.Connection, now: Clock) -> tuple[float, float]:
    before = now()
    there: datetime = await connection.fetchval("SELECT clock_timestamp()")
    round_trip = now() - before
    return (there - before - round_trip / 2).total_seconds(), round_trip.total_seconds()


async def _value(connection: asyncpg.Connection, table: str, sql: str) -> Any:
    """Read one value of a table that may not be there, or not be ours to read."""
    if not await connection.fetchval(_HAS_TABLE, table):
        return None
    try:
        return await connection.fetchval(sql)
    except asyncpg.InsufficientPrivilegeError:
        return None
