"""Machine clients, for those who may administer them."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from fastapi.routing import APIRoute
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from ...application.accounts import UNSET
from ...application.clients import Clients, NewSecret
from ...domain import clients as domain
from ...domain.clients import ClientStatus
from .openapi import BODY, CALLER, CONDITIONAL, CREATED, UNCHANGED, VERSIONED, problems
from .paging import Cursor, paged
from .paths import location
from .preconditions import IfMatch, IfNoneMatch, required_versions, versioned
from .principal import Client, ClientsReader, ClientsWriter
from .schemas import Form, Text, Time, json_answer


def _text(value: object) -> object:
    """Refuse numbers, which would be taken for seconds or milliseconds by their size."""
    if value is not None and not isinstance(value, str):
        raise PydanticCustomError("string_type", "Not a time of RFC 3339.")
    return value


_ID = Annotated[UUID, Path(alias="id")]
_SCOPES = Annotated[list[Text], Field(max_length=100, examples=[["users:read"]])]
# Beyond it, times that are moved to another zone leave the calendar.
_Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_text),
    Field(strict=False, le=datetime(9998, 12, 31, tzinfo=UTC)),
]


class NewClient(Form):
    name: Text = Field(examples=["Nightly report"])
    scopes: _SCOPES


class ClientChange(Form):
    name: Text = Field(default_factory=str, examples=["Nightly report"])
    scopes: _SCOPES = Field(default_factory=list)
    status: Annotated[ClientStatus, Field(strict=False)] = ClientStatus.ACTIVE


class SecretRequest(Form):
    expires_at: _Moment | None = Field(default=None, description="Never, if left out.")


class StoredSecret(BaseModel):
    """A secret without the secret; `last_used_at` is exact to an hour."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None


class ShownSecret(StoredSecret):
    """A new secret, shown this once."""

    client_secret: str = Field(repr=False)

    @classmethod
    def of(cls, made: NewSecret) -> "ShownSecret":
        stored = StoredSecret.model_validate(made.stored)
        return cls(client_secret=made.client_secret, **dict(stored))


class MachineClient(BaseModel):
    """A program that may call; `id` is its `client_id`."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    scopes: list[str]
    status: ClientStatus
    secrets: list[StoredSecret]
    created_at: Time
    updated_at: Time


class ClientQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=200)
    cursor: Cursor | None = None


class ClientList(BaseModel):
    items: list[MachineClient]
    next_cursor: str | None


def _answer(found: domain.Client, status: int = 200, if_none_match: str | None = None) -> Response:
    answer = json_answer(MachineClient.model_validate(found), status)
    return versioned(answer, found.updated_at, if_none_match)


def router(clients: Clients, route: type[APIRoute], public_url: str) -> APIRouter:
    api = APIRouter(prefix="/v1/clients", tags=["Machine clients"], route_class=route)
    _add_reading(api, clients, public_url)
    _add_writing(api, clients, public_url)
    _add_secrets(api, clients)
    return api


def _add_reading(api: APIRouter, clients: Clients, public_url: str) -> None:
    @api.get(
        "",
        response_model=ClientList,
        operation_id="listClients",
        summary="List machine clients, newest first",
        responses=problems(CALLER, "validation_failed"),
    )
    async def list_clients(
        request: Request, caller: ClientsReader, query: Annotated[ClientQuery, Query()]
    ) -> Response:
        page = await clients.list(actor=caller, limit=query.limit, cursor=query.cursor)
        items = [MachineClient.model_validate(found) for found in page.items]
        body = ClientList(items=items, next_cursor=page.next_cursor)
        return paged(request, public_url, body, page.next_cursor)

    @api.get(
        "/{id}",
        response_model=MachineClient,
        operation_id="readClient",
        summary="Read a machine client",
        responses={
            **problems(CALLER, "not_found", "validation_failed"),
            200: VERSIONED,
            304: UNCHANGED,
        },
    )
    async def read_client(
        client_id: _ID, caller: ClientsReader, if_none_match: IfNoneMatch
    ) -> Response:
        found = await clients.show(actor=caller, client_id=client_id)
        return _answer(found, if_none_match=if_none_match)


def _add_writing(api: APIRouter, clients: Clients, public_url: str) -> None:
    @api.post(
        "",
        status_code=201,
        response_model=MachineClient,
        operation_id="createClient",
        summary="Create a machine client",
        responses={**problems(CALLER, BODY, "permission_denied"), 201: CREATED},
    )
    async def create_client(body: NewClient, caller: ClientsWriter, client: Client) -> Response:
        """Give it a secret next. Its scopes are known ones that the caller holds."""
        made = await clients.create(
            actor=caller, name=body.name, scopes=body.scopes, client=client
        )
        answer = _answer(made, 201)
        answer.headers["Location"] = location(public_url, f"/v1/clients/{made.id}")
        return answer

    @api.patch(
        "/{id}",
        response_model=MachineClient,
        operation_id="changeClient",
        summary="Change a machine client",
        responses={
            **problems(
                CALLER,
                BODY,
                *("permission_denied", "not_found"),
                CONDITIONAL,
            ),
            200: VERSIONED,
        },
    )
    async def change_client(
        client_id: _ID,
        body: ClientChange,
        caller: ClientsWriter,
        if_match: IfMatch,
        client: Client,
    ) -> Response:
        """Leave out what shall stay. A disabled client is refused at once, its tokens too."""
        given = body.model_fields_set
        changed = await clients.change(
            actor=caller,
            client_id=client_id,
            versions=required_versions(if_match),
            name=body.name if "name" in given else UNSET,
            scopes=body.scopes if "scopes" in given else UNSET,
            status=body.status if "status" in given else UNSET,
            client=client,
        )
        return _answer(changed)

    @api.delete(
        "/{id}",
        status_code=204,
        operation_id="deleteClient",
        summary="Delete a machine client",
        responses=problems(
            CALLER, "permission_denied", "not_found", CONDITIONAL, "validation_failed"
        ),
    )
    async def delete_client(
        client_id: _ID, caller: ClientsWriter, if_match: IfMatch, client: Client
    ) -> None:
        versions = required_versions(if_match)
        await clients.delete(actor=caller, client_id=client_id, versions=versions, client=client)


def _add_secrets(api: APIRouter, clients: Clients) -> None:
    @api.post(
        "/{id}/secrets",
        status_code=201,
        response_model=ShownSecret,
        operation_id="addClientSecret",
        summary="Make a secret of a machine client",
        responses=problems(CALLER, BODY, "permission_denied", "not_found"),
    )
    async def add_secret(
        client_id: _ID, caller: ClientsWriter, client: Client, body: SecretRequest | None = None
    ) -> Response:
        """Shown this once. Two are valid at a time: a third is 422 `too_many`."""
        made = await clients.add_secret(
            actor=caller,
            client_id=client_id,
            expires_at=body.expires_at if body else None,
            client=client,
        )
        return json_answer(ShownSecret.of(made), 201)

    @api.delete(
        "/{id}/secrets/{secret_id}",
        status_code=204,
        operation_id="deleteClientSecret",
        summary="Delete a secret of a machine client",
        responses=problems(CALLER, "permission_denied", "not_found", "validation_failed"),
    )
    async def delete_secret(
        client_id: _ID, secret_id: UUID, caller: ClientsWriter, client: Client
    ) -> None:
        await clients.delete_secret(
            actor=caller, client_id=client_id, secret_id=secret_id, client=client
        )
