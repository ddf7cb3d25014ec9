"""Serving HTTP: one process, or several under a supervisor that share a socket."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from .. import __version__
from .container import open_gatepost
from .http.app import create_app
from .http.options import HttpOptions
from .processes import Child, supervise
from .settings import PREFIX, Settings, SettingsError

_BACKLOG = 2048
_GRACE_SECONDS = 20


def listen(settings: Settings) -> socket.socket:
    """Bind the socket that every server process shares; raises SettingsError when it is taken."""
    family = socket.AF_INET6 if ":" in settings.http.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.http.host, settings.port))
    except OSError as refused:
        listener.close()
        reason = refused.strerror or "cannot be bound"
        raise SettingsError(
            [f"PORT: {settings.http.host}:{settings.port}, {reason.lower()}"]
        ) from None
    listener.listen(_BACKLOG)
    listener.set_inheritable(True)
    return listener


def server_child(settings: Settings, listener: socket.socket, name: str = "server") -> Child:
    """Describe one server process on a shared socket."""
    return Child(
        name=name,
        argv=[
            sys.executable,
            "-m",
            "gatepost",
            "serve",
            "--workers",
            "1",
            "--fd",
            str(listener.fileno()),
        ],
        env=child_environment(settings),
        pass_fds=(listener.fileno(),),
    )


def child_environment(settings: Settings) -> dict[str, str]:
    """Say what a child cannot find out itself: the database, and a share of the cores."""
    url = settings.database_url
    return {
        **({"DATABASE_URL": url.get_secret_value()} if url else {}),
        "PORT": str(settings.port),
        f"{PREFIX}PASSWORD__CONCURRENCY": str(settings.hash_concurrency),
    }


def serve_http(settings: Settings, fd: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    listener = listen(settings) if fd is None else socket.socket(fileno=fd)
    with listener:
        if settings.http.workers == 1:
            with asyncio.Runner(loop_factory=_loop) as runner:
                runner.run(_serve(settings, listener))
            return 0
        children = [
            server_child(settings, listener, f"server-{number}")
            for number in range(settings.http.workers)
        ]
        return supervise(children, ready=lambda: True, on_ready=lambda: None)


def _loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn's own handler raises them again before we have closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(settings: Settings, listener: socket.socket) -> None:
    draining = asyncio.Event()
    async with open_gatepost(settings) as gatepost:
        app = create_app(gatepost, http_options(settings, draining))
        server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        drain = asyncio.create_task(_drain(settings, draining, server))
        # What start-up made lives for ever: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        await server.serve(sockets=[listener])
        drain.cancel()


async def _drain(settings: Settings, draining: asyncio.Event, server: uvicorn.Server) -> None:
    """On a signal: not ready at once, listening for a set delay, then an orderly end."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, draining.set)
    await draining.wait()
    await asyncio.sleep(settings.shutdown_delay.total_seconds())
    server.should_exit = True


def http_options(settings: Settings, draining: asyncio.Event) -> HttpOptions:
    return HttpOptions(
        docs=settings.serves_docs,
        password_grant=settings.password_grant,
        version=__version__,
        public_url=settings.issuer,
        frontend_url=settings.frontend_url,
        cors_origins=settings.http.cors_origins,
        trusted_proxies=settings.http.trusted_proxies,
        draining=draining.is_set,
    )
