"""Public metadata at fixed addresses (RFC 8615)."""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from ...application.keys import Keys
from .openapi import UNCHANGED, VERSIONED
from .preconditions import is_known
from .routing import PlainRoute


def router(keys: Keys, cached: timedelta, frontend_url: str) -> APIRouter:
    api = APIRouter(prefix="/.well-known", tags=["Metadata"], route_class=PlainRoute)
    change_password = f"{frontend_url.rstrip('/')}/change-password"
    # What rotation counts on: a new key signs after twice this time.
    key_set = _KeySet(int(cached.total_seconds()))

    @api.get(
        "/jwks.json",
        operation_id="readKeys",
        summary="Read the keys that verify access tokens",
        response_model=dict[str, list[dict[str, str]]],
        responses={200: VERSIONED, 304: UNCHANGED},
    )
    async def read_keys(request: Request) -> Response:
        """Public members only (RFC 7517); cacheable by anybody, from any origin."""
        return key_set.answer(
            keys.access_tokens.published(), request.headers.get("if-none-match", "")
        )

    @api.get(
        "/change-password",
        operation_id="findPasswordPage",
        summary="Go to the page where a password is changed",
        status_code=303,
        response_class=RedirectResponse,
    )
    async def find_password_page(_: Request) -> RedirectResponse:
        """Where password managers look (W3C, A Well-Known URL for Changing Passwords)."""
        return RedirectResponse(change_password, 303)

    return api


class _KeySet:
    """Answers with bytes that are made when the keys change, not at every request."""

    def __init__(self, max_age: int) -> None:
        self._max_age = max_age
        self._made_of: Mapping[str, object] | None = None
        self._etag = ""
        self._whole = self._unchanged = Response()

    def answer(self, published: Mapping[str, object], if_none_match: str) -> Response:
        if published is not self._made_of:
            self._make(published)
        known = if_none_match and is_known(self._etag, if_none_match)
        return self._unchanged if known else self._whole

    def _make(self, published: Mapping[str, object]) -> None:
        content = json.dumps(published).encode()
        self._etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {
            "Cache-Control": f"public, max-age={self._max_age}",
            "ETag": self._etag,
            "Access-Control-Allow-Origin": "*",
        }
        self._whole = Response(content, headers=headers, media_type="application/json")
        self._unchanged = Response(status_code=304, headers=headers)
        self._made_of = published
