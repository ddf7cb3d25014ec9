"""A PostgreSQL server of our own, for development and tests; never for production."""

from typing import TYPE_CHECKING, Any

from .errors import EmbeddedPostgresError, InUse

if TYPE_CHECKING:
    from .server import EmbeddedPostgres, exists, running, start

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "InUse", "exists", "running", "start"]


def __getattr__(name: str) -> Any:
    # Late: who has a database needs of all this the name of the error at most.
    if name not in __all__:
        raise AttributeError(name)
    from . import server

    return getattr(server, name)
