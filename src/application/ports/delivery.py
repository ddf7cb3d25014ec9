"""What the core hands to others: jobs for workers, mail for people."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class JobName(StrEnum):
    """Names on the queue; the suffix is the version of the payload."""

    SEND_MAIL = "mail.send.v1"
    RESEND_VERIFICATION = "accounts.resend_verification.v1"
    REQUEST_RESET = "credentials.request_reset.v1"
    NOTIFY_OWNER = "accounts.notify_owner.v1"
    CONFIRM_NEW_ADDRESS = "accounts.confirm_new_address.v1"
    PURGE = "accounts.purge.v1"


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
