"""`gatepost run`: embedded database, server and worker in one process tree."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..adapters.embedded import start
from ..adapters.postgres.migrate import upgrade
from .database import with_url
from .metrics import shared_folder
from .processes import Child, supervise
from .server import answers, base_url, child_environment, listen, server_children
from .settings import Settings


def run_all(settings: Settings) -> int:
    """Start everything and stay until SIGTERM or SIGINT; returns the exit code."""
    with (
        listen(settings) as listeners,
        shared_folder(settings.http.workers) as folder,
        _own_database(settings) as (reachable, is_up),
    ):
        worker = Child(
            name="worker",
            argv=[sys.executable, "-m", "gatepost", "worker"],
            env=child_environment(reachable),
        )
        return supervise(
            [*server_children(reachable, listeners, folder), worker],
            ready=lambda: answers(settings),
            on_ready=lambda: _announce(settings),
            on_stop=listeners.close,
            healthy=is_up,
        )


@contextmanager
def _own_database(settings: Settings) -> Iterator[tuple[Settings, Callable[[], bool]]]:
    """Migrate the configured database, or start one that nobody else works on."""
    if settings.database_url is not None:
        asyncio.run(upgrade(settings.direct_url))
        yield settings, lambda: True
        return
    with start(settings.data_dir / "postgres") as server:
        asyncio.run(upgrade(server.url))
        yield with_url(settings, server.url), server.is_up


def _announce(settings: Settings) -> None:
    told = [f"docs: {'/docs' if settings.serves_docs else 'off'}"]
    if settings.mail.url is None:
        told.append(f"mail: {settings.data_dir.resolve() / 'mail'}")
    # Nobody may be listening, or ever have been: that ends no service.
    with suppress(OSError):
        print(  # noqa: T201
            f"Gatepost is ready on {base_url(settings)} ({', '.join(told)})", flush=True
        )
