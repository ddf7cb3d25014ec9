"""The OAuth 2.0 endpoints: forms in, RFC 6749 answers and errors out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from ...application.gatepost import Gatepost
from ...application.oauth import Introspected, TokenNotRevocable
from ...application.tokens import Granted
from ...domain.audit import ClientContext
from ...domain.clients import Client as MachineClient
from ...domain.errors import GatepostError, InvalidClient, InvalidGrant, Kind
from ...domain.roles import Principal, Scope
from ...domain.tokens import FIRST_PARTY_CLIENT
from .client_address import client_of
from .errors import ProblemType, RequestRefused
from .form_body import OAuthForm, read_form
from .oauth_errors import NO_STORE
from .principal import bearer_token
from .routing import PlainRoute
from .schemas import Tokens, json_answer

UNSUPPORTED_GRANT_TYPE = ProblemType(
    "unsupported_grant_type", 400, "There is no such grant type here."
)
UNSUPPORTED_TOKEN_TYPE = ProblemType(
    "unsupported_token_type", 400, "A machine client's token ends by itself, or with the client."
)
_LOGIN_REFUSALS = {Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.INVALID}
_BY_CLIENT: dict[str, Any] = {"security": [{"clientBasic": []}, {}]}
_BY_CLIENT_OR_BEARER: dict[str, Any] = {
    "security": [{"clientBasic": []}, {"bearer": [Scope.TOKENS_INTROSPECT.value]}]
}


class ClientTokens(BaseModel):
    """The access token of a machine client."""

    access_token: str = Field(repr=False)
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str

    @classmethod
    def of(cls, granted: Granted) -> "ClientTokens":
        return cls(
            access_token=granted.access_token,
            token_type="Bearer",  # noqa: S106
            expires_in=int(granted.expires_in.total_seconds()),
            scope=granted.scope,
        )


class Introspection(BaseModel):
    """What a token is worth now (RFC 7662); of one that is worth nothing, `active` alone."""

    active: bool
    scope: str | None = None
    client_id: str | None = None
    username: str | None = None
    token_type: str | None = None
    exp: int | None = None
    iat: int | None = None
    sub: str | None = None
    aud: str | None = None
    iss: str | None = None
    jti: UUID | None = None
    sid: UUID | None = None

    @classmethod
    def of(cls, found: Introspected | None, issuer: str, audience: str) -> "Introspection":
        if found is None:
            return cls(active=False)
        is_access_token = found.token_id is not None
        return cls(
            active=True,
            scope=found.scope,
            client_id=found.client_id,
            username=found.username,
            token_type="Bearer" if is_access_token else None,
            exp=int(found.expires_at.timestamp()),
            iat=int(found.issued_at.timestamp()),
            sub=str(found.subject),
            aud=audience if is_access_token else None,
            iss=issuer,
            jti=found.token_id,
            sid=found.session_id,
        )


class OAuthError(BaseModel):
    """An error of RFC 6749 section 5.2."""

    error: str = Field(examples=["invalid_grant"])
    error_description: str


_ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": OAuthError, "description": "The `error` says why."},
    401: {"model": OAuthError, "description": "`invalid_client`, or `invalid_token`."},
    413: {"model": OAuthError, "description": "`invalid_request`: the body is too large."},
    415: {"model": OAuthError, "description": "`invalid_request`: the body is no form."},
    429: {"model": OAuthError, "description": "`temporarily_unavailable`, with `Retry-After`."},
    503: {"model": OAuthError, "description": "`temporarily_unavailable`, with `Retry-After`."},
}


@dataclass(frozen=True, slots=True)
class _Grants:
    """The three grants of the token endpoint."""

    gatepost: Gatepost
    password_grant: bool

    async def __call__(self, form: OAuthForm, client: ClientContext) -> Response:
        grant_type = form.require("grant_type")
        if grant_type == "password" and self.password_grant:
            return await self._password(form, client)
        if grant_type == "refresh_token":
            return await self._refresh(form, client)
        if grant_type == "client_credentials":
            return await self._client_credentials(form, client)
        raise RequestRefused(UNSUPPORTED_GRANT_TYPE)

    async def _password(self, form: OAuthForm, client: ClientContext) -> Response:
        if not _is_first_party(form):
            raise InvalidClient
        try:
            signed_in = await self.gatepost.sessions.log_in(
                login=form.require("username"),
                password=form.require("password"),
                scope=form.get("scope"),
                client=client,
            )
        except GatepostError as refused:
            if refused.kind in _LOGIN_REFUSALS:
                raise InvalidGrant("The login was refused.") from None
            raise
        return _uncached(Tokens.of(signed_in, with_refresh_token=True))

    async def _refresh(self, form: OAuthForm, client: ClientContext) -> Response:
        token = form.require("refresh_token")
        if not _is_first_party(form):
            raise InvalidGrant("The token was issued to another client.")
        signed_in = await self.gatepost.sessions.refresh(
            refresh_token=token, scope=form.get("scope"), client=client
        )
        return _uncached(Tokens.of(signed_in, with_refresh_token=True))

    async def _client_credentials(self, form: OAuthForm, client: ClientContext) -> Response:
        machine = await _authenticated(self.gatepost, form, client)
        granted = self.gatepost.oauth.grant_to_client(client=machine, scope=form.get("scope"))
        return _uncached(ClientTokens.of(granted))


def _is_first_party(form: OAuthForm) -> bool:
    return form.client_id in (None, FIRST_PARTY_CLIENT) and not form.client_secret


async def _authenticated(
    gatepost: Gatepost, form: OAuthForm, client: ClientContext
) -> MachineClient:
    client_id, secret = _credentials(form)
    return await gatepost.oauth.authenticate_client(
        client_id=client_id, secret=secret, client=client
    )


def _credentials(form: OAuthForm) -> tuple[str, str]:
    if form.client_id is None or form.client_secret is None:
        raise InvalidClient
    return form.client_id, form.client_secret


def _uncached(model: BaseModel) -> Response:
    answer = json_answer(model)
    answer.headers.update(NO_STORE)
    return answer


async def _introspected(
    gatepost: Gatepost, request: Request, client: ClientContext
) -> Introspected | None:
    """Tell who asks, by a bearer token or as a machine client, and what the token is worth."""
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        actor = await gatepost.sessions.authenticate(access_token=bearer_token(request))
        actor.require(Scope.TOKENS_INTROSPECT)
        form = await read_form(request, by_bearer=True)
        return await gatepost.oauth.introspect(actor=actor, token=form.require("token"))
    form = await read_form(request)
    client_id, secret = _credentials(form)
    if (token := form.get("token")) is None:
        # Whoever may not ask is told that first.
        machine = await _authenticated(gatepost, form, client)
        Principal.machine(machine).require(Scope.TOKENS_INTROSPECT)
        raise form.missing("token")
    return await gatepost.oauth.introspect_as_client(
        client_id=client_id, secret=secret, token=token, client=client
    )


def router(gatepost: Gatepost, *, password_grant: bool) -> APIRouter:
    api = APIRouter(
        prefix="/oauth2", tags=["OAuth 2.0"], responses=_ERROR_RESPONSES, route_class=PlainRoute
    )
    grants = _Grants(gatepost, password_grant)
    tokens = gatepost.policies.tokens

    @api.post(
        "/token",
        operation_id="issueTokens",
        summary="Get tokens by a grant",
        response_model=Tokens | ClientTokens,
        openapi_extra=_BY_CLIENT
        | _form(
            grant_type="`refresh_token`, `client_credentials`, `password` where it is on.",
            scope="Narrows the access token.",
            refresh_token="For `refresh_token`.",  # noqa: S106
            username="For `password`: username or e-mail address.",
            password="For `password`.",  # noqa: S106
            client_id="Left out or `gatepost`, but for `client_credentials`.",
            client_secret="Unless HTTP Basic brings it.",  # noqa: S106
        ),
    )
    async def issue_tokens(request: Request) -> Response:
        """Errors are those of RFC 6749; each refusal of a login is one `invalid_grant`."""
        return await grants(await read_form(request), client_of(request.scope))

    @api.post(
        "/revoke",
        operation_id="revokeToken",
        summary="End the session of a token",
        openapi_extra=_BY_CLIENT | _form(token="Of either kind.", token_type_hint="Ignored."),  # noqa: S106
    )
    async def revoke_token(request: Request) -> Response:
        """Answer 200 for unknown tokens too (RFC 7009)."""
        form, client = await read_form(request), client_of(request.scope)
        first = _is_first_party(form)
        presenter = None if first else await _authenticated(gatepost, form, client)
        try:
            await gatepost.oauth.revoke(
                token=form.require("token"), presented_by=presenter, client=client
            )
        except TokenNotRevocable:
            raise RequestRefused(UNSUPPORTED_TOKEN_TYPE) from None
        return Response(headers=NO_STORE)

    @api.post(
        "/introspect",
        operation_id="introspectToken",
        summary="Tell what a token is worth now",
        response_model=Introspection,
        response_model_exclude_none=True,
        openapi_extra=_BY_CLIENT_OR_BEARER
        | _form(token="Of either kind.", token_type_hint="Ignored."),  # noqa: S106
        responses={403: {"model": OAuthError, "description": "`insufficient_scope`."}},
    )
    async def introspect_token(request: Request) -> Response:
        """For a bearer or a machine client with the scope `tokens:introspect` (RFC 7662)."""
        found = await _introspected(gatepost, request, client_of(request.scope))
        answer = Introspection.of(found, tokens.issuer, tokens.audience)
        content = answer.model_dump_json(exclude_none=True)
        return Response(content, headers=NO_STORE, media_type="application/json")

    return api


def _form(**parameters: str) -> dict[str, Any]:
    """Document a form, whose first parameter is required."""
    properties: Mapping[str, Any] = {
        name: {"type": "string", "description": text} for name, text in parameters.items()
    }
    schema = {"type": "object", "properties": properties, "required": [next(iter(parameters))]}
    content = {"application/x-www-form-urlencoded": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}
