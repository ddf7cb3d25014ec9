"""Public metadata at fixed addresses (RFC 8615)."""

import hashlib
import json
from datetime import timedelta

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from ...application.keys import Keys


def router(keys: Keys, cached: timedelta, frontend_url: str) -> APIRouter:
    api = APIRouter(prefix="/.well-known", tags=["Metadata"])
    change_password = f"{frontend_url.rstrip('/')}/change-password"
    # What rotation counts on: a new key signs after twice this time.
    max_age = int(cached.total_seconds())

    @api.get(
        "/jwks.json",
        operation_id="readKeys",
        summary="Read the keys that verify access tokens",
        response_model=dict[str, list[dict[str, str]]],
        responses={304: {"description": "Not changed since the `If-None-Match` given."}},
    )
    async def read_keys(request: Request) -> Response:
        """Public members only (RFC 7517); cacheable by anybody, from any origin."""
        content = json.dumps(keys.access_tokens.published()).encode()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {
            "Cache-Control": f"public, max-age={max_age}",
            "ETag": etag,
            "Access-Control-Allow-Origin": "*",
        }
        if _is_known(etag, request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type="application/json")

    @api.get(
        "/change-password",
        operation_id="findPasswordPage",
        summary="Go to the page where a password is changed",
        status_code=303,
        response_class=RedirectResponse,
    )
    async def find_password_page() -> RedirectResponse:
        """Where password managers look (W3C, A Well-Known URL for Changing Passwords)."""
        return RedirectResponse(change_password, 303)

    return api


def _is_known(etag: str, if_none_match: str) -> bool:
    """Compare weakly, as RFC 9110 section 13.1.2 wants it."""
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in known or "*" in known
