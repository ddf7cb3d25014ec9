"""What the core hands to others: jobs for workers, mail for people, numbers for operators."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from ...domain.audit import AuditType
from ...domain.limits import Rule


class JobName(StrEnum):
    """Names on the queue; the suffix is the version of the payload."""

    SEND_MAIL = "mail.send.v1"
    RESEND_VERIFICATION = "accounts.resend_verification.v1"
    REQUEST_RESET = "credentials.request_reset.v1"
    NOTIFY_OWNER = "accounts.notify_owner.v1"
    CONFIRM_NEW_ADDRESS = "accounts.confirm_new_address.v1"
    PURGE = "accounts.purge.v1"
    BUILD_EXPORT = "exports.build.v1"
    REMOVE_EXPORT = "exports.remove.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work for later: at least once, so handlers are idempotent by `id`.

    The payload is JSON with string values; addresses and tokens in it are sealed. `account_id`
    tells whose it is, where that is known: his jobs go with him.
    """

    id: UUID
    name: JobName
    payload: Mapping[str, str]
    account_id: UUID | None = None


class MailTemplate(StrEnum):
    WELCOME = "welcome"
    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105
    REGISTRATION_ATTEMPT = "registration_attempt"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    SET_PASSWORD = "set_password"  # noqa: S105
    CONFIRM_EMAIL = "confirm_email"
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGED = "email_changed"
    EMAIL_CHANGE_UNDONE = "email_change_undone"
    ACCOUNT_DELETED = "account_deleted"
    EXPORT_READY = "export_ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail to one stored address. `id` makes the Message-ID, the same at every attempt."""

    id: UUID
    template: MailTemplate
    to: str
    locale: str
    username: str
    link: str | None = field(repr=False)


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """Render and deliver, or raise; safe to repeat."""
        ...

    async def check(self) -> None:
        """Raise Unavailable unless mail could be delivered now; delivers none."""
        return None


@dataclass(frozen=True, slots=True)
class Backlog:
    """How the queue stands: jobs that wait, those given up, seconds since the oldest was due."""

    pending: int
    failed: int
    oldest_seconds: float


class BacklogReader(Protocol):
    async def read(self) -> Backlog:
        """Look at the queue, outside any transaction; raises Unavailable."""
        ...


class RefreshOutcome(StrEnum):
    """What became of a shown refresh token."""

    ROTATED = "rotated"
    GRACE = "grace"
    REUSE_DETECTED = "reuse_detected"
    EXPIRED_OR_UNKNOWN = "expired_or_unknown"
    UNREADABLE = "unreadable"


class Grant(StrEnum):
    """What tokens were issued for."""

    PASSWORD = "password"  # noqa: S105
    REFRESH_TOKEN = "refresh_token"  # noqa: S105
    CLIENT_CREDENTIALS = "client_credentials"


class Level(StrEnum):
    """What goes up and down."""

    HASHES_WAITING = "hashes_waiting"
    CONNECTIONS_USED = "connections_used"
    CONNECTIONS_IDLE = "connections_idle"


class Metrics(Protocol):
    """Hears what operators count; called in the request, so it only notes.

    Told when something is noted: a transaction that fails to commit afterwards is counted, too.
    """

    def noted(self, type_: AuditType, failure: str | None) -> None:
        """An entry of the audit trail was written."""
        ...

    def refreshed(self, outcome: RefreshOutcome) -> None:
        """A refresh token was shown."""
        ...

    def issued(self, grant: Grant) -> None:
        """An access token was made."""
        ...

    def limited(self, rule: Rule) -> None:
        """A rate limit refused a hit."""
        ...

    def uncounted(self, rule: Rule, *, refused: bool) -> None:
        """A hit could not be counted, and was refused or let pass."""
        ...

    def store_lost(self) -> None:
        """The store of rate limits did not answer, and another one counted."""
        ...

    def hashed(self, operation: str, seconds: float) -> None:
        """A password was hashed; without the time that it waited."""
        ...

    def hash_refused(self) -> None:
        """The queue of passwords to hash was full."""
        ...

    def watch(self, level: Level, read: Callable[[], float]) -> None:
        """Have a level read now and then, so that no change of it costs anything."""
        ...
