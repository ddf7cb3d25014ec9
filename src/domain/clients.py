"""Machine clients: programs that call with a secret of their own (RFC 6749 section 4.4)."""

import hmac
from collections.abc import Iterable
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from .credentials import digest
from .dataclasses import dataclass
from .errors import FieldError, NotFound, ValidationFailed

ClientId = NewType("ClientId", UUID)

# Found by those who scan code and logs for secrets that got out.
SECRET_PREFIX = "gpc_"  # noqa: S105
MAX_NAME = 100
MAX_VALID_SECRETS = 2
_USE_GRAIN = timedelta(hours=1)
_OWN_ACCOUNT = "account:"


class ClientStatus(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"


def parse_name(text: str) -> str:
    if not 1 <= len(text) <= MAX_NAME or not text.isprintable() or text.isspace():
        raise ValidationFailed(
            FieldError("name", "invalid_name", f"1 to {MAX_NAME} printable characters.")
        )
    return text


def for_clients(scopes: Iterable[str]) -> tuple[str, ...]:
    """Sort a client's scopes; those of an own account make no sense without an account."""
    found = sorted(set(scopes))
    if any(scope.startswith(_OWN_ACCOUNT) for scope in found):
        raise ValidationFailed(
            FieldError("scopes", "not_for_clients", "A client has no account of its own.")
        )
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecret:
    """A secret as it is stored; `last_used_at` is coarse: it is written once an hour at most."""

    id: UUID
    digest: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None

    @classmethod
    def issue(
        cls, secret_id: UUID, secret: str, now: datetime, expires_at: datetime | None
    ) -> "ClientSecret":
        if expires_at is not None and expires_at <= now:
            raise ValidationFailed(FieldError("expires_at", "in_the_past", "Choose a later time."))
        return cls(id=secret_id, digest=digest(secret), created_at=now, expires_at=expires_at)

    def is_valid(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at

    def needs_note(self, now: datetime) -> bool:
        """Tell whether this use is worth a write."""
        return self.last_used_at is None or now >= self.last_used_at + _USE_GRAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A program that may call. `updated_at` never stands still: it is the version, too."""

    id: ClientId
    name: str
    scopes: tuple[str, ...]
    status: ClientStatus = ClientStatus.ACTIVE
    secrets: tuple[ClientSecret, ...] = ()
    created_at: datetime
    updated_at: datetime

    def touch(self, now: datetime) -> "Client":
        return replace(self, updated_at=max(now, self.updated_at + timedelta(microseconds=1)))

    def secret_matching(self, secret: str, now: datetime) -> ClientSecret | None:
        """Find the valid secret that was shown; None also for a disabled client."""
        if self.status is not ClientStatus.ACTIVE:
            return None
        shown = digest(secret)
        valid = [one for one in self.secrets if one.is_valid(now)]
        return next((one for one in valid if hmac.compare_digest(one.digest, shown)), None)

    def add_secret(self, secret: ClientSecret, now: datetime) -> "Client":
        """Add one, and drop those that expired; raises ValidationFailed for a third valid one."""
        valid = tuple(one for one in self.secrets if one.is_valid(now))
        if len(valid) >= MAX_VALID_SECRETS:
            message = f"At most {MAX_VALID_SECRETS} are valid at a time: delete one first."
            raise ValidationFailed(FieldError("secrets", "too_many", message))
        return replace(self.touch(now), secrets=(*valid, secret))

    def remove_secret(self, secret_id: UUID, now: datetime) -> "Client":
        """Take one away; raises NotFound."""
        kept = tuple(one for one in self.secrets if one.id != secret_id)
        if len(kept) == len(self.secrets):
            raise NotFound
        return replace(self.touch(now), secrets=kept)
