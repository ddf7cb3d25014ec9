"""`config check` and `openapi`."""

import json
from typing import Any

import typer
from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from ..settings import known_names, load
from .output import Output, OutputOption, show

config = typer.Typer(help="Settings.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(config, name="config")
    app.command("openapi")(openapi)


@config.command("check")
def check(output: OutputOption = Output.TEXT) -> None:
    """Check every setting, secrets and mail templates included, and start nothing."""
    from ..mailing import mailer_of

    settings = load()
    mailer_of(settings)
    show({"settings": "ok", "environment": settings.environment.value}, output)


@config.command("show")
def show_settings(output: OutputOption = Output.TEXT) -> None:
    """Show the settings in force; secrets only as set or unset."""
    settings = load()
    records = []
    for name, path in known_names():
        value: Any = settings
        for part in path:
            value = getattr(value, part)
        shown = "(secret)" if isinstance(value, SecretStr) else to_jsonable_python(value)
        records.append({"name": name, "value": shown})
    show(records, output)


def openapi() -> None:
    """Print the OpenAPI document."""
    from ...adapters.memory import memory_ports
    from ...application.gatepost import Policies, assemble
    from ..http.app import create_app

    app = create_app(assemble(memory_ports(), Policies()))
    typer.echo(json.dumps(app.openapi(), indent=2, sort_keys=True))
