"""`audit list`."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from ...application.gatepost import Gatepost
from ...domain.audit import AuditEntry, AuditFilter, AuditType
from ...domain.roles import Principal
from .output import Output, OutputOption, show, with_gatepost

audit = typer.Typer(help="The audit trail.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(audit, name="audit")


@audit.callback()
def _audit() -> None:
    # A group of one command needs a callback, or typer makes the command the group.
    pass


def _moment(text: str) -> datetime:
    """Read a time of RFC 3339; one without a zone is UTC."""
    try:
        given = datetime.fromisoformat(text)
        return given.replace(tzinfo=given.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter("a time such as 2026-03-01 or 2026-03-01T12:00:00Z") from None


_Id = typer.Option(metavar="ID", help="Id of an account.")
_Time = typer.Option(metavar="TIME", parser=_moment, help="Such as 2026-03-01T12:00:00Z.")


@audit.command("list")
def list_entries(
    actor: Annotated[UUID | None, _Id] = None,
    subject: Annotated[UUID | None, _Id] = None,
    type_: Annotated[
        AuditType | None, typer.Option("--type", metavar="TYPE", help="Such as session.created.")
    ] = None,
    since: Annotated[datetime | None, _Time] = None,
    until: Annotated[datetime | None, _Time] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    output: OutputOption = Output.TEXT,
) -> None:
    """List what happened, newest first; --until is not included."""
    wanted = AuditFilter(actor=actor, subject=subject, type=type_, since=since, until=until)

    async def work(gatepost: Gatepost) -> list[dict[str, Any]]:
        page = await gatepost.audit(actor=Principal.operator(), filter_=wanted, limit=limit)
        return [_record(entry) for entry in page.items]

    show(with_gatepost(work), output)


def _record(entry: AuditEntry) -> dict[str, Any]:
    ids = {"id": entry.id, "actor": entry.actor, "subject": entry.subject}
    ids["session_id"] = entry.session_id
    created_at = entry.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    texts = {name: str(value) if value else None for name, value in ids.items()}
    return asdict(entry) | texts | {"created_at": created_at}
