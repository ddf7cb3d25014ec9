"""`webhooks create|list|show|rotate|enable|disable|delete|deliveries|retry`."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from ...application.gatepost import Gatepost
from ...application.webhooks import NewEndpoint
from ...domain.audit import ClientContext
from ...domain.roles import Principal
from ...domain.webhooks import Delivery, DeliveryStatus, Endpoint
from .output import Output, OutputOption, show, with_gatepost

_FROM_CONSOLE = ClientContext(user_agent="gatepost-cli")
_OPERATOR = Principal.operator()
_EndpointId = Annotated[UUID, typer.Argument(metavar="ID", help="Id of an endpoint.")]

webhooks = typer.Typer(help="Endpoints that are told of events.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(webhooks, name="webhooks")


@webhooks.command("create")
def create_endpoint(
    url: Annotated[str, typer.Option(help="Where to post to; https.")],
    event: Annotated[
        list[str] | None, typer.Option(help="May be given several times; all events if not.")
    ] = None,
    contact: Annotated[
        str | None, typer.Option(help="E-mail address that is told when it is disabled.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create an endpoint and show its secret, this once."""

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        made = await gatepost.webhooks.create(
            actor=_OPERATOR, url=url, events=event or (), contact=contact, client=_FROM_CONSOLE
        )
        return _shown(made)

    show(with_gatepost(work), output)


@webhooks.command("list")
def list_endpoints(output: OutputOption = Output.TEXT) -> None:
    """List endpoints, oldest first."""

    async def work(gatepost: Gatepost) -> list[dict[str, Any]]:
        return [_record(one) for one in await gatepost.webhooks.list(actor=_OPERATOR)]

    show(with_gatepost(work), output)


@webhooks.command("show")
def show_endpoint(endpoint_id: _EndpointId, output: OutputOption = Output.TEXT) -> None:
    """Show one endpoint."""

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        return _record(await gatepost.webhooks.show(actor=_OPERATOR, endpoint_id=endpoint_id))

    show(with_gatepost(work), output)


@webhooks.command("rotate")
def rotate_secret(endpoint_id: _EndpointId, output: OutputOption = Output.TEXT) -> None:
    """Show a new secret, this once; for a day messages are signed with the former one, too."""

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        made = await gatepost.webhooks.rotate(
            actor=_OPERATOR, endpoint_id=endpoint_id, client=_FROM_CONSOLE
        )
        return _shown(made)

    show(with_gatepost(work), output)


@webhooks.command("enable")
def enable_endpoint(endpoint_id: _EndpointId, output: OutputOption = Output.TEXT) -> None:
    """Send again, beginning with what was held."""

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        found = await gatepost.webhooks.enable(
            actor=_OPERATOR, endpoint_id=endpoint_id, client=_FROM_CONSOLE
        )
        return _record(found)

    show(with_gatepost(work), output)


@webhooks.command("disable")
def disable_endpoint(endpoint_id: _EndpointId, output: OutputOption = Output.TEXT) -> None:
    """Send nothing more; what happens is held for 30 days."""

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        found = await gatepost.webhooks.disable(
            actor=_OPERATOR, endpoint_id=endpoint_id, client=_FROM_CONSOLE
        )
        return _record(found)

    show(with_gatepost(work), output)


@webhooks.command("delete")
def delete_endpoint(endpoint_id: _EndpointId, output: OutputOption = Output.TEXT) -> None:
    """Delete an endpoint with its deliveries, sent or not."""

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        await gatepost.webhooks.delete(
            actor=_OPERATOR, endpoint_id=endpoint_id, client=_FROM_CONSOLE
        )
        return {"deleted": str(endpoint_id)}

    show(with_gatepost(work), output)


@webhooks.command("deliveries")
def list_deliveries(
    endpoint_id: _EndpointId,
    status: Annotated[DeliveryStatus | None, typer.Option(help="Only of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    output: OutputOption = Output.TEXT,
) -> None:
    """List what was sent or could not be sent, newest first, with the last attempt of each."""

    async def work(gatepost: Gatepost) -> list[dict[str, Any]]:
        found = await gatepost.webhooks.deliveries(
            actor=_OPERATOR, endpoint_id=endpoint_id, status=status, limit=limit
        )
        return [_delivery(one) for one in found]

    show(with_gatepost(work), output)


@webhooks.command("retry")
def retry_delivery(
    delivery_id: Annotated[UUID, typer.Argument(metavar="ID", help="Id of a delivery.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Send a delivery again, also one that arrived."""

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        return _delivery(await gatepost.webhooks.retry(actor=_OPERATOR, delivery_id=delivery_id))

    show(with_gatepost(work), output)


def _shown(made: NewEndpoint) -> dict[str, Any]:
    return {"id": str(made.endpoint.id), "secret": made.secret}


def _record(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": str(endpoint.id),
        "url": endpoint.url,
        "events": list(endpoint.events),
        "status": endpoint.status.value,
        "contact": endpoint.contact,
        "failing_since": _moment(endpoint.failing_since),
        "created_at": _moment(endpoint.created_at),
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": str(delivery.id),
        "event_id": str(delivery.event_id),
        "event": delivery.event,
        "status": delivery.status.value,
        "attempts": delivery.attempts,
        "created_at": _moment(delivery.created_at),
        "attempted_at": _moment(delivery.attempted_at),
        "answered": delivery.answered,
        "fault": delivery.fault.value if delivery.fault else None,
        "duration_ms": delivery.duration_ms,
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
