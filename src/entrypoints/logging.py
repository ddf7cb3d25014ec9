"""Logs: one JSON object a line, or readable ones on a terminal. What may be secret is left out."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import PurePath
from traceback import StackSummary, walk_tb
from typing import Any, TextIO
from uuid import UUID

import structlog
from structlog.typing import ExcInfo, Processor

from ..application.correlation import REQUEST_ID, TRACEPARENT
from .settings import LogFormat, Settings

# Libraries that repeat what our own lines say, or log what they were given.
_QUIET = (
    "pgqueuer",
    "asyncio",
    "alembic",
    "uvicorn.access",
    "httpx2",
    "httpcore2",
    "opentelemetry",
)
_OURS = "gatepost."
# Of what a call of the standard library adds: our own fields. Others would add whole objects.
_OUR_EXTRAS = ("code", "error", "route")
_PLAIN = (str, int, float, UUID, date, timedelta, PurePath, type(None))
_NO_MORE_CAUSES = 8

# Made once: half of the time of a short line is the making of its encoder. What is no JSON is
# text here, and `_redacted` leaves nothing in whose text is more than a value.
_encode = json.JSONEncoder(ensure_ascii=True, default=str).encode
_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every logger of the process through one formatter to standard error, or `stream`."""
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _stamp,
        structlog.contextvars.merge_contextvars,
        _with_correlation,
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.ExtraAdder(_OUR_EXTRAS),
                *shared,
                _first_line,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(_described),
                _redacted,
                _renderer(settings, stream),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def request_writer(
    settings: Settings, stream: TextIO | None = None
) -> Callable[[dict[str, Any]], None]:
    """Make what writes the line that every request gets; its fields must be plain values.

    All that a line from elsewhere goes through on its way would cost as much as a small request.
    """
    stream = stream or sys.stderr
    render, write = _renderer(settings, stream), stream.write
    told = {"level": "info", "logger": f"{_OURS}requests", "event": "request"}

    def line(fields: dict[str, Any]) -> None:
        event = {"timestamp": datetime.now(UTC).isoformat(), **told, **fields}
        text = render(None, "info", _with_correlation(None, "info", event))
        # A full disk or a reader that went away must not cost the answer.
        with suppress(OSError, ValueError):
            # One call, so that lines of other threads stay whole; standard error keeps none back.
            write(f"{text}\n")

    return line


def _renderer(settings: Settings, stream: TextIO) -> Callable[[Any, str, Any], str]:
    chosen = settings.log.format
    if chosen is None:
        chosen = LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON
    if chosen is LogFormat.CONSOLE:
        return structlog.dev.ConsoleRenderer(colors=stream.isatty())
    return _as_json


def _as_json(_logger: Any, _name: str, event: Any) -> str:
    return _encode(event)


def _with_correlation(_logger: Any, _name: str, event: Any) -> Any:
    request_id, traceparent = REQUEST_ID.get(), TRACEPARENT.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    if traceparent is not None:
        _, event["trace_id"], event["span_id"], _ = traceparent.split("-")
    return event


def _first_line(_logger: Any, _name: str, event: Any) -> Any:
    """Cut what libraries say: after the first line come objects, and in them anything."""
    if not event["logger"].startswith(_OURS):
        event["event"] = event["event"].partition("\n")[0]
    return event


def _redacted(_logger: Any, _name: str, event: Any) -> Any:
    """Let plain values pass, and of everything else the name of its type alone.

    So no entity, request, key or exception ends up in a line because somebody logged it.
    """
    for name, value in event.items():
        if not isinstance(value, _PLAIN):
            event[name] = _plain(value)
    return event


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple, set, frozenset)):
        return [each if isinstance(each, _PLAIN) else _plain(each) for each in value]
    return f"<{type(value).__name__}>"


def _described(exc_info: ExcInfo) -> str:
    """Tell classes and places, and no message: drivers put values of parameters into theirs."""
    return "\n".join(_lines(exc_info[1], _NO_MORE_CAUSES))


def _lines(error: BaseException | None, causes: int) -> Iterator[str]:
    if error is None or causes == 0:
        return
    yield f"{type(error).__module__}.{type(error).__qualname__}"
    for frame in StackSummary.extract(walk_tb(error.__traceback__), lookup_lines=False):
        yield f"  {frame.filename}:{frame.lineno} {frame.name}"
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _lines(part, causes - 1)
    hidden = error.__suppress_context__
    yield from _lines(error.__cause__ or (None if hidden else error.__context__), causes - 1)
