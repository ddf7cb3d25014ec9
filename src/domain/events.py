"""The catalogue of facts that others can be told of: typed, versioned, and never with a secret.

An event holds ids and names of fields, no personal data: who may know more asks with an id. The
name ends with the version of its fields; one that takes fields away or changes what they mean
gets a new name beside the old one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from .audit import AuditEntry, AuditResult, AuditType
from .dataclasses import dataclass
from .errors import EmailTaken
from .sessions import EndReason


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainEvent:
    """A fact. Told at least once, in no promised order: `id` is the same at every repetition.

    `actor_id` is the account or client that did it; None when nobody was signed in, and for an
    operator at the console.
    """

    name: ClassVar[str]

    id: UUID
    occurred_at: datetime
    actor_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEvent(DomainEvent):
    account_id: UUID


class AccountRegistered(AccountEvent):
    """Somebody registered; one who never proves the address goes without another event."""

    name = "account.registered.v1"


class AccountCreated(AccountEvent):
    """An administrator or operator made an account."""

    name = "account.created.v1"


class AccountVerified(AccountEvent):
    """The owner proved the present address; older sessions end."""

    name = "account.verified.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChanged(AccountEvent):
    """Fields have new values; `changed` names them: username, bio, locale."""

    name = "account.changed.v1"

    changed: tuple[str, ...]


class AccountEmailChanged(AccountEvent):
    """The account has another address."""

    name = "account.email_changed.v1"


class AccountEmailChangeUndone(AccountEvent):
    """The owner took a change of address back; the password is void and every session ended."""

    name = "account.email_change_undone.v1"


class AccountPasswordChanged(AccountEvent):
    """The owner changed the password; other sessions end."""

    name = "account.password_changed.v1"


class AccountPasswordReset(AccountEvent):
    """The owner set a password with a mailed link, which proves the address; all sessions end."""

    name = "account.password_reset.v1"


class AccountSuspended(AccountEvent):
    """The account is kept out; all sessions end."""

    name = "account.suspended.v1"


class AccountReactivated(AccountEvent):
    """The account may sign in again."""

    name = "account.reactivated.v1"


class AccountRecovered(AccountEvent):
    """It was taken over and goes back to its owner; the password is void, all sessions end."""

    name = "account.recovered.v1"


class AccountRolesChanged(AccountEvent):
    """The account has other roles; tokens follow at the next refresh."""

    name = "account.roles_changed.v1"


class AccountDeleted(AccountEvent):
    """The account is gone, with its data and sessions: delete yours."""

    name = "account.deleted.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreated(AccountEvent):
    """Somebody signed in."""

    name = "session.created.v1"

    session_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(AccountEvent):
    """One session was ended: `logged_out`, `ended_by_owner` or `revoked`."""

    name = "session.ended.v1"

    session_id: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsEnded(AccountEvent):
    """All sessions were ended but the one kept: `ended_by_owner` or `ended_by_administrator`."""

    name = "session.others_ended.v1"

    kept_session_id: UUID | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshReused(AccountEvent):
    """A spent refresh token was shown, so the session ended: `late_parent`, `stale`, `ahead`."""

    name = "session.refresh_reused.v1"

    session_id: UUID
    reason: str


_FACTS: Mapping[AuditType, type[AccountEvent]] = {
    AuditType.ACCOUNT_REGISTERED: AccountRegistered,
    AuditType.ACCOUNT_CREATED: AccountCreated,
    AuditType.EMAIL_VERIFIED: AccountVerified,
    AuditType.ACCOUNT_CHANGED: AccountChanged,
    AuditType.EMAIL_CORRECTED: AccountEmailChanged,
    AuditType.EMAIL_CHANGED: AccountEmailChanged,
    AuditType.EMAIL_CHANGE_UNDONE: AccountEmailChangeUndone,
    AuditType.PASSWORD_CHANGED: AccountPasswordChanged,
    AuditType.PASSWORD_RESET: AccountPasswordReset,
    AuditType.ACCOUNT_SUSPENDED: AccountSuspended,
    AuditType.ACCOUNT_REACTIVATED: AccountReactivated,
    AuditType.ACCOUNT_RECOVERED: AccountRecovered,
    AuditType.ROLES_CHANGED: AccountRolesChanged,
    AuditType.ACCOUNT_DELETED: AccountDeleted,
    AuditType.SESSION_CREATED: SessionCreated,
    AuditType.SESSION_ENDED: SessionEnded,
    AuditType.SESSIONS_ENDED: SessionsEnded,
}
# Refusals that change something nevertheless.
_REFUSALS: Mapping[AuditType, type[AccountEvent]] = {
    AuditType.REFRESH_REUSED: RefreshReused,
    # Another account has the old address by now: this one is locked.
    AuditType.EMAIL_CHANGE_UNDONE: AccountSuspended,
}
_HIDDEN = frozenset({AuditType.ACCOUNT_REGISTERED, AuditType.EMAIL_CORRECTED})

CATALOGUE: Mapping[str, type[DomainEvent]] = {
    kind.name: kind for kind in (*_FACTS.values(), *_REFUSALS.values())
}


def is_hidden(entry: AuditEntry) -> bool:
    """Tell whether the entry is about a placeholder: nobody is told, but it must cost the same.

    An address that is taken is answered like a free one; what one of them does more would show
    in the time of the answer.
    """
    return entry.type in _HIDDEN and entry.reason == EmailTaken.code


def event_of(entry: AuditEntry, changed: Sequence[str] = ()) -> AccountEvent | None:
    """Return what an entry of the trail means to others; most refusals mean nothing.

    Derived here and nowhere else, so that trail and events tell the same. `changed` names the
    fields of a changed account; one without any was not changed.
    """
    refused = entry.result is AuditResult.FAILURE and not is_hidden(entry)
    kind = (_REFUSALS if refused else _FACTS).get(entry.type)
    if kind is None or entry.subject is None or (kind is AccountChanged and not changed):
        return None
    known: Mapping[str, Any] = {
        "id": entry.id,
        "occurred_at": entry.created_at,
        "actor_id": entry.actor,
        "account_id": entry.subject,
        "session_id": entry.session_id,
        # With a reason somebody else ended all of them, and the session is his.
        "kept_session_id": None if entry.reason else entry.session_id,
        "reason": entry.reason or EndReason.ENDED_BY_OWNER.value,
        "changed": tuple(changed),
    }
    return kind(**{field.name: known[field.name] for field in fields(kind)})


def data_of(event: DomainEvent) -> dict[str, str | list[str] | None]:
    """List the fields beside `id` and `occurred_at`, as JSON knows them."""
    own = [field.name for field in fields(event)]
    return {name: _plain(getattr(event, name)) for name in own if name not in _ENVELOPE}


def event_from(
    name: str, event_id: UUID, occurred_at: datetime, data: Mapping[str, Any]
) -> DomainEvent:
    """Read back what `data_of` made; raises KeyError for a name that this release does not know.

    Fields that it does not know are left out.
    """
    kind = CATALOGUE[name]
    own = {field.name for field in fields(kind)}
    values = {field: _read(field, value) for field, value in data.items() if field in own}
    return kind(id=event_id, occurred_at=occurred_at.astimezone(UTC), **values)


_ENVELOPE = frozenset({"id", "occurred_at"})


def _plain(value: Any) -> str | list[str] | None:
    if value is None:
        return None
    return list(value) if isinstance(value, tuple) else str(value)


def _read(field: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return UUID(value) if value is not None and field.endswith("_id") else value
