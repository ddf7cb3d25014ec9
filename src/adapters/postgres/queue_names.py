"""Names of the job queue; imports nothing heavy, for the settings check them too."""

from collections.abc import Mapping

# What the migrations made. PgQueuer also reads unprefixed names (CHANNEL, QUEUE_TABLE, ...) from
# the environment, and would look for its objects under them.
MIGRATED: Mapping[str, str | None] = {
    "prefix": "",
    "db_schema": None,
    "channel": "ch_pgqueuer",
    "function": "fn_pgqueuer_changed",
    "statistics_table": "pgqueuer_statistics",
    "queue_status_type": "pgqueuer_status",
    "queue_table": "pgqueuer",
    "queue_table_log": "pgqueuer_log",
    "trigger": "tg_pgqueuer_changed",
    "schedules_table": "pgqueuer_schedules",
    "durability": "durable",
}
_PREFIX = "PGQUEUER_"
# Every other name counts with and without the prefix.
_SPELLED = {"prefix": (f"{_PREFIX}PREFIX",), "db_schema": ("DB_SCHEMA", f"{_PREFIX}SCHEMA")}


def renaming(environment: Mapping[str, str]) -> list[str]:
    """List the variables that would rename a part of the queue."""
    given = {name.upper(): name for name in environment}
    return sorted(
        given[spelling]
        for name, value in MIGRATED.items()
        for spelling in _SPELLED.get(name, (name.upper(), _PREFIX + name.upper()))
        if spelling in given and environment[given[spelling]] != value
    )
