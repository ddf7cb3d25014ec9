"""Routes of sessions: sign in, refresh, list, sign out."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ...application.sessions import Sessions
from ...application.tokens import SignedIn
from ...domain.audit import ClientContext
from ...domain.errors import InvalidGrant, NotFound, Unauthenticated
from .cookies import DeviceCookie, RefreshCookie, is_own_script
from .errors import RequestRefused, invalid
from .openapi import BODY, CALLER, problems
from .paths import ID
from .principal import Client, HashingClient, Reader, Writer, bearer_token
from .schemas import Form, Secret, Session, SessionList, Text, Tokens, json_answer
from .validation import fault

# Shown in lists and mails, where a line break could pass for something else.
_ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"
_SESSION_ID = Path(alias="id", json_schema_extra={"format": "uuid"})
_BY_TOKEN_OR_COOKIE: dict[str, Any] = {"security": [{"bearer": []}, {"refreshCookie": []}]}


class LogInForm(Form):
    login: Text = Field(description="Username or e-mail address.", examples=["ada"])
    password: Secret = Field(examples=["correct horse battery staple"])
    device_name: str | None = Field(
        default=None, max_length=100, pattern=_ONE_LINE, examples=["Ada's telephone"]
    )
    delivery: Literal["body", "cookie"] = Field(
        default="body", description="How the refresh token comes."
    )


class RefreshForm(Form):
    refresh_token: Text | None = Field(
        default=None, repr=False, description="Left out when the cookie brings it."
    )


def _parsed(session_id: str) -> UUID:
    try:
        return UUID(session_id)
    except ValueError:
        raise NotFound from None


def _without_token(form: RefreshForm | None, request: Request) -> Exception:
    """Say what is missing: who relies on the cookie has none, and has to sign in."""
    if form is None or is_own_script(request):
        return InvalidGrant()
    return invalid(fault("/refresh_token", "missing"))


@dataclass(frozen=True, slots=True)
class _Exchange:
    """What the routes do where a refresh token may travel in a cookie."""

    sessions: Sessions
    cookie: RefreshCookie
    device: DeviceCookie

    def tokens(self, signed_in: SignedIn, *, by_cookie: bool, status: int) -> Response:
        tokens = Tokens.of(signed_in, with_refresh_token=not by_cookie)
        answer = json_answer(tokens, status)
        if by_cookie:
            lifetime = signed_in.refresh_expires_in
            answer.headers["Set-Cookie"] = self.cookie.holding(signed_in.refresh_token, lifetime)
            if signed_in.device is not None:
                answer.headers.append("Set-Cookie", self.device.holding(signed_in.device))
        return answer

    async def refresh(
        self, form: RefreshForm | None, request: Request, client: ClientContext
    ) -> Response:
        given = form.refresh_token if form else None
        borne = self.cookie.read(request) if given is None else None
        token = borne if given is None else given
        if token is None:
            raise _without_token(form, request)
        try:
            signed_in = await self.sessions.refresh(refresh_token=token, client=client)
        except InvalidGrant as refused:
            cleared = {"Set-Cookie": self.cookie.cleared} if borne else None
            raise RequestRefused.because(refused, cleared) from None
        return self.tokens(signed_in, by_cookie=borne is not None, status=200)

    async def log_out(self, request: Request, client: ClientContext) -> Response:
        """End by the access token if there is one, else by the cookie."""
        try:
            access_token = bearer_token(request)
        except Unauthenticated:
            borne = self.cookie.read(request)
            if borne is None:
                raise
            await self.sessions.log_out.by_refresh_token(refresh_token=borne, client=client)
        else:
            await self.sessions.log_out(access_token=access_token, client=client)
        return Response(status_code=204, headers={"Set-Cookie": self.cookie.cleared})


def router(
    sessions: Sessions, route: type[APIRoute], cookie: RefreshCookie, device: DeviceCookie
) -> APIRouter:
    api = APIRouter(prefix="/v1/sessions", tags=["Sessions"], route_class=route)
    exchange = _Exchange(sessions, cookie, device)
    _add_tokens(api, exchange)
    _add_own(api, exchange)
    return api


def _add_tokens(api: APIRouter, exchange: _Exchange) -> None:
    @api.post(
        "",
        status_code=201,
        response_model=Tokens,
        operation_id="logIn",
        summary="Sign in",
        responses=problems(
            BODY,
            "invalid_credentials",
            "password_change_required",
            "email_not_verified",
            "origin_not_allowed",
            "rate_limited",
            "overloaded",
        ),
    )
    async def log_in(body: LogInForm, request: Request, client: HashingClient) -> Response:
        """Start a session; unknown login, wrong password and suspended account look alike."""
        by_cookie = body.delivery == "cookie"
        if by_cookie:
            exchange.cookie.refuse_foreign(request)
        signed_in = await exchange.sessions.log_in(
            login=body.login,
            password=body.password,
            device_name=body.device_name or None,
            device=exchange.device.read(request),
            client=client,
        )
        return exchange.tokens(signed_in, by_cookie=by_cookie, status=201)

    @api.post(
        "/refresh",
        response_model=Tokens,
        operation_id="refreshSession",
        summary="Exchange a refresh token for new tokens",
        responses=problems(BODY, "invalid_grant", "origin_not_allowed", "rate_limited"),
    )
    async def refresh(
        request: Request, client: Client, body: RefreshForm | None = None
    ) -> Response:
        """Rotate the token. Borne by the cookie it needs `X-Requested-With: gatepost`."""
        return await exchange.refresh(body, request, client)


def _add_own(api: APIRouter, exchange: _Exchange) -> None:
    sessions = exchange.sessions

    @api.get(
        "",
        response_model=SessionList,
        operation_id="listSessions",
        summary="List the own sessions",
        responses=problems(CALLER),
    )
    async def list_sessions(caller: Reader) -> Response:
        found = await sessions.list_own(actor=caller)
        items = [Session.of(session, caller.session_id) for session in found]
        return json_answer(SessionList(items=items))

    @api.delete(
        "/current",
        status_code=204,
        operation_id="logOut",
        summary="Sign out",
        openapi_extra=_BY_TOKEN_OR_COOKIE,
        responses=problems(
            "unauthenticated", "access_token_invalid", "origin_not_allowed", "rate_limited"
        ),
    )
    async def log_out(request: Request, client: Client) -> Response:
        """End the session of the access token, also an expired one, or of the refresh cookie."""
        return await exchange.log_out(request, client)

    @api.delete(
        f"/{ID}",
        status_code=204,
        operation_id="endSession",
        summary="End one of the own sessions",
        responses=problems(CALLER, "not_found"),
    )
    async def end_session(
        session_id: Annotated[str, _SESSION_ID], caller: Writer, client: Client
    ) -> None:
        """Whatever is no id of an own session is not found."""
        await sessions.end(actor=caller, session_id=_parsed(session_id), client=client)

    @api.delete(
        "",
        status_code=204,
        operation_id="endOtherSessions",
        summary="End all own sessions but the current one",
        responses=problems(CALLER),
    )
    async def end_other_sessions(caller: Writer, client: Client) -> None:
        await sessions.end_others(actor=caller, client=client)
