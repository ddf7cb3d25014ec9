"""Traces, where the standard variables of OpenTelemetry ask for them; else they cost nothing."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import __version__
from ..adapters.postgres.engine import observe_queries
from ..application.correlation import TRACEPARENT
from ..application.ports.delivery import Job
from .http.options import RequestLog
from .request_log import UNLOGGED

if TYPE_CHECKING:
    # The library is an extra, and takes a moment to import.
    from ..adapters.otel import OtelSpans

_OFF, _NONE = "true", "none"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_CARRIED = (b"traceparent", b"tracestate")
log = structlog.get_logger(__name__)


class Traces(Protocol):
    """Spans around what a process does."""

    def serving(self, app: ASGIApp) -> ASGIApp:
        """Have each request to an application in a span."""
        return app

    def told(self, log: RequestLog) -> RequestLog:
        """Have the span of a request know what the log is told."""
        return log

    def job(self, job: Job) -> AbstractContextManager[None]:
        """Have a job in a span."""
        return nullcontext()


class Untraced(Traces):
    """Makes no spans."""


@contextmanager
def tracing() -> Iterator[Traces]:
    """Send spans where the environment says, until the end; wrong variables stop nothing.

    Before the database is connected to: its statements are seen from then on.
    """
    spans = _spans() if is_wanted(os.environ) else None
    if spans is None:
        yield Untraced()
        return
    observe_queries(spans.query)
    try:
        yield _Traced(spans)
    finally:
        observe_queries(None)
        spans.close()


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment asks for traces: by an endpoint, or an exporter by name."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "")
    if environ.get("OTEL_SDK_DISABLED", "").lower() == _OFF or exporter == _NONE:
        return False
    return bool(exporter) or any(environ.get(name) for name in _ENDPOINTS)


def _spans() -> "OtelSpans | None":
    try:
        from ..adapters.otel import NoExporter, OtelSpans
    except ImportError:
        log.warning("no traces", why="they need the extra gatepost[otel]")
        return None
    try:
        return OtelSpans(__version__)
    except NoExporter as missing:
        log.warning("no traces", why=str(missing))
    except Exception as wrong:
        # A sampler, a header, a certificate: the libraries raise whatever they like.
        log.warning("no traces", error=type(wrong).__name__)
    return None


class _Traced(Traces):
    def __init__(self, spans: "OtelSpans") -> None:
        self._spans = spans

    def serving(self, app: ASGIApp) -> ASGIApp:
        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            # By the path, since no route is known yet: probes would be most of the traces.
            if scope["type"] != "http" or scope["path"] in UNLOGGED:
                await app(scope, receive, send)
                return
            with self._spans.request(scope["method"], _carrier(scope)) as own:
                # Whoever looks for the parent finds our span.
                others = [pair for pair in scope["headers"] if pair[0] != b"traceparent"]
                headers = [*others, (b"traceparent", own.encode())]
                await app({**scope, "headers": headers}, receive, send)

        return traced

    def told(self, log: RequestLog) -> RequestLog:
        def tell(method: str, route: str, status: int, *more: Any) -> None:
            self._spans.answered(route, status)
            log(method, route, status, *more)

        return tell

    @contextmanager
    def job(self, job: Job) -> Iterator[None]:
        origin = TRACEPARENT.get()
        with self._spans.job(job.name.value, str(job.id), origin) as own:
            before = TRACEPARENT.set(own)
            try:
                yield
            finally:
                TRACEPARENT.reset(before)


def _carrier(scope: Scope) -> dict[str, str]:
    return {
        name.decode(): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in _CARRIED
    }
