"""The command line: a thin shell over the same use cases as HTTP."""

import sys
from typing import Annotated

import typer

from ... import __version__
from . import (
    accounts,
    audit,
    clients,
    configuration,
    doctor,
    hashing,
    jobs,
    keys,
    service,
    transfer,
    webhooks,
)
from .output import fail_as

app = typer.Typer(
    name="gatepost",
    help="A self-hosted identity service.",
    no_args_is_help=True,
    add_completion=False,
    # Plain text: rich and what it needs would be a tenth of an installation.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None: ...


service.add_to(app)
accounts.add_to(app)
transfer.add_to(accounts.users)
clients.add_to(app)
keys.add_to(app)
jobs.add_to(app)
webhooks.add_to(app)
audit.add_to(app)
configuration.add_to(app)
hashing.add_to(app)
doctor.add_to(app)


def main() -> None:
    """Run a command: exit code 0 done, 1 failed, 2 wrong usage."""
    with fail_as(sys.stderr):
        app()
