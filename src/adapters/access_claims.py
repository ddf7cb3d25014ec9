"""The claims of an access token as JSON (RFC 9068 section 2.2), strictly typed on the way in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from ..domain.errors import AccessTokenInvalid
from ..domain.sessions import SessionId
from ..domain.tokens import AccessClaims, TokenPolicy

# The last second that a datetime can hold.
_LATEST = 253_402_300_799


@dataclass(frozen=True, slots=True)
class Dated:
    """Claims in order but for the time, which is asked at every use."""

    claims: AccessClaims
    not_before: datetime


@lru_cache(maxsize=1024)
def _written(value: str | tuple[str, ...]) -> str:
    """Write what many tokens say alike; making an encoder takes longer than all their ids."""
    return json.dumps(value, separators=(",", ":"))


def to_json(claims: AccessClaims) -> bytes:
    sid = f'"sid":"{claims.session_id}",' if claims.session_id else ""
    return (
        f'{{"iss":{_written(claims.issuer)},"aud":{_written(claims.audience)},'
        f'"sub":"{claims.subject}",{sid}"client_id":{_written(claims.client_id)},'
        f'"scope":{_written(claims.scope)},"roles":{_written(claims.roles)},'
        f'"jti":"{claims.token_id}","iat":{int(claims.issued_at.timestamp())},'
        f'"exp":{int(claims.expires_at.timestamp())}}}'
    ).encode()


def from_json(data: bytes, policy: TokenPolicy) -> Dated:
    """Read claims for this issuer and audience; raises AccessTokenInvalid.

    `aud` may be a list when ours is in it (RFC 7519 section 4.1.3); the times are not compared
    with any clock.
    """
    members = parse_object(data)
    if members.get("iss") != policy.issuer or not _names(members.get("aud"), policy.audience):
        raise AccessTokenInvalid
    issued_at = _time(members, "iat")
    claims = AccessClaims(
        issuer=policy.issuer,
        audience=policy.audience,
        subject=_uuid(members, "sub"),
        session_id=_session(members),
        client_id=_text(members, "client_id"),
        scope=_text(members, "scope"),
        roles=_roles(members.get("roles")),
        token_id=_uuid(members, "jti"),
        issued_at=issued_at,
        expires_at=_time(members, "exp"),
    )
    not_before = _time(members, "nbf") if "nbf" in members else issued_at
    return Dated(claims, max(issued_at, not_before))


def parse_object(data: bytes) -> dict[str, object]:
    """Parse a JSON object; raises AccessTokenInvalid for anything else."""
    try:
        # Decoded here, because the parser would also guess UTF-16 and UTF-32.
        parsed = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise AccessTokenInvalid from None
    if not isinstance(parsed, dict):
        raise AccessTokenInvalid
    return parsed


def _names(audience: object, ours: str) -> bool:
    if isinstance(audience, list):
        return all(isinstance(one, str) for one in audience) and ours in audience
    return audience == ours


def _time(members: Mapping[str, object], name: str) -> datetime:
    value = members.get(name)
    # `type`, not isinstance: True is an int, and a float or a text is a mistake of the issuer.
    if type(value) is not int or not 0 <= value <= _LATEST:
        raise AccessTokenInvalid
    return datetime.fromtimestamp(value, UTC)


def _text(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise AccessTokenInvalid
    return value


def _uuid(members: Mapping[str, object], name: str) -> UUID:
    text = _text(members, name)
    try:
        value = UUID(text)
    except ValueError:
        raise AccessTokenInvalid from None
    if str(value) != text:
        raise AccessTokenInvalid
    return value


def _session(members: Mapping[str, object]) -> SessionId | None:
    """Read `sid`, which only a machine client's token lacks: there the client is the subject."""
    if "sid" not in members and members.get("client_id") == members.get("sub"):
        return None
    return SessionId(_uuid(members, "sid"))


def _roles(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise AccessTokenInvalid
    return tuple(value)
