"""Access tokens: the claims of a JWT after RFC 9068."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from .dataclasses import dataclass
from .errors import InvalidScope
from .sessions import SessionId

FIRST_PARTY_CLIENT = "gatepost"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPolicy:
    issuer: str
    audience: str
    access_ttl: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessClaims:
    """RFC 9068 section 2.2; `sid` names the session, so that its end can be looked up.

    A machine client has no session: then the subject is the client itself.
    """

    issuer: str
    audience: str
    subject: UUID
    session_id: SessionId | None
    client_id: str
    scope: str
    roles: tuple[str, ...]
    token_id: UUID
    issued_at: datetime
    expires_at: datetime


def narrowed(held: Sequence[str], asked: str | None) -> tuple[str, ...]:
    """Return the scopes asked for, or all that are held when none are; raises InvalidScope."""
    wanted = set((asked or "").split())
    if not wanted <= set(held):
        raise InvalidScope
    return tuple(scope for scope in held if not wanted or scope in wanted)
