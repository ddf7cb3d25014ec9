"""Requests that carry a key of the client's, so that a repetition changes nothing."""

import hashlib
from dataclasses import field
from datetime import datetime, timedelta
from uuid import UUID

from .accounts import AccountId
from .dataclasses import dataclass

KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRequest:
    """What tells a repetition from another request; without a `key` there are none."""

    route: str
    key: str | None
    body: bytes = field(repr=False)

    def scoped_to(self, caller: UUID | None) -> bytes:
        """Make the name that the key has in storage; nobody's keys count by route alone."""
        parts = (self.route, str(caller or ""), self.key or "")
        return hashlib.sha256("\0".join(parts).encode()).digest()

    def fingerprint(self) -> bytes:
        """Digest the body, which may hold a password: to be stored sealed, never as it is."""
        return hashlib.sha256(self.body).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """A sealed answer; it goes with the account that it tells of."""

    key: bytes
    sealed: bytes = field(repr=False)
    account_id: AccountId
    expires_at: datetime


class AlreadyAnswered(Exception):
    """No refusal: this request was answered before, and this is the answer."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer
