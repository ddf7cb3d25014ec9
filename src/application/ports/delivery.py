"""What the core hands to others: jobs for workers, mail for people, numbers for operators."""

from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from ...domain.addresses import EmailAddress
from ...domain.audit import AuditType
from ...domain.dataclasses import dataclass
from ...domain.errors import ValidationFailed
from ...domain.keys import KeyState
from ...domain.limits import Rule


class JobName(StrEnum):
    """Names on the queue; the suffix is the version of the payload."""

    SEND_MAIL = "mail.send.v1"
    RESEND_VERIFICATION = "accounts.resend_verification.v1"
    REQUEST_RESET = "credentials.request_reset.v1"
    NOTIFY_OWNER = "accounts.notify_owner.v1"
    CONFIRM_NEW_ADDRESS = "accounts.confirm_new_address.v1"
    PURGE = "accounts.purge.v1"
    ROTATE_KEYS = "keys.rotate.v1"
    BUILD_EXPORT = "exports.build.v1"
    REMOVE_EXPORT = "exports.remove.v1"
    PUBLISH_EVENT = "events.publish.v1"
    TELL_SUBSCRIBERS = "events.tell.v1"
    DELIVER_WEBHOOK = "webhooks.deliver.v1"
    RESEAL_SECRETS = "webhooks.reseal.v1"

    @property
    def priority(self) -> int:
        """Tell what goes first: the higher one."""
        return _PRIORITY.get(self, _ORDINARY)

    @property
    def at_once(self) -> int | None:
        """Tell how many may run at once, in all workers together; None for any number."""
        return _AT_ONCE.get(self)

    @property
    def at_once_in_lane(self) -> int | None:
        """Tell how many of one lane may; None where there are no lanes."""
        return _AT_ONCE_IN_LANE.get(self)

    @property
    def deadline(self) -> timedelta:
        """Tell how long one may run; what hangs is given up and tried again."""
        return _DEADLINE.get(self, _SHORT)

    @property
    def longest_wait(self) -> timedelta | None:
        """Tell how long the wait between two attempts grows; None for as long as usual."""
        return _LONGEST_WAIT.get(self)


# Somebody waits for a mail; nobody waits for the cleaning, and an export takes its time.
_PRIORITY = {JobName.SEND_MAIL: 20, JobName.BUILD_EXPORT: 5, JobName.PURGE: 0}
_ORDINARY = 10
# Of the heavy ones a few: connections, and the hands of workers, are for who waits.
_AT_ONCE = {JobName.BUILD_EXPORT: 4, JobName.DELIVER_WEBHOOK: 16, JobName.PURGE: 1}
# One receiver that hangs takes no more than its part of those, and the others go on.
_AT_ONCE_IN_LANE = {JobName.DELIVER_WEBHOOK: 4}
_DEADLINE = {JobName.BUILD_EXPORT: timedelta(minutes=15), JobName.PURGE: timedelta(minutes=30)}
_SHORT = timedelta(minutes=1)
# A receiver that is down is another's: it is asked less often than servers of our own.
_LONGEST_WAIT = {JobName.DELIVER_WEBHOOK: timedelta(minutes=10)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work for later: at least once, so handlers are idempotent by `id`.

    The payload is JSON with string values; addresses and tokens in it are sealed. `account_id`
    tells whose it is, where that is known: his jobs go with him. `lane` tells what it keeps busy:
    no more jobs of a lane run at once than its name allows, and the rest waits its turn.
    """

    id: UUID
    name: JobName
    payload: Mapping[str, str]
    account_id: UUID | None = None
    lane: UUID | None = None


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
    WEBHOOK_DISABLED = "webhook_disabled"


class Undeliverable(Exception):
    """No try will ever deliver this mail: its address is refused for good. Names no address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail to one stored address. `id` makes the Message-ID, the same at every attempt.

    `about` names what a mail tells of that is not about an account; then `username` is empty.
    """

    id: UUID
    template: MailTemplate
    to: str
    locale: str
    username: str
    link: str | None = field(repr=False)
    about: str | None = None

    @property
    def recipient(self) -> EmailAddress:
        """Take the address only as it would be stored: what is anything else came another way.

        Raises Undeliverable.
        """
        try:
            address = EmailAddress.parse(self.to)
        except ValidationFailed:
            raise Undeliverable("The recipient is not an address.") from None
        if address.value != self.to:
            raise Undeliverable("The recipient is not an address as it is stored.")
        return address


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """Render and deliver, or raise; safe to repeat.

        Raises Undeliverable where that is no use, Unavailable while mail cannot be delivered.
        """
        ...

    async def check(self) -> None:
        """Raise Unavailable unless mail could be delivered now; delivers none."""
        return None

    async def close(self) -> None:
        """Let go of connections; nothing is sent afterwards."""
        return None


@dataclass(frozen=True, slots=True)
class Backlog:
    """How the queue stands: jobs that wait, those given up, seconds since the oldest was due.

    `undeliverable` are the mails of the last day whose address was refused for good. `key_ages`
    tells, of what else goes on by the clock, how old the oldest signing key of each state is, in
    seconds; once a key signs, from then on.
    """

    pending: int
    failed: int
    oldest_seconds: float
    undeliverable: int = 0
    key_ages: Mapping[KeyState, float] = field(default_factory=dict)


class BacklogReader(Protocol):
    async def read(self) -> Backlog:
        """Look at queue and keys, outside any transaction; raises Unavailable."""
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


class WebhookResult(StrEnum):
    """How an attempt to deliver ended: also for good, or to be tried again."""

    DELIVERED = "delivered"
    RETRIED = "retried"
    FAILED = "failed"


class Level(StrEnum):
    """What goes up and down."""

    HASHES_WAITING = "hashes_waiting"
    CONNECTIONS_USED = "connections_used"
    CONNECTIONS_IDLE = "connections_idle"
    CONNECTIONS_MOST = "connections_most"


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

    def connected(self, seconds: float) -> None:
        """A transaction got its connection after so long."""
        ...

    def not_connected(self) -> None:
        """A transaction got none: others held all of them for too long."""
        ...

    def job_ended(self, name: JobName, seconds: float, *, failed: bool) -> None:
        """A worker was done with a job, or could not do it and will try it again."""
        ...

    def webhook_sent(self, result: WebhookResult, seconds: float) -> None:
        """A webhook was posted, or could not be."""
        ...

    def webhook_disabled(self) -> None:
        """An endpoint was disabled for its failures."""
        ...

    def watch(self, level: Level, read: Callable[[], float]) -> None:
        """Have a level read now and then, so that no change of it costs anything."""
        ...
