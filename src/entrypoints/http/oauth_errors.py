"""Refusals at the OAuth endpoints (RFC 6749 section 5.2), whatever the status."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

PATHS = "/oauth2/"
BASIC = 'Basic realm="gatepost"'
# What no token may be kept from: RFC 6749 section 5.1 wants both.
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_OWN = {
    "invalid_grant",
    "invalid_client",
    "invalid_scope",
    "insufficient_scope",
    "unsupported_grant_type",
    "unsupported_token_type",
}
_ERRORS = {
    "access_token_invalid": "invalid_token",
    "overloaded": "temporarily_unavailable",
    "unavailable": "temporarily_unavailable",
    "rate_limited": "temporarily_unavailable",
    "internal_error": "server_error",
}
# Section 5.2 leaves out quotes and backslashes.
_DESCRIPTION = str.maketrans({'"': "'", "\\": "/"})


def speaks_oauth(path: str, code: str) -> bool:
    """Tell whether a refusal here is told in OAuth's words; what is not there is no endpoint."""
    return path.startswith(PATHS) and code != "not_found"


def oauth_answer(code: str, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    error = code if code in _OWN else _ERRORS.get(code, "invalid_request")
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST
    body = {"error": error, "error_description": detail.translate(_DESCRIPTION)}
    return Response(
        json.dumps(body).encode(),
        status,
        headers={**NO_STORE, **headers},
        media_type="application/json",
    )
