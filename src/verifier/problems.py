"""Refusals as HTTP says them, for every framework."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..domain.errors import (
    AccessTokenInvalid,
    GatepostError,
    InsufficientScope,
    Kind,
    Unauthenticated,
)

MEDIA_TYPE = "application/problem+json"
_STATUS = {Kind.UNAUTHENTICATED: 401, Kind.FORBIDDEN: 403, Kind.UNAVAILABLE: 503}


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem detail (RFC 9457) with the headers that belong to it."""

    status: int
    detail: str
    headers: Mapping[str, str]
    body: str

    @classmethod
    def of(cls, refused: GatepostError, issuer: str) -> "Problem":
        """Say it; the page that `type` names is at the issuer, who knows the same codes."""
        status = _STATUS[refused.kind]
        members = {
            "type": f"{issuer.rstrip('/')}/problems/{refused.code}",
            "title": refused.title,
            "status": status,
            "detail": refused.detail,
            "code": refused.code,
        }
        headers = {"Cache-Control": "no-store", **_headers_of(refused)}
        return cls(status, refused.detail, headers, json.dumps(members))


def _headers_of(refused: GatepostError) -> Mapping[str, str]:
    if isinstance(refused, InsufficientScope):
        challenge = f'Bearer error="insufficient_scope", scope="{refused.scope}"'
        return {"WWW-Authenticate": challenge}
    if isinstance(refused, AccessTokenInvalid):
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    if refused.kind is Kind.UNAUTHENTICATED:
        # RFC 6750 section 3.1: no error code when no credentials came.
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(getattr(refused, "retry_after", 1))}


def bearer_token(sent: Sequence[str]) -> str:
    """Take the token from the values of Authorization, the only place where one counts.

    Raises Unauthenticated when there is none, AccessTokenInvalid when there are two.
    """
    if len(sent) > 1:
        raise AccessTokenInvalid
    scheme, _, token = (sent[0] if sent else "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    return token
