"""`config` and `openapi`."""

import json
from typing import TYPE_CHECKING, Any

import typer
from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from ..settings import known_names, load, secret_files
from .output import Output, OutputOption, show

if TYPE_CHECKING:
    from ..dangers import Danger

config = typer.Typer(help="Settings.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(config, name="config")
    app.command("openapi")(openapi)


@config.command("check")
def check(output: OutputOption = Output.TEXT) -> None:
    """Check every setting, secrets and templates included; tell dangerous ones with reasons.

    Exits with 1 for what stops a start; what is only dangerous is told, and fails `doctor`.
    """
    from ..dangers import dangers_in
    from ..deployment import Deployment
    from ..mailing import mailer_of

    settings = load()
    mailer_of(settings)
    found = list(dangers_in(Deployment(settings, secret_files())))
    summary = {"settings": "ok", "environment": settings.environment.value}
    if output is Output.JSON:
        show({**summary, "dangers": [_as_record(danger) for danger in found]}, output)
        return
    show(summary, output)
    for danger in found:
        typer.echo(f"{danger.severity}: {danger.code}: {danger.setting}: {danger.reason}")
        typer.echo(f"  -> {danger.instead}")


def _as_record(danger: "Danger") -> dict[str, str]:
    return {
        "code": danger.code,
        "severity": danger.severity.value,
        "setting": danger.setting,
        "reason": danger.reason,
        "instead": danger.instead,
    }


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


@config.command("schema")
def show_schema(output: OutputOption = Output.JSON) -> None:
    """Print every setting that there is: as a JSON Schema, or one a line."""
    from ..setting_schema import settings_schema

    schema = settings_schema()
    if output is Output.JSON:
        typer.echo(json.dumps(schema, indent=2))
        return
    for name, described in schema["properties"].items():
        typer.echo("  ".join((name, described.get("default", "-"), described["description"])))


def openapi() -> None:
    """Print the OpenAPI document."""
    from ...adapters.memory import memory_ports
    from ...application.gatepost import assemble
    from ...application.policies import Policies
    from ..http.app import create_app

    app = create_app(assemble(memory_ports(), Policies()))
    typer.echo(json.dumps(app.openapi(), indent=2, sort_keys=True))
