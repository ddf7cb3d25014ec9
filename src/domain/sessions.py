"""Sessions and the rotation of their refresh tokens (RFC 9700 section 4.14)."""

from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from .accounts import AccountId
from .dataclasses import dataclass

SessionId = NewType("SessionId", UUID)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPolicy:
    """Lifetimes. `refresh_grace` of zero treats every replay as theft."""

    idle_ttl: timedelta = timedelta(days=30)
    absolute_ttl: timedelta = timedelta(days=90)
    refresh_grace: timedelta = timedelta(seconds=10)


class EndReason(StrEnum):
    """Why a session ended."""

    LOGGED_OUT = "logged_out"
    ENDED_BY_OWNER = "ended_by_owner"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    PASSWORD_RESET = "password_reset"  # noqa: S105
    ADDRESS_PROVEN = "address_proven"
    ENDED_BY_ADMINISTRATOR = "ended_by_administrator"
    SUSPENDED = "suspended"
    EMAIL_CHANGED = "email_changed"
    REVOKED = "revoked"
    LATE_PARENT = "late_parent"
    STALE = "stale"
    AHEAD = "ahead"


@dataclass(frozen=True, slots=True)
class RefreshClaim:
    """What an authentic refresh token says: the session, its secret, and a generation."""

    session_id: SessionId
    secret: bytes = field(repr=False)
    generation: int
    # Names the key that sealed it: its successor is sealed by the same.
    key_id: bytes = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a session, as far as tokens tell of it."""

    session_id: SessionId
    account_id: AccountId
    roles: tuple[str, ...]
    idle_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One signed-in device. `generation` is that of the one unspent refresh token."""

    id: SessionId
    account_id: AccountId
    secret_hash: bytes = field(repr=False)
    generation: int = 0
    created_at: datetime
    rotated_at: datetime
    idle_until: datetime
    absolute_until: datetime
    revoked_at: datetime | None = None
    revoked_reason: EndReason | None = None
    device_name: str | None = None
    user_agent: str | None = None
    ip: str | None = None

    def is_live(self, now: datetime) -> bool:
        return self.revoked_at is None and now < self.idle_until and now < self.absolute_until

    def holder(self, roles: tuple[str, ...]) -> Holder:
        return Holder(
            session_id=self.id,
            account_id=self.account_id,
            roles=roles,
            idle_until=self.idle_until,
        )

    def end(self, reason: EndReason, now: datetime) -> "Session":
        return replace(self, revoked_at=now, revoked_reason=reason)

    def turn(self, presented: int, now: datetime, policy: SessionPolicy) -> "Session":
        """Return the live session after a token of generation `presented` was shown.

        Rotated, unchanged (the direct predecessor again within the grace: two tabs, a lost
        answer), or ended: then somebody holds a copy. The storage does the same in one statement.
        """
        if presented == self.generation:
            return replace(
                self,
                generation=presented + 1,
                rotated_at=now,
                idle_until=min(now + policy.idle_ttl, self.absolute_until),
            )
        if presented > self.generation:
            # No forgery can make it: the database was restored, or failed over, to older rows.
            return self.end(EndReason.AHEAD, now)
        if presented < self.generation - 1:
            return self.end(EndReason.STALE, now)
        # Two-sided: bounds what a clock that was set back can win.
        if abs(now - self.rotated_at) > policy.refresh_grace:
            return self.end(EndReason.LATE_PARENT, now)
        return self


def start_session(
    *,
    session_id: SessionId,
    account_id: AccountId,
    secret_hash: bytes,
    now: datetime,
    policy: SessionPolicy,
    device_name: str | None,
    user_agent: str | None,
    ip: str | None,
) -> Session:
    absolute_until = now + policy.absolute_ttl
    return Session(
        id=session_id,
        account_id=account_id,
        secret_hash=secret_hash,
        created_at=now,
        rotated_at=now,
        idle_until=min(now + policy.idle_ttl, absolute_until),
        absolute_until=absolute_until,
        device_name=device_name,
        user_agent=user_agent,
        ip=ip,
    )
