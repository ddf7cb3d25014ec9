"""Connections: one spelling of the URL, and limits on everything that could hang."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import greenlet_spawn

from .dsn import to_dsn, without_pool_mode

CONNECT_TIMEOUT = 2.0
CHECKOUT_TIMEOUT = 2.0
STATEMENT_TIMEOUT = 3.0
# Longer than the server's limit, which should act first; this one is for a silent network.
_SILENCE_TIMEOUT = 3.5
_IDLE_IN_TRANSACTION = 10.0
# Connections of a process: for transactions, and for each kind of single reads.
POOL_SIZE = 8
READ_POOL_SIZE = 4
# For the driver to ask the server to stop what was given up; it would hold its locks until its
# time is up, with nobody waiting for it.
_FAREWELL_SECONDS = 0.25
_LENT = "gatepost.lent"
_STARTED = "gatepost.started"

# Is told of each statement that ended: its text with placeholders, seconds, class of its error.
QueryObserver = Callable[[str, float, str | None], None]
_observer: QueryObserver | None = None


def observe_queries(observer: QueryObserver | None) -> None:
    """Tell of the statements on connections that are opened from now on; nobody with None.

    For the process, as its traces are. Without an observer a statement costs nothing more.
    """
    global _observer
    _observer = observer


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


async def connect(
    dsn: str,
    *,
    statement_timeout: float = STATEMENT_TIMEOUT,
    lock_timeout: float = 0,
    **options: Any,
) -> asyncpg.Connection:
    """Open one connection; a `statement_timeout` of zero sets no limit.

    Behind a transaction pooler the server's limits are those of its role: what a session sets
    would hold for whoever comes next, and poolers refuse it.
    """
    dsn, pooled = without_pool_mode(dsn)
    settings = {"application_name": "gatepost"}
    if pooled:
        # A named statement would be on one connection, and be asked for on another.
        options["statement_cache_size"] = 0
    else:
        settings |= {
            "statement_timeout": _milliseconds(statement_timeout),
            "lock_timeout": _milliseconds(lock_timeout),
            "idle_in_transaction_session_timeout": _milliseconds(_IDLE_IN_TRANSACTION),
            # For what is a transaction by itself, whatever the database is set to.
            "default_transaction_isolation": "read committed",
        }
    # asyncpg's own limit holds for each address of a host; this one for all of them.
    async with asyncio.timeout(CONNECT_TIMEOUT):
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT,
            command_timeout=_SILENCE_TIMEOUT if statement_timeout else None,
            server_settings=settings,
            **options,
        )


class Engine:
    """SQLAlchemy's engine over the asynchronous driver.

    As much of `sqlalchemy.ext.asyncio` as is needed: to import that one imports the ORM, 6 MiB.
    """

    def __init__(self, sync_engine: sqlalchemy.Engine) -> None:
        self.sync_engine = sync_engine

    async def dispose(self) -> None:
        await greenlet_spawn(self.sync_engine.dispose)


def create_engine(url: str, *, pool_size: int = POOL_SIZE, max_overflow: int = 0) -> Engine:
    """Make the engine; nothing is connected yet. Raises ValueError for another URL."""
    dsn = to_dsn(url)

    async def connected() -> asyncpg.Connection:
        return await connect_observed(dsn)

    engine = sqlalchemy.create_engine(
        "postgresql+asyncpg://",
        connect_args={"async_creator_fn": connected, **_preparing(dsn)},
        # A unit of work says itself where it begins and ends.
        isolation_level="AUTOCOMMIT",
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=CHECKOUT_TIMEOUT,
        pool_use_lifo=True,
        hide_parameters=True,
    )
    event.listen(engine, "checkout", _refuse_closed)
    event.listen(engine, "handle_error", _cut_off)
    if _observer is not None:
        _observe(engine, _observer)
    return Engine(engine)


def _observe(engine: sqlalchemy.Engine, observer: QueryObserver) -> None:
    def started(connection: Connection, *_: object) -> None:
        connection.info[_STARTED] = time.perf_counter()

    def ended(connection: Connection, _: object, statement: str, *__: object) -> None:
        observer(statement, time.perf_counter() - connection.info[_STARTED], None)

    def failed(context: ExceptionContext) -> None:
        connection, error = context.connection, context.original_exception
        if connection is not None and context.statement is not None:
            seconds = time.perf_counter() - connection.info.get(_STARTED, time.perf_counter())
            cause = getattr(error, "driver_exception", None) or error
            observer(context.statement, seconds, type(cause).__name__)

    event.listen(engine, "before_cursor_execute", started)
    event.listen(engine, "after_cursor_execute", ended)
    event.listen(engine, "handle_error", failed)


def _preparing(dsn: str) -> dict[str, Any]:
    """Tell SQLAlchemy, which names and keeps statements itself, when not to."""
    _, pooled = without_pool_mode(dsn)
    unnamed = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
    return unnamed if pooled else {}


def _refuse_closed(connection: object, entry: ConnectionPoolEntry, proxy: object) -> None:
    """Replace a pooled connection that the server closed; costs no round trip.

    Without it each connection that was idle during a restart would fail one transaction.
    """
    driver: asyncpg.Connection | None = entry.driver_connection
    if driver is not None and not driver.is_closed():
        entry.info[_LENT] = True
        return
    if _LENT in entry.info:
        raise DisconnectionError("closed by the server")
    # Replaced again and again, the pool would give up with what looks like a mistake of ours.
    raise ConnectionResetError("closed by the server as soon as it was opened")


def _cut_off(context: ExceptionContext) -> None:
    """Cut a connection that may be out of step; taking leave of a silent server takes seconds."""
    connection = context.connection
    if connection is None or connection.invalidated or not _is_unanswered(context):
        return
    driver: asyncpg.Connection | None = connection.connection.driver_connection
    if driver is not None:
        let_go(driver, context.original_exception)


def let_go(driver: asyncpg.Connection, error: BaseException) -> None:
    """Cut a connection for what went wrong on it, or soon when only the caller gave up."""
    if isinstance(error, asyncio.CancelledError):
        asyncio.get_running_loop().call_later(_FAREWELL_SECONDS, driver.terminate)
    else:
        driver.terminate()


def _is_unanswered(context: ExceptionContext) -> bool:
    """Tell whether a call ended, or was given up, without a word from the server."""
    error = context.original_exception
    cause = getattr(error, "driver_exception", error)
    return not isinstance(cause, (asyncpg.PostgresError, ValueError))


async def connect_observed(dsn: str, **options: Any) -> asyncpg.Connection:
    """Connect, and tell of what goes past Core: the driver does not log what Core prepares."""
    connection = await connect(dsn, **options)
    if (observer := _observer) is not None:

        def ended(query: asyncpg.connection.LoggedQuery) -> None:
            error = query.exception
            observer(query.query, query.elapsed, error and type(error).__name__)

        connection.add_query_logger(ended)
    return connection
