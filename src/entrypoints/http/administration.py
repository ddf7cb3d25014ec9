"""Routes for those who administer accounts."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from ...application.accounts import UNSET
from ...application.administration import Administration
from ...application.gatepost import Gatepost
from ...application.idempotency import Idempotency
from ...application.ports.directory import AccountSort
from ...domain.accounts import Account, AccountStatus
from .idempotency import Repeatable, once
from .openapi import BODY, CALLER, CREATED, KEYED, UNCHANGED, VERSIONED, problems
from .paging import Cursor, paged
from .paths import ID, location
from .preconditions import IfMatch, IfNoneMatch, required_versions, versioned, versions_of
from .principal import (
    Client,
    RolesWriter,
    SessionsReader,
    SessionsWriter,
    UsersReader,
    UsersWriter,
)
from .schemas import (
    Form,
    Message,
    Session,
    SessionList,
    Text,
    User,
    UserList,
    json_answer,
)

_LINK_SENT = Message(message="A link to set a password is on its way to the owner.")
_OTHERS = ("permission_denied", "not_found", "validation_failed")

AccountPath = Annotated[UUID, Path(alias="id")]


class UserQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=200)
    cursor: Cursor | None = None
    q: str | None = Field(
        default=None,
        min_length=1,
        max_length=254,
        pattern=r"^[^\x00]*$",
        description="The start of a username or an e-mail address.",
        examples=["ada"],
    )
    status: AccountStatus | None = None
    role: str | None = Field(default=None, max_length=50, pattern=r"^[a-z][a-z0-9_-]*$")
    sort: AccountSort = Field(default=AccountSort.NEWEST, description="With `-` descending.")


class UserForm(Form):
    username: Text = Field(examples=["ada"])
    email: Text = Field(examples=["ada@example.com"])
    password: str | None = Field(
        default=None,
        repr=False,
        description="An initial one, to be changed at the first login within 7 days. Without it "
        "the owner is mailed a link to set his first.",
    )
    bio: str | None = Field(default=None, examples=["Counts things."])
    locale: Text | None = Field(default=None, examples=["en-GB"])
    roles: list[Text] = Field(
        default_factory=list, max_length=100, description="Others than `user` need `roles:write`."
    )


class UserChange(Form):
    username: Text = Field(default_factory=str, examples=["ada.l"])
    email: Text = Field(default_factory=str, description="Unverified until it is proven.")
    bio: str | None = Field(default=None, description="`null` empties it.")
    locale: Text = Field(default_factory=str, examples=["en-GB"])


class RolesOfUser(Form):
    roles: list[Text] = Field(max_length=100, examples=[["support", "user"]])


def routers(gatepost: Gatepost, route: type[APIRoute], public_url: str) -> Iterator[APIRouter]:
    administration = gatepost.administration
    yield _directory(administration, gatepost.idempotency, route, public_url)
    yield _changes(administration, route)
    yield _states(administration, route)
    yield _sessions(administration, route)


def _answer(account: Account, status: int = 200, if_none_match: str | None = None) -> Response:
    return versioned(json_answer(User.of(account), status), account.updated_at, if_none_match)


def _created(public_url: str, account: Account) -> Response:
    answer = _answer(account, 201)
    answer.headers["Location"] = location(public_url, f"/v1/users/{account.id}")
    return answer


def _directory(
    administration: Administration,
    idempotency: Idempotency,
    route: type[APIRoute],
    public_url: str,
) -> APIRouter:
    api = APIRouter(prefix="/v1/users", tags=["Administration"], route_class=route)
    created = partial(_created, public_url)

    @api.get(
        "",
        response_model=UserList,
        operation_id="listUsers",
        summary="List and search accounts",
        responses=problems(CALLER, "validation_failed"),
    )
    async def list_users(
        request: Request, caller: UsersReader, query: Annotated[UserQuery, Query()]
    ) -> Response:
        """Page by page; `q` matches the start of a username or an address."""
        page = await administration.list_accounts(
            actor=caller,
            q=query.q,
            status=query.status,
            role=query.role,
            sort=query.sort,
            limit=query.limit,
            cursor=query.cursor,
        )
        items = [User.of(account) for account in page.items]
        body = UserList.model_construct(items=items, next_cursor=page.next_cursor)
        return paged(request, public_url, body, page.next_cursor)

    @api.post(
        "",
        status_code=201,
        response_model=User,
        operation_id="createUser",
        summary="Create an account",
        responses={
            **problems(
                CALLER,
                BODY,
                KEYED,
                *("permission_denied", "username_taken", "email_taken", "overloaded"),
            ),
            201: CREATED,
        },
    )
    async def create_user(
        body: UserForm, caller: UsersWriter, client: Client, keyed: Repeatable
    ) -> Response:
        """Mail the owner a link: to prove the address, or to set a password if none is given."""
        account = await administration.create(
            actor=caller,
            username=body.username,
            email=body.email,
            password=body.password,
            bio=body.bio,
            locale=body.locale,
            roles=body.roles,
            client=client,
            once=once(idempotency, keyed, created, caller.actor_id),
        )
        return created(account)

    return api


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
        return _answer(account, if_none_match=if_none_match)

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
                *("version_conflict", "precondition_required"),
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
        return _answer(account)

    @api.delete(
        "",
        status_code=204,
        operation_id="deleteUser",
        summary="Delete an account",
        responses=problems(
            CALLER, _OTHERS, "last_admin", "version_conflict", "precondition_required"
        ),
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
        return _answer(
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
        return _answer(
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
        return _answer(account)

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
