"""Which request something is done for: told along to jobs, other services and the log."""

from contextvars import ContextVar

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
# As W3C Trace Context writes it: `00-<trace id>-<span id>-<flags>`, and nothing that is not so.
TRACEPARENT: ContextVar[str | None] = ContextVar("traceparent", default=None)
