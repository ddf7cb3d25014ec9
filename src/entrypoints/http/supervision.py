"""Routes for those who supervise single accounts."""

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.responses import Response

from ...application.accounts import UNSET
from ...application.administration import Administration
from ...domain.accounts import Account
from .openapi import BODY, CALLER, CONDITIONAL, UNCHANGED, VERSIONED, problems
from .paths import ID
from .preconditions import IfMatch, IfNoneMatch, required_versions, versioned, versions_of
from .principal import (
    Client,
    RolesWriter,
    SessionsReader,
    SessionsWriter,
    UsersReader,
    UsersWriter,
)
from .schemas import Form, Message, Session, SessionList, Text, User, json_answer

_LINK_SENT = Message(message="A link to set a password is on its way to the owner.")
_OTHERS = ("permission_denied", "not_found", "validation_failed")

AccountPath = Annotated[UUID, Path(alias="id")]


class UserChange(Form):
    username: Text = Field(default_factory=str, examples=["ada.l"])
    email: Text = Field(default_factory=str, description="Unverified until it is proven.")
    bio: str | None = Field(default=None, description="`null` empties it.")
    locale: Text = Field(default_factory=str, examples=["en-GB"])


class RolesOfUser(Form):
    roles: list[Text] = Field(max_length=100, examples=[["support", "user"]])


def routers(administration: Administration, route: type[APIRoute]) -> Iterator[APIRouter]:
    yield _changes(administration, route)
    yield _states(administration, route)
    yield _sessions(administration, route)


def account_answer(
    account: Account, status: int = 200, if_none_match: str | None = None
) -> Response:
    return versioned(json_answer(User.of(account), status), account.updated_at, if_none_match)


def _changes(administration: Administration, route: type[APIRoute]) -> APIRouter:
    api = APIRouter(prefix=f"/v1/users/{ID}", tags=["Administration"], route_class=route)

    @api.get(
        "",
        response_model=User,
        operation_id="readUser",
        summary="Read an account",
        responses={
            **problems(CALLER, "not_found", "validation_failed"),
            200: VERSIONED,
            304: UNCHANGED,
        },
    )
    async def read_user(
        account_id: AccountPath, caller: UsersReader, if_none_match: IfNoneMatch
    ) -> Response:
        account = await administration.show.by_id(actor=caller, account_id=account_id)
        return account_answer(account, if_none_match=if_none_match)

    @api.patch(
        "",
        response_model=User,
        operation_id="changeUser",
        summary="Change an account",
        responses={
            **problems(
                CALLER,
                BODY,
                *("permission_denied", "not_found", "username_taken", "email_taken"),
                CONDITIONAL,
            ),
            200: VERSIONED,
        },
    )
    async def change_user(
        account_id: AccountPath,
        body: UserChange,
        caller: UsersWriter,
        client: Client,
        if_match: IfMatch,
    ) -> Response:
        """Leave out what shall stay. A new address is unproven; both addresses are told."""
        given = body.model_fields_set
        account = await administration.amend(
            actor=caller,
            account_id=account_id,
            versions=required_versions(if_match),
            username=body.username if "username" in given else UNSET,
            email=body.email if "email" in given else UNSET,
            bio=body.bio if "bio" in given else UNSET,
            locale=body.locale if "locale" in given else UNSET,
            client=client,
        )
        return account_answer(account)

    @api.delete(
        "",
        status_code=204,
        operation_id="deleteUser",
        summary="Delete an account",
        responses=problems(CALLER, _OTHERS, "last_admin", CONDITIONAL),
    )
    async def delete_user(
        account_id: AccountPath, caller: UsersWriter, client: Client, if_match: IfMatch
    ) -> None:
        """Erase at once what is stored about the owner; the username stays taken for a while."""
        versions = required_versions(if_match)
        await administration.delete(
            actor=caller, account_id=account_id, versions=versions, client=client
        )

    return api


def _states(administration: Administration, route: type[APIRoute]) -> APIRouter:
    api = APIRouter(prefix=f"/v1/users/{ID}", tags=["Administration"], route_class=route)

    @api.post(
        "/suspend",
        response_model=User,
        operation_id="suspendUser",
        summary="Keep an account out",
        responses={**problems(CALLER, _OTHERS, "last_admin"), 200: VERSIONED},
    )
    async def suspend_user(
        account_id: AccountPath, caller: UsersWriter, client: Client
    ) -> Response:
        """End all its sessions too; again is no error."""
        return account_answer(
            await administration.suspend(actor=caller, account_id=account_id, client=client)
        )

    @api.post(
        "/reactivate",
        response_model=User,
        operation_id="reactivateUser",
        summary="Let a suspended account in again",
        responses={**problems(CALLER, _OTHERS), 200: VERSIONED},
    )
    async def reactivate_user(
        account_id: AccountPath, caller: UsersWriter, client: Client
    ) -> Response:
        """Ended sessions stay ended; again is no error."""
        return account_answer(
            await administration.reactivate(actor=caller, account_id=account_id, client=client)
        )

    @api.post(
        "/password-reset",
        status_code=202,
        response_model=Message,
        operation_id="resetPasswordOfUser",
        summary="Mail the owner a link to set a password",
        responses=problems(CALLER, _OTHERS),
    )
    async def reset_password_of_user(
        account_id: AccountPath, caller: UsersWriter, client: Client
    ) -> Message:
        """Nobody sets another's password."""
        await administration.send_reset(actor=caller, account_id=account_id, client=client)
        return _LINK_SENT

    @api.put(
        "/roles",
        response_model=User,
        operation_id="setRolesOfUser",
        summary="Replace the roles of an account",
        responses={
            **problems(
                CALLER, BODY, "permission_denied", "not_found", "last_admin", "version_conflict"
            ),
            200: VERSIONED,
        },
    )
    async def set_roles_of_user(
        account_id: AccountPath,
        body: RolesOfUser,
        caller: RolesWriter,
        client: Client,
        if_match: IfMatch,
    ) -> Response:
        """Name all of them; tokens follow at the next refresh."""
        account = await administration.set_roles(
            actor=caller,
            account_id=account_id,
            roles=body.roles,
            versions=versions_of(if_match),
            client=client,
        )
        return account_answer(account)

    return api


def _sessions(administration: Administration, route: type[APIRoute]) -> APIRouter:
    api = APIRouter(prefix=f"/v1/users/{ID}/sessions", tags=["Administration"], route_class=route)

    @api.get(
        "",
        response_model=SessionList,
        operation_id="listSessionsOfUser",
        summary="List the sessions of an account",
        responses=problems(CALLER, "not_found", "validation_failed"),
    )
    async def list_sessions_of_user(account_id: AccountPath, caller: SessionsReader) -> Response:
        found = await administration.list_sessions(actor=caller, account_id=account_id)
        items = [Session.of(session, caller.session_id) for session in found]
        return json_answer(SessionList(items=items))

    @api.delete(
        "",
        status_code=204,
        operation_id="endSessionsOfUser",
        summary="Sign somebody out everywhere",
        responses=problems(CALLER, _OTHERS),
    )
    async def end_sessions_of_user(
        account_id: AccountPath, caller: SessionsWriter, client: Client
    ) -> None:
        await administration.end_sessions(actor=caller, account_id=account_id, client=client)

    return api
