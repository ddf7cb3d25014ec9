"""`doctor`."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ...adapters.embedded import EmbeddedPostgresError
from ..settings import Settings, load, secret_files
from .output import Output, OutputOption, show

if TYPE_CHECKING:
    # Only this command needs it, and all that it looks at.
    from ..doctor import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": None}
_Replicas = Annotated[
    int, typer.Option(min=1, max=1000, help="Instances that share the database.")
]


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(replicas: _Replicas = 1, output: OutputOption = Output.TEXT) -> None:
    """Look at settings, database, keys, mail, worker and Argon2 here; change nothing.

    Exits with 1 when something is wrong or dangerous, with 0 for warnings alone.
    """
    from ..doctor import Status, worst

    findings = _findings(load(), replicas)
    status = worst(findings)
    if output is Output.JSON:
        show({"status": status, "findings": [asdict(one) for one in findings]}, output)
    else:
        _print(findings)
    if status is Status.FAILED:
        raise SystemExit(1)


def _findings(given: Settings, replicas: int) -> "list[Finding]":
    from ..database import present_database
    from ..doctor import examine

    files = secret_files()
    try:
        with present_database(given) as (settings, started):
            return asyncio.run(examine(settings, files, replicas=replicas, started_here=started))
    except EmbeddedPostgresError as refused:
        return asyncio.run(examine(given, files, replicas=replicas, broken=str(refused)))


def _print(findings: "Sequence[Finding]") -> None:
    wide = max(len(one.check) for one in findings)
    for one in findings:
        status = typer.style(f"{one.status:7}", fg=_COLOURS[one.status])
        typer.echo(f"{status}  {one.check:{wide}}  {one.says}")
        if one.instead:
            typer.echo(f"{'':7}  {'':{wide}}  -> {one.instead}")
