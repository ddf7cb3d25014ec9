"""A PostgreSQL server of our own, for development and tests; never for production."""

from .errors import EmbeddedPostgresError, InUse
from .server import EmbeddedPostgres, exists, running, start

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "InUse", "exists", "running", "start"]
