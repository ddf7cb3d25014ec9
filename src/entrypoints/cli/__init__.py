"""The command line: a thin shell over the same use cases as HTTP."""

import sys
from functools import cache
from typing import Annotated

import typer

from ... import __version__
from . import service
from .output import fail_as


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None: ...


def _processes() -> typer.Typer:
    app = typer.Typer(
        name="gatepost",
        help="A self-hosted identity service.",
        no_args_is_help=True,
        add_completion=False,
        # Plain text: rich and what it needs would be a tenth of an installation.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    service.add_to(app)
    return app


@cache
def command_line() -> typer.Typer:
    """Make the whole of it."""
    from . import (
        accounts,
        audit,
        clients,
        configuration,
        doctor,
        hashing,
        jobs,
        keys,
        transfer,
        webhooks,
    )

    app = _processes()
    accounts.add_to(app)
    transfer.add_to(accounts.users)
    for part in (clients, keys, jobs, webhooks, audit, configuration, hashing, doctor):
        part.add_to(app)
    return app


def main() -> None:
    """Run a command: exit code 0 done, 1 failed, 2 wrong usage."""
    with fail_as(sys.stderr):
        # A server stays for months: it goes without the commands of operators.
        (_processes if sys.argv[1:2] in service.PROCESSES else command_line)()()
