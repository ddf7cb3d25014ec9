"""Routes for those who administer accounts."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from ...application.administration import Administration
from ...application.gatepost import Gatepost
from ...application.idempotency import Idempotency
from ...application.ports.directory import AccountSort
from ...domain.accounts import Account, AccountStatus
from . import supervision
from .idempotency import Repeatable, once
from .openapi import BODY, CALLER, CREATED, KEYED, problems
from .paging import Cursor, paged
from .paths import location
from .principal import Client, UsersReader, UsersWriter
from .schemas import Form, Text, User, UserList
from .supervision import account_answer


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


def routers(gatepost: Gatepost, route: type[APIRoute], public_url: str) -> Iterator[APIRouter]:
    administration = gatepost.administration
    yield _directory(administration, gatepost.idempotency, route, public_url)
    yield from supervision.routers(administration, route)


def _created(public_url: str, account: Account) -> Response:
    answer = account_answer(account, 201)
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
