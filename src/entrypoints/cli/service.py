"""`serve`, `worker`, `run` and `migrate`."""

import asyncio
import gc
import sys
from typing import Annotated, Any

import typer

from ..processes import leave_on_sigterm
from ..settings import load
from .output import Output, OutputOption, show

migrate = typer.Typer(help="Database schema.", no_args_is_help=True)


PROCESSES = (["serve"], ["worker"], ["run"])


def add_to(app: typer.Typer) -> None:
    app.command("serve")(serve)
    app.command("worker")(worker)
    app.command("run")(run)
    app.add_typer(migrate, name="migrate")


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes.")] = None,
    fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    management_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve HTTP."""
    leave_on_sigterm()
    # What start-up makes stays; the server sets it aside and collects again.
    gc.disable()
    from ..database import available_database
    from ..logging import configure_logging
    from ..server import serve_http

    settings = load(**_given(port=port, http=_given(host=host, workers=workers)))
    configure_logging(settings)
    with available_database(settings) as reachable:
        raise SystemExit(serve_http(reachable, fd, management_fd))


def _given(**options: Any) -> dict[str, Any]:
    """Keep the options that were given; all else comes from the settings."""
    return {name: value for name, value in options.items() if value not in (None, {})}


def worker() -> None:
    """Work the jobs: mail, events, exports, purging and the rotation of signing keys."""
    leave_on_sigterm()
    from ..database import available_database
    from ..logging import configure_logging
    from ..worker import work

    settings = load()
    configure_logging(settings)
    with available_database(settings) as reachable:
        asyncio.run(work(reachable))


def run() -> None:
    """Run everything in one tree: embedded database if none is given, server and worker."""
    leave_on_sigterm()
    from ..logging import configure_logging
    from ..run import run_all

    settings = load()
    configure_logging(settings)
    raise SystemExit(run_all(settings))


@migrate.command("up")
def migrate_up(output: OutputOption = Output.TEXT) -> None:
    """Bring the schema to this release; of several at once one migrates, the rest wait."""
    from ...adapters.postgres.migrate import upgrade
    from ..database import available_database

    with available_database(load(), migrated=False) as settings:
        asyncio.run(upgrade(settings.direct_url))
    show({"schema": "current"}, output)


@migrate.command("check")
def migrate_check(output: OutputOption = Output.TEXT) -> None:
    """Exit with 1 unless the schema is that of this release."""
    from ...adapters.postgres.migrate import is_current
    from ..database import available_database

    with available_database(load(), migrated=False) as settings:
        current = asyncio.run(is_current(settings.direct_url))
    show({"schema": "current" if current else "behind"}, output)
    if not current:
        sys.exit(1)
