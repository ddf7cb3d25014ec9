"""The audit trail: who did what to whom, when and from where."""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from .dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientContext:
    """Where a call came from, as the entrypoint resolved it; `client_id` of a machine client."""

    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    client_id: str | None = None


class AuditType(StrEnum):
    """What can be recorded. Nothing free is ever part of an entry, so no secret can get in."""

    ACCOUNT_REGISTERED = "account.registered"
    ACCOUNT_CREATED = "account.created"
    ACCOUNT_CHANGED = "account.changed"
    EMAIL_CORRECTED = "account.email_corrected"
    EMAIL_VERIFIED = "account.email_verified"
    PASSWORD_CHANGED = "account.password_changed"  # noqa: S105
    PASSWORD_RESET_REQUESTED = "account.password_reset_requested"  # noqa: S105
    PASSWORD_RESET = "account.password_reset"  # noqa: S105
    ACCOUNT_SUSPENDED = "account.suspended"
    ACCOUNT_REACTIVATED = "account.reactivated"
    ACCOUNT_RECOVERED = "account.recovered"
    ACCOUNT_DELETED = "account.deleted"
    ROLES_CHANGED = "account.roles_changed"
    EMAIL_CHANGE_REQUESTED = "account.email_change_requested"
    EMAIL_CHANGED = "account.email_changed"
    EMAIL_CHANGE_UNDONE = "account.email_change_undone"
    EXPORT_REQUESTED = "account.export_requested"
    EXPORT_DOWNLOADED = "account.export_downloaded"
    ACCOUNTS_EXPORTED = "accounts.exported"
    ROLE_CHANGED = "role.changed"
    ROLE_DELETED = "role.deleted"
    CLIENT_CREATED = "client.created"
    CLIENT_CHANGED = "client.changed"
    CLIENT_DELETED = "client.deleted"
    CLIENT_SECRET_CREATED = "client.secret_created"  # noqa: S105
    CLIENT_SECRET_DELETED = "client.secret_deleted"  # noqa: S105
    CLIENT_REFUSED = "client.refused"
    SESSION_CREATED = "session.created"
    SESSION_REFUSED = "session.refused"
    SESSION_ENDED = "session.ended"
    SESSIONS_ENDED = "session.others_ended"
    REFRESH_REUSED = "session.refresh_reused"
    KEY_CREATED = "key.created"
    KEY_ACTIVATED = "key.activated"
    KEY_RESEALED = "key.resealed"
    KEY_REMOVED = "key.removed"
    KEY_REVOKED = "key.revoked"
    MAIL_UNDELIVERABLE = "mail.undeliverable"
    JOBS_RETRIED = "jobs.retried"
    JOBS_PURGED = "jobs.purged"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_SECRET_ROTATED = "webhook.secret_rotated"  # noqa: S105
    WEBHOOK_SECRET_RESEALED = "webhook.secret_resealed"  # noqa: S105
    WEBHOOK_ENABLED = "webhook.enabled"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_RETRIED = "webhook.delivery_retried"
    WEBHOOK_DELETED = "webhook.deleted"


class AuditResult(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """How long entries are kept."""

    retention: timedelta = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One fact; a login as typed never stands here.

    Actor and subject are accounts or clients; the subject may be a webhook endpoint, too.
    """

    id: UUID
    created_at: datetime
    type: AuditType
    result: AuditResult = AuditResult.SUCCESS
    reason: str | None = None
    actor: UUID | None = None
    subject: UUID | None = None
    session_id: UUID | None = None
    client_id: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """What a reader of the trail asks for; `since` is included, `until` is not."""

    actor: UUID | None = None
    subject: UUID | None = None
    type: AuditType | None = None
    since: datetime | None = None
    until: datetime | None = None

    def admits(self, entry: AuditEntry) -> bool:
        wanted = (
            (self.actor, entry.actor),
            (self.subject, entry.subject),
            (self.type, entry.type),
        )
        if any(value is not None and value != found for value, found in wanted):
            return False
        if self.since is not None and entry.created_at < self.since:
            return False
        return self.until is None or entry.created_at < self.until
