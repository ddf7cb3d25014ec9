"""Routes of roles."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.responses import Response

from ...application.roles import Roles
from .openapi import BODY, CALLER, problems
from .principal import Client, RolesReader, RolesWriter
from .schemas import Form, Role, RoleList, Text, json_answer

_Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_-]{0,49}$", examples=["support"])]


class RoleForm(Form):
    scopes: list[Text] = Field(max_length=100, examples=[["users:read", "sessions:read"]])


def router(roles: Roles, route: type[APIRoute]) -> APIRouter:
    api = APIRouter(prefix="/v1/roles", tags=["Roles"], route_class=route)

    @api.get(
        "",
        response_model=RoleList,
        operation_id="listRoles",
        summary="List the roles, built-in ones too",
        responses=problems(CALLER),
    )
    async def list_roles(caller: RolesReader) -> Response:
        found = await roles.list_all(actor=caller)
        return json_answer(RoleList(items=[Role.of(role) for role in found]))

    @api.put(
        "/{name}",
        response_model=Role,
        operation_id="putRole",
        summary="Make a role, or give it other scopes",
        responses={
            201: {"model": Role, "description": "The role is new."},
            **problems(CALLER, BODY, "permission_denied", "role_built_in"),
        },
    )
    async def put_role(
        name: _Name, body: RoleForm, caller: RolesWriter, client: Client
    ) -> Response:
        """Only scopes that the caller holds; tokens follow at the next refresh."""
        role, is_new = await roles.put(actor=caller, name=name, scopes=body.scopes, client=client)
        return json_answer(Role.of(role), 201 if is_new else 200)

    @api.delete(
        "/{name}",
        status_code=204,
        operation_id="deleteRole",
        summary="Delete a role that no account holds",
        responses=problems(
            CALLER,
            *("permission_denied", "not_found", "validation_failed"),
            *("role_in_use", "role_built_in"),
        ),
    )
    async def delete_role(name: _Name, caller: RolesWriter, client: Client) -> None:
        await roles.delete(actor=caller, name=name, client=client)

    return api
