"""Gatepost under a prefix of a host's application, and its callers in the host's own routes."""

from dataclasses import dataclass
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from fastapi import HTTPException, WebSocketException
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from ...application.gatepost import Gatepost
from ...domain.audit import ClientContext
from ...domain.errors import GatepostError
from ...domain.roles import Principal, Scope
from .app import create_app
from .client_address import clean_user_agent, client_ip, request_id
from .errors import STATUS, headers_of
from .oauth_metadata import well_known_path
from .options import HttpOptions, Routes
from .principal import bearer_token

_NAME = "gatepost"
_POLICY_VIOLATION = 1008
_METADATA = "gatepost-metadata"


def mount(app: Starlette, prefix: str, gatepost: Gatepost, options: HttpOptions) -> None:
    """Serve Gatepost under `prefix` of a FastAPI or Starlette application.

    Call it in the host's lifespan, inside of whatever opened `gatepost`: nobody runs the lifespan
    of a mounted application. It comes before the host's routes, or one that takes every path
    would hide it, and in place of what an earlier run mounted. Raises ValueError unless
    `options.public_url` ends in the prefix, as links, problem types and issuer start with it,
    where `create_app` does, and for a second prefix: `require_scope` knows one Gatepost an
    application.
    """
    if not prefix.startswith("/") or not urlsplit(options.public_url).path.endswith(prefix):
        raise ValueError(f"The public URL must end in the prefix of the mount, {prefix!r}.")
    earlier = [route for route in app.router.routes if _is_ours(route)]
    if any(route.path != prefix for route in earlier):
        raise ValueError(f"Gatepost is mounted already, and not under {prefix!r}.")
    others = [
        route
        for route in app.router.routes
        if route not in earlier and getattr(route, "name", None) != _METADATA
    ]
    own = Mount(prefix, app=create_app(gatepost, options), name=_NAME)
    known = _metadata(own, gatepost) if Routes.OAUTH in options.routes else []
    app.router.routes[:] = [own, *known, *others]
    app.state.gatepost, app.state.gatepost_options = gatepost, options


def _is_ours(route: BaseRoute) -> TypeGuard[Mount]:
    return isinstance(route, Mount) and route.name == _NAME


def _metadata(own: Mount, gatepost: Gatepost) -> list[BaseRoute]:
    """Route the issuer's metadata: its well-known part comes before the prefix (RFC 8414)."""
    path = well_known_path(gatepost.policies.tokens.issuer)
    return [Route(path, endpoint=_Forwarding(own), name=_METADATA)]


@dataclass(frozen=True, slots=True)
class _Forwarding:
    """Hands a path of the host's to the mounted application, as if the prefix stood before it."""

    own: Mount

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        root = scope.get("root_path", "")
        below = root + self.own.path
        path = below + scope["path"].removeprefix(root)
        await self.own.app({**scope, "root_path": below, "path": path}, receive, send)


def client_context(connection: HTTPConnection) -> ClientContext:
    """Say where a request to the host came from, as use cases want to know; for `Depends`.

    Its id, for audit entries and logs, is that of the header X-Request-ID, or made. Raises
    RuntimeError where nothing is mounted on the application that has the route.
    """
    options: HttpOptions = _mounted(connection, "gatepost_options")
    return ClientContext(
        ip=client_ip(connection.scope, options.trusted_proxies),
        user_agent=clean_user_agent(connection.headers.get("user-agent", "").encode("latin-1")),
        request_id=request_id(connection.headers.get("x-request-id", "").encode("latin-1")),
    )


def _mounted(connection: HTTPConnection, name: str) -> Any:
    try:
        return getattr(connection.app.state, name)
    except AttributeError:
        raise RuntimeError(
            "No Gatepost is mounted on the application of this route. Mount it in the lifespan"
            " (and let tests run that); an application under another one takes over its"
            " `state.gatepost` and `state.gatepost_options`."
        ) from None


class require_scope(SecurityBase):
    """Let in who bears an access token with these scopes; for `Depends` in the host's routes.

    Session and account are read on every call, so an ended one is refused at once. The refusal is
    FastAPI's HTTPException, so that it looks like the host's own; `detail` has `code` and `title`.
    A WebSocket is refused before it is accepted, with 403. Raises what `client_context` does.
    """

    def __init__(self, *scopes: Scope | str) -> None:
        self._scopes = tuple(Scope(scope) for scope in scopes)
        self.model = HTTPBearer(bearerFormat="JWT")
        self.scheme_name = _NAME

    async def __call__(self, connection: HTTPConnection) -> Principal:
        gatepost: Gatepost = _mounted(connection, "gatepost")
        try:
            token = bearer_token(connection)
            principal = await gatepost.sessions.authenticate(access_token=token)
            for scope in self._scopes:
                principal.require(scope)
        except GatepostError as refused:
            if connection.scope["type"] == "websocket":
                raise WebSocketException(_POLICY_VIOLATION, refused.code) from None
            detail = {"code": refused.code, "title": refused.title}
            raise HTTPException(STATUS[refused.kind], detail, headers_of(refused)) from None
        return principal
