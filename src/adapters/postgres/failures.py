"""What the driver and the pool can raise, told apart: an outage, or a mistake of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ...domain.errors import Unavailable

# InternalClientError (seen while backends die) is neither of the two before it; OSError
# includes TimeoutError.
_FAILURES = (
    DBAPIError,
    PoolTimeout,
    PendingRollbackError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
# ValueError: what asyncpg could not encode, or a DSN that it cannot read.
_MISTAKES = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.DataError,
    ValueError,
)


def _cause(error: BaseException) -> BaseException:
    return error.driver_exception if isinstance(error, DBAPIError) else error


@contextmanager
def outages_as_unavailable() -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        if isinstance(_cause(error), _MISTAKES):
            raise
        raise Unavailable from error
