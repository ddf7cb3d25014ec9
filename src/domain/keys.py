"""Life cycle of the keys that sign access tokens (RFC 8725, behaviour of verifiers' caches)."""

from collections.abc import Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from .dataclasses import dataclass

# For how long verifiers may keep the published keys, and how often a process reads the stored.
JWKS_CACHE = timedelta(minutes=5)
KEY_RELOAD = timedelta(seconds=60)


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
    activated_at: datetime | None = None
    retires_at: datetime | None = None

    @property
    def signs_since(self) -> datetime:
        """Return when it became active; the first release did not note that."""
        return self.activated_at or self.created_at

    def activate(self, now: datetime) -> "SigningKey":
        return replace(self, state=KeyState.ACTIVE, activated_at=now)

    def retire(self, now: datetime, kept: timedelta) -> "SigningKey":
        return replace(self, state=KeyState.RETIRING, retires_at=now + kept)

    def is_over(self, now: datetime) -> bool:
        """Tell whether its last token has expired, so that nobody needs it any more."""
        over = self.retires_at is not None and self.retires_at <= now
        return self.state is KeyState.RETIRING and over


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPolicy:
    """How long keys stay in their states; `lifetime` counts from the first signature.

    `slack` is for clocks that differ, verifiers' leeway, and a process that misses reloads.
    """

    lifetime: timedelta = timedelta(days=90)
    cache: timedelta = JWKS_CACHE
    reload: timedelta = KEY_RELOAD
    slack: timedelta = timedelta(minutes=5)

    @property
    def announced(self) -> timedelta:
        """How long a key is pending: the last process's reload, then two caches in a row."""
        return self.reload + 2 * self.cache

    def kept(self, longest_token: timedelta) -> timedelta:
        """How long a key is retiring: the last process's reload, then its last token's life."""
        return self.reload + longest_token + self.slack

    def activates_at(self, key: SigningKey) -> datetime:
        return key.created_at + self.announced

    def due(self, keys: Sequence[SigningKey], now: datetime) -> SigningKey | None:
        """Pick the pending key that has been announced for long enough."""
        pending = [key for key in keys if key.state is KeyState.PENDING]
        return next((key for key in pending if self.activates_at(key) <= now), None)

    def lacks_successor(
        self, keys: Sequence[SigningKey], now: datetime, *, early: bool = False
    ) -> bool:
        """Tell whether to announce a key: none is pending, and the active one is old enough.

        `early` takes any age for old enough.
        """
        if any(key.state is KeyState.PENDING for key in keys):
            return False
        active = active_of(keys)
        return active is None or early or active.signs_since + self.lifetime <= now


def active_of(keys: Sequence[SigningKey]) -> SigningKey | None:
    return next((key for key in keys if key.state is KeyState.ACTIVE), None)
