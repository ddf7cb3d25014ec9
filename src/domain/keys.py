"""Life cycle of the keys that sign access tokens (RFC 8725, behaviour of verifiers' caches)."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum


class KeyState(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    RETIRING = "retiring"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key pair. `kid` is the RFC 7638 thumbprint; the private half is sealed at rest.

    Exactly one key is active. Pending and retiring ones are published too: verifiers must know
    a key before its first signature and until its last one expires.
    """

    kid: str
    algorithm: str
    sealed_private_key: bytes = field(repr=False)
    state: KeyState
    created_at: datetime
    retires_at: datetime | None = None

    def retire(self, now: datetime, longest_token: timedelta) -> "SigningKey":
        return replace(self, state=KeyState.RETIRING, retires_at=now + longest_token)
