"""What answers look like; every field is always there, `null` where it has no value."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from starlette.responses import Response

from ...application.tokens import SignedIn
from ...domain import roles
from ...domain import sessions as domain
from ...domain.accounts import Account, AccountStatus
from ...domain.roles import roles_held


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str)]


class Form(BaseModel):
    """What every request body has in common: nothing unknown, nothing converted.

    Fields here only bound sizes; what a value means is checked by the domain, with its codes.
    """

    model_config = ConfigDict(extra="forbid", strict=True)


Text = Annotated[str, Field(max_length=1024)]
# Its bounds count bytes after normalisation, which is the domain's business.
Secret = Annotated[str, Field(repr=False)]


class Message(BaseModel):
    """One neutral answer, whether or not the address is known."""

    message: str


class User(BaseModel):
    """An account as its owner and administrators see it."""

    id: UUID
    username: str
    email: str
    email_verified: bool
    bio: str | None
    locale: str
    status: AccountStatus
    roles: tuple[str, ...]
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, account: Account) -> "User":
        # What the domain holds is valid; checking it again would double the cost of this answer.
        return cls.model_construct(
            id=account.id,
            username=account.username.value,
            email=account.email.value,
            email_verified=account.email_verified,
            bio=account.bio,
            locale=account.locale,
            status=account.status,
            roles=roles_held(account.roles),
            created_at=account.created_at,
            updated_at=account.updated_at,
        )


class UserList(BaseModel):
    """A page of accounts."""

    items: list[User]
    next_cursor: str | None


class Role(BaseModel):
    """A named set of scopes."""

    name: str
    scopes: list[str]
    built_in: bool

    @classmethod
    def of(cls, role: roles.Role) -> "Role":
        return cls(name=role.name, scopes=sorted(role.scopes), built_in=role.is_built_in)


class RoleList(BaseModel):
    items: list[Role]


class Tokens(BaseModel):
    """Both tokens of a session; the refresh token is `null` when it comes as a cookie."""

    access_token: str = Field(repr=False)
    token_type: Literal["Bearer"]
    expires_in: int
    refresh_token: str | None = Field(repr=False)
    refresh_expires_in: int
    scope: str
    session_id: UUID

    @classmethod
    def of(cls, signed_in: SignedIn, *, with_refresh_token: bool) -> "Tokens":
        return cls(
            access_token=signed_in.access_token,
            token_type="Bearer",  # noqa: S106
            expires_in=int(signed_in.expires_in.total_seconds()),
            refresh_token=signed_in.refresh_token if with_refresh_token else None,
            refresh_expires_in=int(signed_in.refresh_expires_in.total_seconds()),
            scope=signed_in.scope,
            session_id=signed_in.session_id,
        )


class Session(BaseModel):
    """A signed-in device."""

    id: UUID
    created_at: Time
    last_used_at: Time
    device_name: str | None
    user_agent: str | None
    ip: str | None
    current: bool

    @classmethod
    def of(cls, session: domain.Session, current: UUID | None) -> "Session":
        return cls(
            id=session.id,
            created_at=session.created_at,
            last_used_at=session.rotated_at,
            device_name=session.device_name,
            user_agent=session.user_agent,
            ip=session.ip,
            current=session.id == current,
        )


class SessionList(BaseModel):
    """The live sessions, newest first."""

    items: list[Session]


def json_answer(model: BaseModel, status: int = 200) -> Response:
    """Serialise straight to bytes."""
    content = model.__pydantic_serializer__.to_json(model)
    return Response(content, status, media_type="application/json")
