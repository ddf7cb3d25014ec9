"""`migrate`."""

import asyncio
import sys

import typer

from ..settings import load
from .output import Output, OutputOption, show

migrate = typer.Typer(help="Database schema.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(migrate, name="migrate")


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
