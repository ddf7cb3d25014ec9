"""The connection of a transaction: hot statements go straight to the driver."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import sqlalchemy
from sqlalchemy import CursorResult, Executable, Table
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.util import greenlet_spawn

from .engine import let_go

_DIALECT = dialect()  # type: ignore[no-untyped-call]
# Whatever the database is set to.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_Convert = Callable[[Any], Any]


class Prepared:
    """A Core statement that is compiled once, when its module is imported.

    `inserts` names the table whose every column an insert gives. A `read` is a plain select: at
    READ COMMITTED it sees the same before BEGIN as after, so it opens no transaction.
    """

    def __init__(
        self, statement: ClauseElement, *, inserts: Table | None = None, read: bool = False
    ) -> None:
        columns = None if inserts is None else list(inserts.columns.keys())
        compiled: Any = statement.compile(dialect=_DIALECT, column_keys=columns)
        self.sql = str(compiled)
        self.opens = not read
        self._binds: list[tuple[str, Any, _Convert | None]] = [
            (name, compiled.params[name], _conversion(compiled.binds[name]))
            for name in compiled.positiontup
        ]

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Put values in the order of the statement; what is not given is a constant of it."""
        return [
            value if convert is None else convert(value)
            for value, convert in (
                (values.get(name, constant), convert) for name, constant, convert in self._binds
            )
        ]


def _conversion(bind: Any) -> _Convert | None:
    convert: _Convert | None = bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)
    return convert


def driver_of(core: sqlalchemy.Connection) -> asyncpg.Connection:
    """Return the driver's connection; asking for it through greenlets would cost a tenth."""
    return core.connection.driver_connection


class Connection:
    """Begins with the first statement that is no plain read; in doubt it is cut.

    The pool's connection is in autocommit: beginning and ending are said here.
    """

    def __init__(self, core: sqlalchemy.Connection, driver: asyncpg.Connection) -> None:
        self._core = core
        self._driver = driver
        self._is_cut = False

    async def row(self, statement: Prepared, values: Mapping[str, Any]) -> asyncpg.Record | None:
        """Return the first row."""
        if statement.opens:
            await self._begin()
        return await self._call(self._driver.fetchrow, statement.sql, *statement.arguments(values))

    async def run(self, statement: Prepared, values: Mapping[str, Any]) -> int:
        """Return how many rows were written."""
        await self._begin()
        tag = await self._call(self._driver.execute, statement.sql, *statement.arguments(values))
        return int(tag.rpartition(" ")[2])

    async def fetch(self, sql: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """Run a statement that is SQL already."""
        await self._begin()
        found: Sequence[asyncpg.Record] = await self._call(self._driver.fetch, sql, *arguments)
        return found

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run a statement through Core, which builds and compiles what is made on the spot."""
        await self._begin()
        return await greenlet_spawn(self._core.execute, statement, parameters)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what fails inside alone."""
        await self._begin()
        await self._call(self._driver.execute, "SAVEPOINT refusable")
        try:
            yield
        except asyncpg.PostgresError:
            await self._call(self._driver.execute, "ROLLBACK TO refusable")
            raise
        await self._call(self._driver.execute, "RELEASE refusable")

    async def commit(self) -> None:
        """Keep what was done; raises what leads to Unavailable if a statement had failed."""
        if not self._driver.is_in_transaction():
            return
        if await self._call(self._driver.execute, "COMMIT") != "COMMIT":
            # The server undoes it then, and its one word about that is no error.
            raise asyncpg.InFailedSQLTransactionError("The transaction was undone.")

    async def close(self) -> None:
        """Undo what was not committed."""
        if self._is_cut or self._driver.is_closed():
            return
        if self._driver.is_in_transaction():
            await self._call(self._driver.execute, "ROLLBACK")

    async def _begin(self) -> None:
        if not self._driver.is_in_transaction():
            await self._call(self._driver.execute, _BEGIN)

    async def _call(self, call: Callable[..., Any], *arguments: object) -> Any:
        try:
            return await call(*arguments)
        except (asyncpg.PostgresError, ValueError):
            raise
        except BaseException as error:
            self._is_cut = True
            let_go(self._driver, error)
            await greenlet_spawn(self._core.invalidate, error)
            raise
