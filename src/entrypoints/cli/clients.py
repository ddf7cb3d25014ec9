"""`clients create|list|rotate|delete`."""

from typing import Annotated, Any
from uuid import UUID

import typer

from ...application.clients import NewSecret
from ...application.gatepost import Gatepost
from ...domain.audit import ClientContext
from ...domain.clients import MAX_VALID_SECRETS, Client
from ...domain.roles import Principal
from .output import Output, OutputOption, show, with_gatepost

_FROM_CONSOLE = ClientContext(user_agent="gatepost-cli")
_OPERATOR = Principal.operator()
_ClientId = Annotated[UUID, typer.Argument(help="The client_id.")]

clients = typer.Typer(help="Machine clients.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(clients, name="clients")


@clients.command("create")
def create_client(
    name: Annotated[str, typer.Option(help="What it is called.")],
    scope: Annotated[list[str], typer.Option(help="May be given several times.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Create a client and show its secret, this once."""

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        made = await gatepost.clients.create(
            actor=_OPERATOR, name=name, scopes=scope, client=_FROM_CONSOLE
        )
        return _shown(made.id, await _new_secret(gatepost, made.id))

    show(with_gatepost(work), output)


@clients.command("list")
def list_clients(
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    output: OutputOption = Output.TEXT,
) -> None:
    """List clients, newest first."""

    async def work(gatepost: Gatepost) -> list[dict[str, Any]]:
        page = await gatepost.clients.list(actor=_OPERATOR, limit=limit)
        return [_record(found) for found in page.items]

    show(with_gatepost(work), output)


@clients.command("rotate")
def rotate_secret(client_id: _ClientId, output: OutputOption = Output.TEXT) -> None:
    """Show a new secret, this once; the one before it stays good, an older one does not."""

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        found = await gatepost.clients.show(actor=_OPERATOR, client_id=client_id)
        for old in found.secrets[: 1 - MAX_VALID_SECRETS]:
            await gatepost.clients.delete_secret(
                actor=_OPERATOR, client_id=client_id, secret_id=old.id, client=_FROM_CONSOLE
            )
        return _shown(client_id, await _new_secret(gatepost, client_id))

    show(with_gatepost(work), output)


@clients.command("delete")
def delete_client(client_id: _ClientId, output: OutputOption = Output.TEXT) -> None:
    """Delete a client; its tokens are refused from now on."""

    async def work(gatepost: Gatepost) -> dict[str, Any]:
        await gatepost.clients.delete(actor=_OPERATOR, client_id=client_id, client=_FROM_CONSOLE)
        return {"deleted": str(client_id)}

    show(with_gatepost(work), output)


async def _new_secret(gatepost: Gatepost, client_id: UUID) -> NewSecret:
    return await gatepost.clients.add_secret(
        actor=_OPERATOR, client_id=client_id, client=_FROM_CONSOLE
    )


def _shown(client_id: UUID, made: NewSecret) -> dict[str, Any]:
    return {"client_id": str(client_id), "client_secret": made.client_secret}


def _record(client: Client) -> dict[str, Any]:
    return {
        "id": str(client.id),
        "name": client.name,
        "scopes": list(client.scopes),
        "status": client.status.value,
        "secrets": [str(secret.id) for secret in client.secrets],
        "created_at": client.created_at.isoformat().replace("+00:00", "Z"),
    }
