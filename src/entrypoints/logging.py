"""Logs: one JSON object a line, or readable ones on a terminal."""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import Processor

from .request_id import REQUEST_ID
from .settings import LogFormat, Settings

# Libraries that repeat what our own lines say, or log what they were given.
_QUIET = ("pgqueuer", "asyncio", "alembic", "uvicorn.access", "httpx2", "httpcore2")


def configure_logging(settings: Settings) -> None:
    """Send every logger of the process through one formatter to standard error."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.contextvars.merge_contextvars,
        _with_request_id,
        _without_colour,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _renderer(settings),
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


def _renderer(settings: Settings) -> Processor:
    chosen = settings.log.format
    if chosen is None:
        chosen = LogFormat.CONSOLE if sys.stderr.isatty() else LogFormat.JSON
    if chosen is LogFormat.CONSOLE:
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    return structlog.processors.JSONRenderer(ensure_ascii=True)


def _with_request_id(_logger: Any, _name: str, event: Any) -> Any:
    request_id = REQUEST_ID.get()
    return event if request_id is None else {"request_id": request_id} | event


def _without_colour(_logger: Any, _name: str, event: Any) -> Any:
    # uvicorn repeats its message with terminal codes.
    event.pop("color_message", None)
    return event
