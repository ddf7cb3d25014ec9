"""The commands of operators, in typer."""

from typing import Annotated

import typer

from ... import __version__
from . import (
    accounts,
    audit,
    clients,
    configuration,
    daemons,
    doctor,
    hashing,
    jobs,
    keys,
    migrations,
    transfer,
    webhooks,
)


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


def _pass_on(context: typer.Context) -> None:
    daemons.start(str(context.info_name), context.args)


def _list_daemons(app: typer.Typer) -> None:
    theirs = {"allow_extra_args": True, "ignore_unknown_options": True}
    for name, process in daemons.PROCESSES.items():
        listed = app.command(
            name, help=process.__doc__, add_help_option=False, context_settings=theirs
        )
        listed(_pass_on)


def command_line() -> typer.Typer:
    """Make the whole of it."""
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
    _list_daemons(app)
    for part in (migrations, accounts, clients, keys, jobs, webhooks, audit):
        part.add_to(app)
    transfer.add_to(accounts.users)
    for last in (configuration, hashing, doctor):
        last.add_to(app)
    return app
