"""Spans by OpenTelemetry: what was asked, which route, which statement; never with which values.

Importing this module needs the extra `otel`. The standard variables (`OTEL_*`) say where spans go,
how many, and under which name. Paths, query strings, headers, addresses, parameters and messages
of exceptions are in no span: they may hold anything.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# One that has a name, but no place here (semantic conventions for HTTP spans).
_OTHER_METHOD = "_OTHER"
_NO_ROUTE = "none"
_LONGEST_STATEMENT = 2000
_LAST_SECONDS = 3.0
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_w3c = TraceContextTextMapPropagator()


class NoExporter(Exception):
    """The variables ask for an exporter that is not installed. Its text names the variable."""


class OtelSpans:
    """Makes spans and sends them in batches from a thread of its own; `close` at the end.

    Not the provider of the whole process: libraries that look for that one would add spans of
    their own, which hold more than ours do.
    """

    def __init__(self, version: str, exporter: SpanExporter | None = None) -> None:
        own = Resource({"service.name": "gatepost", "service.version": version})
        self._provider = TracerProvider(
            resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _exporter()))
        self._tracer = self._provider.get_tracer("gatepost", version)

    def close(self) -> None:
        """Send what waits, for a moment; a collector that is gone must not keep a process."""
        # The library's own limits are those of the exporter, and its retries come on top.
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(_LAST_SECONDS)

    @contextmanager
    def request(self, method: str, carrier: Mapping[str, str]) -> Iterator[str]:
        """Span a request, whose headers `carrier` holds; yields its own `traceparent`."""
        known = method if method in _METHODS else _OTHER_METHOD
        with self._tracer.start_as_current_span(
            known,
            context=_w3c.extract(carrier, Context()),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": known},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield _traceparent(span)

    def answered(self, route: str, status: int) -> None:
        """Tell the span of the current request how that ended."""
        span = trace.get_current_span()
        span.set_attribute("http.response.status_code", status)
        if route != _NO_ROUTE:
            span.set_attribute("http.route", route)
            method = getattr(span, "attributes", {}).get("http.request.method", "")
            span.update_name(f"{method} {route}")
        if status >= 500:
            _failed(span, str(status))

    @contextmanager
    def job(self, name: str, job_id: str, origin: str | None) -> Iterator[str]:
        """Span a job; linked to what queued it, since that is over and may have queued more."""
        with self._tracer.start_as_current_span(
            f"process {name}",
            context=Context(),
            kind=SpanKind.CONSUMER,
            links=_links(origin),
            attributes={
                "messaging.operation.name": "process",
                "messaging.destination.name": name,
                "messaging.message.id": job_id,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield _traceparent(span)
            except BaseException as error:
                _failed(span, type(error).__qualname__)
                raise

    def query(self, sql: str, seconds: float, error: str | None) -> None:
        """Span a statement that has just ended, where it was part of something."""
        parent = trace.get_current_span().get_span_context()
        # Not `is_recording`: what it was part of may have been answered by now.
        if not (parent.is_valid and parent.trace_flags.sampled):
            return
        ended, text = time.time_ns(), " ".join(sql.split())
        operation = text.partition(" ")[0].upper().rstrip(";")
        span = self._tracer.start_span(
            operation,
            kind=SpanKind.CLIENT,
            start_time=ended - int(seconds * 1e9),
            attributes={
                "db.system.name": "postgresql",
                "db.operation.name": operation,
                "db.query.text": text[:_LONGEST_STATEMENT],
            },
        )
        if error is not None:
            _failed(span, error)
        span.end(ended)


def _exporter() -> SpanExporter:
    name = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    variable = "OTEL_TRACES_EXPORTER"
    if name == "otlp":
        variable = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
        if variable not in os.environ:
            variable = "OTEL_EXPORTER_OTLP_PROTOCOL"
        name = _PROTOCOLS.get(os.environ.get(variable, "http/protobuf"), "")
    for found in entry_points(group="opentelemetry_traces_exporter", name=name):
        exporter: SpanExporter = found.load()()
        return exporter
    raise NoExporter(f"{variable}: no such exporter is installed")


def _failed(span: Span, error: str) -> None:
    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", error)


def _traceparent(span: Span) -> str:
    own = span.get_span_context()
    return f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"


def _links(origin: str | None) -> list[Link]:
    if origin is None:
        return []
    context = _w3c.extract({"traceparent": origin}, Context())
    return [Link(trace.get_current_span(context).get_span_context())]
