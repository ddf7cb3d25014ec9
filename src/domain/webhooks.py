"""Webhooks: endpoints that are told of events, and what became of each telling."""

import base64
from collections.abc import Callable, Iterable
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from urllib.parse import urlsplit
from uuid import UUID

from .dataclasses import dataclass
from .errors import FieldError, ValidationFailed
from .events import CATALOGUE

EndpointId = NewType("EndpointId", UUID)
DeliveryId = NewType("DeliveryId", UUID)

SECRET_PREFIX = "whsec_"  # noqa: S105
# Receivers have so long to take the new secret over.
ROTATION_OVERLAP = timedelta(hours=24)
# With waits of up to ten minutes some two hours; fewer than the queue's own tries.
MAX_ATTEMPTS = 24
# Failing so long without one success, an endpoint is disabled.
FAILING_AT_MOST = timedelta(days=5)
# What was told or could not be told, and what waits for a disabled endpoint.
DELIVERIES_KEPT = timedelta(days=30)
_GONE = 410


class EndpointStatus(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryStatus(StrEnum):
    """`held`: the endpoint was disabled; enabling it sends what is held."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    HELD = "held"


class Fault(StrEnum):
    """Why there was no answer."""

    FORBIDDEN = "forbidden"
    UNRESOLVED = "unresolved"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"


def secret_from(token: str) -> str:
    """Spell a token (256 bits, URL-safe base64) as receivers' libraries want a secret."""
    key = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    return SECRET_PREFIX + base64.b64encode(key).decode("ascii")


def parse_events(names: Iterable[str]) -> tuple[str, ...]:
    """Sort the names of events; none at all stands for every event, later ones included."""
    found = sorted(set(names))
    if any(name not in CATALOGUE for name in found):
        message = "Only events that this service knows."
        raise ValidationFailed(FieldError("events", "unknown_event", message))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt went: a status, or a fault. Of an answer's body nothing is read."""

    duration_ms: int
    status: int | None = None
    fault: Fault | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Tell whether the receiver wants no more, ever (Standard Webhooks 1.0.0)."""
        return self.status == _GONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Who is told, and of which events (none: of all).

    `failing_since`: of the first failure after the last success. `contact` is told when the
    endpoint is disabled for that.
    """

    id: EndpointId
    url: str = field(repr=False)
    events: tuple[str, ...] = ()
    contact: str | None = None
    status: EndpointStatus = EndpointStatus.ENABLED
    sealed_secret: bytes = field(repr=False)
    sealed_former_secret: bytes | None = field(default=None, repr=False)
    former_until: datetime | None = None
    failing_since: datetime | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def is_enabled(self) -> bool:
        return self.status is EndpointStatus.ENABLED

    @property
    def host(self) -> str:
        """Name the endpoint where the rest of its URL, perhaps a secret, has no place."""
        return urlsplit(self.url).hostname or ""

    def wants(self, name: str) -> bool:
        return not self.events or name in self.events

    def sealed_secrets(self, now: datetime) -> tuple[bytes, ...]:
        """List what to sign with, newest first: two while one takes over from the other."""
        former, until = self.sealed_former_secret, self.former_until
        if former is None or until is None or now >= until:
            return (self.sealed_secret,)
        return self.sealed_secret, former

    def rotate(self, sealed_secret: bytes, now: datetime) -> "Endpoint":
        return replace(
            self,
            sealed_secret=sealed_secret,
            sealed_former_secret=self.sealed_secret,
            former_until=now + ROTATION_OVERLAP,
            updated_at=now,
        )

    def reseal(self, seal: Callable[[bytes], bytes], now: datetime) -> "Endpoint":
        """Seal anew what still signs; a former secret whose time is over goes."""
        secret, *former = map(seal, self.sealed_secrets(now))
        return replace(
            self, sealed_secret=secret, sealed_former_secret=former[0] if former else None
        )

    def enable(self, now: datetime) -> "Endpoint":
        return replace(self, status=EndpointStatus.ENABLED, failing_since=None, updated_at=now)

    def disable(self, now: datetime) -> "Endpoint":
        return replace(self, status=EndpointStatus.DISABLED, updated_at=now)

    def after(self, outcome: Outcome, now: datetime) -> "Endpoint":
        """Remember since when it fails; disabled when that is too long, or it says it is gone."""
        if outcome.is_success:
            return replace(self, failing_since=None) if self.failing_since else self
        since = self.failing_since or now
        failing = replace(self, failing_since=since)
        is_lost = outcome.is_gone or now - since >= FAILING_AT_MOST
        return failing.disable(now) if is_lost else failing


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one endpoint, with how the last attempt went."""

    id: DeliveryId
    endpoint_id: EndpointId
    event_id: UUID
    event: str
    body: str = field(repr=False)
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    created_at: datetime
    attempted_at: datetime | None = None
    answered: int | None = None
    fault: Fault | None = None
    duration_ms: int | None = None

    @property
    def is_pending(self) -> bool:
        return self.status is DeliveryStatus.PENDING

    @property
    def has_arrived(self) -> bool:
        return self.status is DeliveryStatus.DELIVERED

    def after(self, outcome: Outcome, now: datetime) -> "Delivery":
        """Count an attempt; the last one that fails gives it up."""
        attempts = self.attempts + 1
        if outcome.is_success:
            status = DeliveryStatus.DELIVERED
        else:
            given_up = attempts >= MAX_ATTEMPTS
            status = DeliveryStatus.FAILED if given_up else DeliveryStatus.PENDING
        return replace(
            self,
            status=status,
            attempts=attempts,
            attempted_at=now,
            answered=outcome.status,
            fault=outcome.fault,
            duration_ms=outcome.duration_ms,
        )

    def hold(self) -> "Delivery":
        return replace(self, status=DeliveryStatus.HELD)

    def again(self) -> "Delivery":
        """Start anew, as if it had never been tried."""
        return replace(self, status=DeliveryStatus.PENDING, attempts=0)
