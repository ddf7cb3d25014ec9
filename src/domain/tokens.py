"""Access tokens: the claims of a JWT after RFC 9068."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from .accounts import AccountId
from .sessions import SessionId

FIRST_PARTY_CLIENT = "gatepost"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPolicy:
    issuer: str
    audience: str
    access_ttl: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessClaims:
    """RFC 9068 section 2.2; `sid` names the session, so that its end can be looked up."""

    issuer: str
    audience: str
    subject: AccountId
    session_id: SessionId
    client_id: str
    scope: str
    roles: tuple[str, ...]
    token_id: UUID
    issued_at: datetime
    expires_at: datetime
