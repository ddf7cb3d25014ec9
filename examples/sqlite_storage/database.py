"""One SQLite file: its schema, its two connections, and rows that are entities."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Generic, NewType, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

from gatepost.domain.accounts import Username
from gatepost.domain.addresses import EmailAddress
from gatepost.domain.errors import Unavailable

T = TypeVar("T")

_SCHEMA = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
_WAIT_SECONDS = 3
# Type hints are slow to resolve, and repositories are made for each transaction.
_KNOWN: dict[type, dict[str, Callable[[Any], Any]]] = {}


class Connection:
    """A connection and the one thread that uses it.

    One thread keeps the order: a statement whose caller was cancelled still ends before the
    rollback begins.
    """

    def __init__(self, file: Path) -> None:
        self._raw = sqlite3.connect(
            file, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._raw.row_factory = sqlite3.Row
        self._raw.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
        )
        self._thread = ThreadPoolExecutor(1, "sqlite")

    async def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return await self._do(lambda: self._raw.execute(sql, _stored(values)).fetchall())

    async def change(self, sql: str, *values: object) -> int:
        """Execute, and return how many rows it changed."""
        return await self._do(lambda: self._raw.execute(sql, _stored(values)).rowcount)

    async def create(self) -> None:
        await self._do(lambda: self._raw.executescript(_SCHEMA))

    async def roll_back(self) -> None:
        """Undo what is open; after a commit nothing is."""
        await self._do(self._raw.rollback)

    def close(self) -> None:
        self._thread.shutdown()
        self._raw.close()

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            # Shielded, or a cancelled rollback that still waits its turn would never happen.
            return await asyncio.shield(asyncio.wrap_future(self._thread.submit(work)))
        except sqlite3.OperationalError:
            # Locked by another process for too long, full, or gone.
            raise Unavailable from None


class Rows(Generic[T]):
    """A table whose columns carry the names of an entity's fields."""

    def __init__(self, connection: Connection, table: str, entity: type[T]) -> None:
        self.connection = connection
        self._table = table
        self._entity = entity
        self._read = _columns(entity)

    async def find(self, condition: str = "TRUE", *values: object, tail: str = "") -> list[T]:
        """Read those that meet a condition; `tail` orders and limits."""
        sql = f"SELECT * FROM {self._table} WHERE {condition} {tail}"  # noqa: S608
        return [self.entity(row) for row in await self.connection.rows(sql, *values)]

    async def first(self, condition: str, *values: object, tail: str = "") -> T | None:
        found = await self.find(condition, *values, tail=f"{tail} LIMIT 1")
        return found[0] if found else None

    async def insert(self, entity: T, conflict: str = "ABORT", **more: object) -> bool:
        """Insert; False where `conflict` says to IGNORE one that is there."""
        row = self.row(entity) | more
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        sql = f"INSERT OR {conflict} INTO {self._table} ({names}) VALUES ({marks})"  # noqa: S608
        return bool(await self.connection.change(sql, *row.values()))

    async def update(self, entity: T, key: str = "id", **more: object) -> bool:
        """Write all fields back; False when it is gone."""
        row = self.row(entity) | more
        marks = ", ".join(f"{name} = ?" for name in row)
        sql = f"UPDATE {self._table} SET {marks} WHERE {key} = ?"  # noqa: S608
        return bool(await self.connection.change(sql, *row.values(), row[key]))

    async def remove(self, condition: str, *values: object, limit: int = -1) -> int:
        sql = (
            f"DELETE FROM {self._table} WHERE rowid IN "  # noqa: S608
            f"(SELECT rowid FROM {self._table} WHERE {condition} LIMIT ?)"
        )
        return await self.connection.change(sql, *values, limit)

    def row(self, entity: T) -> dict[str, object]:
        return {name: getattr(entity, name) for name in self._read}

    def entity(self, row: sqlite3.Row) -> T:
        return self._entity(**{name: read(row[name]) for name, read in self._read.items()})


def marks(values: Sequence[object]) -> str:
    """Spell placeholders for an IN."""
    return f"({', '.join('?' * len(values))})"


def _stored(values: Iterable[object]) -> list[object]:
    return [_store(value) for value in values]


def _store(value: object) -> object:
    if isinstance(value, datetime):
        # Of one width and zone, so that text sorts as time does.
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Username | EmailAddress):
        return value.value
    if isinstance(value, tuple | frozenset):
        return json.dumps(sorted(value) if isinstance(value, frozenset) else value)
    return value


def _columns(entity: Any) -> dict[str, Callable[[Any], Any]]:
    """Find, for each field that is a column, what makes its value of a stored one.

    A tuple of entities is no column, but a table of its own.
    """
    if entity not in _KNOWN:
        _KNOWN[entity] = _read_hints(entity)
    return _KNOWN[entity]


def _read_hints(entity: Any) -> dict[str, Callable[[Any], Any]]:
    hints = get_type_hints(entity)
    found = {field.name: _reader(hints[field.name]) for field in fields(entity)}
    return {name: read for name, read in found.items() if read is not None}


def _reader(hint: Any) -> Any:
    if isinstance(hint, NewType):
        return _reader(hint.__supertype__)
    if isinstance(hint, UnionType):
        (inner,) = (_reader(each) for each in get_args(hint) if each is not NoneType)
        return lambda value: None if value is None else inner(value)
    if get_origin(hint) in (tuple, frozenset):
        make, member = get_origin(hint), get_args(hint)[0]
        if member is str or issubclass(member, StrEnum):
            return lambda value: make(map(member, json.loads(value)))
        return None
    return datetime.fromisoformat if hint is datetime else hint
