"""`jobs list|retry|purge`."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import TypeAdapter, ValidationError

from ...application.gatepost import Gatepost
from ...domain.audit import ClientContext
from ...domain.jobs import JobFilter, JobRecord, JobState
from ..setting_types import Duration
from .output import Output, OutputOption, show, with_gatepost

_FROM_CONSOLE = ClientContext(user_agent="gatepost-cli")

jobs = typer.Typer(help="The queue of jobs.", no_args_is_help=True)

_Name = Annotated[str | None, typer.Option(help="Only of this name, such as mail.send.v1.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(jobs, name="jobs")


def _duration(text: str) -> timedelta:
    try:
        return TypeAdapter(Duration).validate_python(text)
    except (ValidationError, OverflowError):
        raise typer.BadParameter("a duration such as 12h or 30d") from None


@jobs.command("list")
def list_jobs(
    state: Annotated[
        JobState | None, typer.Option(help="waiting, running, or dead: given up.")
    ] = None,
    name: _Name = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    output: OutputOption = Output.TEXT,
) -> None:
    """List jobs that are not done, oldest first, without what they are about."""
    wanted = JobFilter(state=state, name=name)

    async def work(gatepost: Gatepost) -> list[dict[str, Any]]:
        found = await gatepost.jobs.list(filter_=wanted, limit=limit)
        return [_record(job) for job in found]

    show(with_gatepost(work), output)


@jobs.command("retry")
def retry_jobs(
    ids: Annotated[list[UUID] | None, typer.Argument(metavar="[ID]...", help="Of jobs.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    name: _Name = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Let jobs that were given up be tried again, as if for the first time."""
    if bool(ids) == all_:
        raise typer.BadParameter("Name jobs by their ids, or pass --all.")
    wanted = JobFilter(ids=tuple(ids) if ids else None, name=name)

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        count = await gatepost.jobs.dead.retry(filter_=wanted, client=_FROM_CONSOLE)
        return {"retried": count}

    show(with_gatepost(work), output)


@jobs.command("purge")
def purge_jobs(
    older_than: Annotated[
        timedelta,
        typer.Option(metavar="DURATION", parser=_duration, help="Since they were given up: 30d."),
    ],
    name: _Name = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Delete jobs that were given up; those that wait or run stay."""
    if not yes:
        _confirm()

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        count = await gatepost.jobs.dead.purge(
            filter_=JobFilter(name=name), older=older_than, client=_FROM_CONSOLE
        )
        return {"purged": count}

    show(with_gatepost(work), output)


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("Pass --yes: there is nobody to ask.")
    typer.confirm("What these jobs would have done is lost. Delete them?", abort=True, err=True)


def _record(job: JobRecord) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "name": job.name,
        "state": job.state.value,
        "attempts": job.attempts,
        "error": job.error,
        "created_at": _spelled(job.created_at),
        "due_at": _spelled(job.due_at),
        "changed_at": _spelled(job.changed_at),
    }


def _spelled(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
