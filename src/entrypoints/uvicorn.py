"""Serving HTTP in this process, on uvicorn."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from .applications import open_applications
from .http.connections import ConnectionLimits, connection_class
from .server import GRACE_SECONDS, KEEP_ALIVE_SECONDS, SETTLE_SECONDS, Listeners
from .settings import Settings


def serve(settings: Settings, listeners: Listeners) -> None:
    """Answer on the sockets until SIGTERM or SIGINT."""
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(_serve(settings, listeners))


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


def server(app: ASGIApp, limits: ConnectionLimits) -> uvicorn.Server:
    """Make a server without sockets; it takes no signals."""
    return _Server(
        uvicorn.Config(
            app,
            http=connection_class(limits),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            h11_max_incomplete_event_size=limits.head_bytes,
        )
    )


async def _serve(settings: Settings, listeners: Listeners) -> None:
    draining = asyncio.Event()
    async with (
        open_applications(settings, draining.is_set) as applications,
        asyncio.TaskGroup() as beside,
    ):
        limits = ConnectionLimits.of(applications.options)
        managed, management = listeners.management, None
        if managed is not None and applications.management is not None:
            management = server(applications.management, limits)
            beside.create_task(management.serve(sockets=[managed]))
        serving = server(applications.public, limits)
        drain = asyncio.create_task(_drain(settings, draining, serving))
        await serving.serve(sockets=[listeners.public])
        drain.cancel()
        if management is not None:
            # Last, so that operators see the end.
            management.should_exit = True


async def _drain(settings: Settings, draining: asyncio.Event, serving: uvicorn.Server) -> None:
    """On a signal: not ready at once, listening for a set delay, then an orderly end.

    While draining every answer closes its connection. When listening has ended, what was accepted
    just before gets a moment to be read and answered: the server's own end would cut it.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, draining.set)
    await draining.wait()
    await asyncio.sleep(max(settings.shutdown_delay.total_seconds(), SETTLE_SECONDS))
    for listening in serving.servers:
        listening.close()
    await asyncio.sleep(SETTLE_SECONDS)
    serving.should_exit = True
