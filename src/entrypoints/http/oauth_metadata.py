"""What the authorization server can do (RFC 8414); nothing is listed that is not there."""

import json
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.responses import Response

from ...domain.roles import Scope

_WELL_KNOWN = "/.well-known/oauth-authorization-server"
_HEADERS = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
_BY_SECRET = ["client_secret_basic", "client_secret_post"]


def router(issuer: str, *, password_grant: bool, docs: bool) -> APIRouter:
    api = APIRouter(tags=["Metadata"])
    content = json.dumps(_metadata(issuer, password_grant, docs)).encode()

    @api.get(
        _WELL_KNOWN,
        operation_id="readServerMetadata",
        summary="Read what the authorization server can do",
        response_model=dict[str, str | list[str]],
    )
    async def read_server_metadata() -> Response:
        """Public and cacheable (RFC 8414)."""
        return Response(content, headers=_HEADERS, media_type="application/json")

    if (path := well_known_path(issuer)) != _WELL_KNOWN:
        api.get(path, include_in_schema=False)(read_server_metadata)
    return api


def well_known_path(issuer: str) -> str:
    """Say where an issuer's metadata is: its own path follows (section 3.1)."""
    return _WELL_KNOWN + urlsplit(issuer).path.rstrip("/")


def _metadata(issuer: str, password_grant: bool, docs: bool) -> dict[str, object]:
    grants = ["client_credentials", "refresh_token"] + ["password"] * password_grant
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth2/token",
        "token_endpoint_auth_methods_supported": [*_BY_SECRET, "none"],
        "revocation_endpoint": f"{issuer}/oauth2/revoke",
        "revocation_endpoint_auth_methods_supported": [*_BY_SECRET, "none"],
        "introspection_endpoint": f"{issuer}/oauth2/introspect",
        "introspection_endpoint_auth_methods_supported": _BY_SECRET,
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "grant_types_supported": grants,
        # Required, and empty: there is no authorization endpoint.
        "response_types_supported": [],
        "scopes_supported": [scope.value for scope in Scope],
        **({"service_documentation": f"{issuer}/docs"} if docs else {}),
    }
