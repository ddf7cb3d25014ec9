"""What the driver and the pool can raise, told apart: an outage, or a mistake of ours."""

from contextlib import AbstractContextManager

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


class _Translating(AbstractContextManager[None]):
    """Without state, so that one does for all: the library's way costs each statement its own."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, _FAILURES) and not isinstance(_cause(error), _MISTAKES):
            raise Unavailable from error


_TRANSLATING = _Translating()


def outages_as_unavailable() -> AbstractContextManager[None]:
    return _TRANSLATING
