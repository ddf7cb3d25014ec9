"""Why a token was refused, for the log of who sets up a verifier; callers are told nothing."""

from collections.abc import Mapping

from ..adapters import base64url
from ..adapters.access_claims import parse_object
from ..adapters.signed_tokens import MAX_TOKEN, TYP
from ..domain.errors import AccessTokenInvalid


def reason_of(token: str, issuer: str, audience: str) -> str:
    """Name the check that fails, without a word of the token: it may be a good one elsewhere."""
    if len(token) > MAX_TOKEN:
        return "it is too long"
    try:
        header, payload, _ = (base64url.decode(part) for part in token.split("."))
        return _wrong(parse_object(header), parse_object(payload), issuer, audience)
    except (ValueError, AccessTokenInvalid):
        return "it is no signed JWT"


def _wrong(
    header: Mapping[str, object], claims: Mapping[str, object], issuer: str, audience: str
) -> str:
    if str(header.get("typ")).lower().removeprefix("application/") != TYP:
        return f"its typ is not {TYP}"
    if claims.get("iss") != issuer:
        return f"its iss is not {issuer!r}, letter by letter"
    named = claims.get("aud")
    if audience not in (named if isinstance(named, list) else [named]):
        return f"its aud is not {audience!r}, letter by letter"
    return "its kid, alg, signature, times or another claim"
