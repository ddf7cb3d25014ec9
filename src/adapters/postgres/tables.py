"""The schema on one page. Columns carry the names of the entities' fields."""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    text,
)

from ...domain.accounts import AccountStatus
from ...domain.audit import AuditResult, AuditType
from ...domain.clients import ClientStatus
from ...domain.credentials import Purpose
from ...domain.exports import ExportStatus
from ...domain.keys import KeyState
from ...domain.sessions import EndReason
from ...domain.webhooks import DeliveryStatus, EndpointStatus, Fault

# Violations are told apart by these names, so they must not be left to the server.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class Utf8(TypeDecorator[str]):
    """Text that the server can always take: NUL and lone surrogates become U+FFFD.

    Entrypoints refuse them; a header that slips through must not turn into a failure here.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isprintable() and value.isascii()):
            return value
        valid = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return valid.replace("\0", "\ufffd")


class Named(TypeDecorator[StrEnum]):
    """A member of an enumeration, stored by its value."""

    impl = Text
    cache_ok = True

    def __init__(self, members: type[StrEnum]) -> None:
        super().__init__()
        self.members = members

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: Any, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.members(value)


def one_of(column: str, members: type[StrEnum]) -> CheckConstraint:
    values = ", ".join(f"'{member.value}'" for member in members)
    return CheckConstraint(f"{column} IN ({values})", name=column)


# Keys are compared byte by byte: a change of the server's collation library cannot harm them.
KEY = Utf8(collation="C")
MOMENT = DateTime(timezone=True)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("username", Utf8, nullable=False),
    Column("username_key", KEY, nullable=False),
    Column("email", Utf8, nullable=False),
    Column("email_key", KEY, nullable=False),
    Column("email_verified", Boolean, nullable=False),
    Column("is_placeholder", Boolean, nullable=False),
    Column("password_hash", Text),
    Column("bio", Utf8),
    Column("locale", Utf8, nullable=False),
    Column("status", Named(AccountStatus), nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("updated_at", MOMENT, nullable=False),
    Column("expires_at", MOMENT),
    Column("notified_at", MOMENT),
    Column("password_expires_at", MOMENT),
    UniqueConstraint("username_key"),
    one_of("status", AccountStatus),
    Index(
        "uq_accounts_email_key",
        "email_key",
        unique=True,
        postgresql_where=text("NOT is_placeholder"),
    ),
    Index(
        "ix_accounts_unproven",
        "email_key",
        "updated_at",
        "id",
        postgresql_where=text("NOT email_verified"),
    ),
    Index("ix_accounts_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    Index(
        "ix_accounts_created_at", "created_at", "id", postgresql_where=text("NOT is_placeholder")
    ),
    Index(
        "ix_accounts_suspended",
        "created_at",
        "id",
        postgresql_where=text("NOT is_placeholder AND status = 'suspended'"),
    ),
    # Most accounts name no role, and cost this index nothing.
    Index(
        "ix_accounts_roles",
        "roles",
        postgresql_using="gin",
        postgresql_where=text("roles <> '{}'"),
    ),
)

roles = Table(
    "roles",
    metadata,
    Column("name", KEY, primary_key=True),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("updated_at", MOMENT, nullable=False),
)

one_time_tokens = Table(
    "one_time_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("purpose", Named(Purpose), nullable=False),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("email", Utf8, nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("expires_at", MOMENT, nullable=False),
    Column("new_email", Utf8),
    UniqueConstraint("account_id", "purpose", "email"),
    one_of("purpose", Purpose),
    Index(None, "expires_at"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("rotated_at", MOMENT, nullable=False),
    Column("idle_until", MOMENT, nullable=False),
    Column("absolute_until", MOMENT, nullable=False),
    Column("revoked_at", MOMENT),
    Column("revoked_reason", Named(EndReason)),
    Column("device_name", Utf8),
    Column("user_agent", Utf8),
    Column("ip", Utf8),
    one_of("revoked_reason", EndReason),
    CheckConstraint("(revoked_at IS NULL) = (revoked_reason IS NULL)", name="revoked"),
    # Room on the page and no index on what a rotation writes: rotations are HOT updates.
    Index(None, "account_id", "created_at"),
    postgresql_with={"fillfactor": 80},
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", KEY, primary_key=True),
    Column("algorithm", Text, nullable=False),
    Column("sealed_private_key", LargeBinary, nullable=False),
    Column("state", Named(KeyState), nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("retires_at", MOMENT),
    # NULL where the first release made the key active.
    Column("activated_at", MOMENT),
    one_of("state", KeyState),
    Index(
        "uq_signing_keys_active", "state", unique=True, postgresql_where=text("state = 'active'")
    ),
)

clients = Table(
    "clients",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Utf8, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("status", Named(ClientStatus), nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("updated_at", MOMENT, nullable=False),
    one_of("status", ClientStatus),
)

client_secrets = Table(
    "client_secrets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("client_id", ForeignKey("clients.id", ondelete="CASCADE"), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("expires_at", MOMENT),
    Column("last_used_at", MOMENT),
    Index(None, "client_id"),
)

# No foreign keys: the trail outlives what it tells of. No check on `type` either, as every new
# kind of entry would rewrite a constraint of the largest table.
audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("created_at", MOMENT, nullable=False),
    Column("type", Named(AuditType), nullable=False),
    Column("result", Named(AuditResult), nullable=False),
    Column("reason", Utf8),
    Column("actor", Uuid),
    Column("subject", Uuid),
    Column("session_id", Uuid),
    Column("client_id", Utf8),
    Column("ip", Utf8),
    Column("user_agent", Utf8),
    Column("request_id", Utf8),
    one_of("result", AuditResult),
    # Every filter that the trail is read by has an index in the order of its pages.
    Index(None, "created_at", "id"),
    Index(None, "type", "created_at", "id"),
    Index(None, "subject", "created_at", "id", postgresql_where=text("subject IS NOT NULL")),
    Index(None, "actor", "created_at", "id", postgresql_where=text("actor IS NOT NULL")),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("expires_at", MOMENT, nullable=False),
    Index(None, "account_id"),
    Index(None, "expires_at"),
)

# No foreign key: a row that went with its account would leave the file behind.
exports = Table(
    "exports",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("status", Named(ExportStatus), nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("expires_at", MOMENT, nullable=False),
    Column("size", BigInteger),
    Column("progress", SmallInteger, nullable=False, server_default="0"),
    one_of("status", ExportStatus),
    Index(None, "account_id"),
    Index(None, "expires_at"),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("url", Utf8, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("contact", Utf8),
    Column("status", Named(EndpointStatus), nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("sealed_former_secret", LargeBinary),
    Column("former_until", MOMENT),
    Column("failing_since", MOMENT),
    Column("created_at", MOMENT, nullable=False),
    Column("updated_at", MOMENT, nullable=False),
    one_of("status", EndpointStatus),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("endpoint_id", ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("event", Text, nullable=False),
    Column("body", Utf8, nullable=False),
    Column("status", Named(DeliveryStatus), nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("attempted_at", MOMENT),
    Column("answered", SmallInteger),
    Column("fault", Named(Fault)),
    Column("duration_ms", Integer),
    UniqueConstraint("endpoint_id", "event_id"),
    one_of("status", DeliveryStatus),
    Index(None, "endpoint_id", "id"),
    Index(None, "created_at"),
    Index("ix_webhook_deliveries_held", "endpoint_id", postgresql_where=text("status = 'held'")),
)

# Written at every counted hit: without a log, and with room for HOT updates on the page. Times
# are microseconds since 1970.
rate_limits = Table(
    "rate_limits",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("tat", BigInteger, nullable=False),
    Column("strikes", SmallInteger, nullable=False),
    prefixes=["UNLOGGED"],
    postgresql_with={"fillfactor": 50},
)
