"""Gunicorn instead of our own supervisor: `gunicorn -c python:gatepost.entrypoints.gunicorn`.

The lower-case names below are Gunicorn's settings and hooks, made from our settings; what its
command line says goes before them. Needs the extra `gatepost[gunicorn]`, and DATABASE_URL.
"""

import asyncio
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gunicorn import glogging
from starlette.types import Receive, Scope, Send

from .applications import Applications, open_applications
from .logging import configure_logging
from .metrics import FOLDER, forget, shared_folder
from .server import BACKLOG, GRACE_SECONDS, KEEP_ALIVE_SECONDS, SETTLE_SECONDS
from .settings import Settings, SettingsError, load


class Application:
    """Opened and closed by the lifespan; the port tells whether an operator asks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: Applications | None = None
        self.draining = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._opened is None:
            raise RuntimeError("The lifespan was not begun.")
        else:
            app = self._opened.public
            # The port of the socket, not of a header: nobody can claim it.
            if self._opened.management and scope["server"][1] == self._settings.management_port:
                app = self._opened.management
            await app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with open_applications(self._settings, self.draining.is_set) as self._opened:
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as failed:
            if self._opened is None:
                await send({"type": "lifespan.startup.failed", "message": str(failed)})
            raise
        await send({"type": "lifespan.shutdown.complete"})


class Logger(glogging.Logger):  # type: ignore[misc]
    """Hands over to our own logging, so that all lines have one form."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def _loaded() -> Settings:
    try:
        settings = load()
        # Whoever runs several processes has a database; none is started here.
        _ = settings.pooled_url
    except SettingsError as refused:
        lines = (f"gatepost: settings_invalid: {problem}" for problem in refused.problems)
        sys.exit("\n".join(lines))
    return settings


_settings = _loaded()
configure_logging(_settings)
_delay = max(_settings.shutdown_delay.total_seconds(), SETTLE_SECONDS)
_host = f"[{_settings.http.host}]" if ":" in _settings.http.host else _settings.http.host
_ports = (_settings.port, _settings.management_port)
_shared = ExitStack()
application = Application(_settings)

wsgi_app = f"{__name__}:application"
worker_class = "asgi"
logger_class = Logger
asgi_lifespan = "on"
workers = _settings.http.workers
bind = [f"{_host}:{port}" for port in _ports if port is not None]
backlog = BACKLOG
keepalive = KEEP_ALIVE_SECONDS
graceful_timeout = int(_delay + GRACE_SECONDS) + 2
# Whom to believe an address or a scheme is our own layer's matter.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
control_socket_disable = True


def on_starting(arbiter: Any) -> None:
    """Count in one folder, also where there is one worker: more may be added while it runs."""
    folder = _shared.enter_context(shared_folder(processes=max(workers, 2)))
    os.environ[FOLDER] = str(folder)


def post_worker_init(worker: Any) -> None:
    """On SIGTERM be not ready at once, and go on listening for a set delay, as `serve` does."""

    def drain() -> None:
        application.draining.set()
        worker.loop.call_later(_delay, worker.handle_exit_signal)

    worker.loop.add_signal_handler(signal.SIGTERM, drain)


def child_exit(arbiter: Any, worker: Any) -> None:
    forget(Path(os.environ[FOLDER]), worker.pid)


def on_exit(arbiter: Any) -> None:
    _shared.close()
