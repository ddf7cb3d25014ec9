"""`gatepost run`: embedded database, server and worker in one process tree."""

import asyncio
import sys
from http.client import HTTPConnection, HTTPException

import typer

from ..adapters.postgres.migrate import upgrade
from .database import available_database
from .processes import Child, supervise
from .server import child_environment, listen, server_child
from .settings import Settings


def run_all(settings: Settings) -> int:
    """Start everything and stay until SIGTERM or SIGINT; returns the exit code."""
    with listen(settings) as listener, available_database(settings) as reachable:
        if settings.database_url is not None:
            asyncio.run(upgrade(reachable.direct_url))
        worker = Child(
            name="worker",
            argv=[sys.executable, "-m", "gatepost", "worker"],
            env=child_environment(reachable),
        )
        return supervise(
            [server_child(reachable, listener), worker],
            ready=lambda: _answers(settings),
            on_ready=lambda: _announce(settings),
        )


def _answers(settings: Settings) -> bool:
    connection = HTTPConnection(settings.http.host, settings.port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _announce(settings: Settings) -> None:
    mail = settings.data_dir.resolve() / "mail"
    where = f"http://{settings.http.host}:{settings.port}"
    shown = f", mail: {mail}" if settings.mail.url is None else ""
    typer.echo(f"Gatepost is ready on {where} (docs: /docs{shown})")
