"""The id of the request that is being answered: bound by HTTP, read by the log."""

from contextvars import ContextVar

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
