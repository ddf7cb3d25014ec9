"""The first schema: accounts, one-time tokens, sessions, signing keys, audit trail, job queue."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    create_accounts()
    create_roles()
    create_one_time_tokens()
    create_sessions()
    create_signing_keys()
    create_clients()
    create_audit_events()
    create_idempotency_keys()
    create_exports()
    create_rate_limits()
    for statement in QUEUE:
        # One a call: the driver prepares statements, and prepares no scripts.
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for statement in NO_QUEUE:
        op.get_bind().exec_driver_sql(statement)
    for table in (
        "rate_limits",
        "exports",
        "idempotency_keys",
        "audit_events",
        "client_secrets",
        "clients",
        "signing_keys",
        "sessions",
        "one_time_tokens",
        "roles",
        "accounts",
    ):
        op.drop_table(table)


def create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("username_key", KEY, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", KEY, nullable=False),
        sa.Column("email_verified", sa.Boolean, nullable=False),
        sa.Column("is_placeholder", sa.Boolean, nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("bio", sa.Text),
        sa.Column("locale", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("roles", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.Column("notified_at", MOMENT),
        sa.Column("password_expires_at", MOMENT),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("username_key"),
        sa.CheckConstraint("status IN ('active', 'suspended')", name="status"),
    )
    create_index("uq_accounts_email_key", "email_key", where="NOT is_placeholder", unique=True)
    create_index(
        "ix_accounts_unproven", "email_key", "updated_at", "id", where="NOT email_verified"
    )
    create_index("ix_accounts_expires_at", "expires_at", where="expires_at IS NOT NULL")
    create_index("ix_accounts_created_at", "created_at", "id", where="NOT is_placeholder")
    suspended = "NOT is_placeholder AND status = 'suspended'"
    create_index("ix_accounts_suspended", "created_at", "id", where=suspended)
    create_index("ix_accounts_roles", "roles", where="roles <> '{}'", using="gin")


def create_roles() -> None:
    op.create_table(
        "roles",
        sa.Column("name", KEY, nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def create_one_time_tokens() -> None:
    op.create_table(
        "one_time_tokens",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("new_email", sa.Text),
        sa.PrimaryKeyConstraint("digest"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], ondelete="CASCADE"),
        sa.UniqueConstraint("account_id", "purpose", "email"),
        sa.CheckConstraint(
            "purpose IN ('verify_email', 'reset_password', 'set_password', 'change_password',"
            " 'change_email', 'undo_email')",
            name="purpose",
        ),
    )
    create_index("ix_one_time_tokens_expires_at", "expires_at")


def create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("rotated_at", MOMENT, nullable=False),
        sa.Column("idle_until", MOMENT, nullable=False),
        sa.Column("absolute_until", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT),
        sa.Column("revoked_reason", sa.Text),
        sa.Column("device_name", sa.Text),
        sa.Column("user_agent", sa.Text),
        sa.Column("ip", sa.Text),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], ondelete="CASCADE"),
        sa.CheckConstraint(
            "revoked_reason IN ('logged_out', 'ended_by_owner', 'password_changed',"
            " 'password_reset', 'address_proven', 'ended_by_administrator', 'suspended',"
            " 'email_changed', 'revoked', 'late_parent', 'stale', 'ahead')",
            name="revoked_reason",
        ),
        sa.CheckConstraint("(revoked_at IS NULL) = (revoked_reason IS NULL)", name="revoked"),
        postgresql_with={"fillfactor": 80},
    )
    create_index("ix_sessions_account_id", "account_id", "created_at")


def create_signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("kid", KEY, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("sealed_private_key", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("retires_at", MOMENT),
        sa.PrimaryKeyConstraint("kid"),
        sa.CheckConstraint("state IN ('pending', 'active', 'retiring')", name="state"),
    )
    create_index("uq_signing_keys_active", "state", where="state = 'active'", unique=True)


def create_clients() -> None:
    op.create_table(
        "clients",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("status IN ('active', 'disabled')", name="status"),
    )
    op.create_table(
        "client_secrets",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("client_id", sa.Uuid, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.Column("last_used_at", MOMENT),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], ondelete="CASCADE"),
    )
    create_index("ix_client_secrets_client_id", "client_id")


def create_audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("actor", sa.Uuid),
        sa.Column("subject", sa.Uuid),
        sa.Column("session_id", sa.Uuid),
        sa.Column("client_id", sa.Text),
        sa.Column("ip", sa.Text),
        sa.Column("user_agent", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("result IN ('success', 'failure')", name="result"),
    )
    create_index("ix_audit_events_created_at", "created_at", "id")
    create_index("ix_audit_events_type", "type", "created_at", "id")
    for person in ("subject", "actor"):
        name, where = f"ix_audit_events_{person}", f"{person} IS NOT NULL"
        create_index(name, person, "created_at", "id", where=where)


def create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], ondelete="CASCADE"),
    )
    create_index("ix_idempotency_keys_account_id", "account_id")
    create_index("ix_idempotency_keys_expires_at", "expires_at")


def create_exports() -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'ready', 'failed', 'expired')", name="status"
        ),
    )
    create_index("ix_exports_account_id", "account_id")
    create_index("ix_exports_expires_at", "expires_at")


def create_rate_limits() -> None:
    op.create_table(
        "rate_limits",
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("tat", sa.BigInteger, nullable=False),
        sa.Column("strikes", sa.SmallInteger, nullable=False),
        sa.PrimaryKeyConstraint("key"),
        prefixes=["UNLOGGED"],
        postgresql_with={"fillfactor": 50},
    )


def create_index(
    name: str,
    *columns: str,
    where: str | None = None,
    unique: bool = False,
    using: str = "btree",
) -> None:
    table = next(table for table in TABLES if f"_{table}_" in name)
    condition = None if where is None else sa.text(where)
    op.create_index(
        name,
        table,
        list(columns),
        unique=unique,
        postgresql_where=condition,
        postgresql_using=using,
    )


TABLES = (
    "accounts",
    "one_time_tokens",
    "sessions",
    "signing_keys",
    "client_secrets",
    "audit_events",
    "idempotency_keys",
    "exports",
)

# Printed by `pgq sql install` of PgQueuer 1.6.0, and frozen.
QUEUE = (
    """
CREATE TYPE pgqueuer_status AS ENUM ('queued', 'picked', 'successful', 'exception',
    'canceled', 'deleted', 'failed')
    """,
    """
CREATE TABLE pgqueuer (
    id bigserial NOT NULL PRIMARY KEY,
    priority integer NOT NULL,
    queue_manager_id uuid,
    created timestamp with time zone NOT NULL DEFAULT now(),
    updated timestamp with time zone NOT NULL DEFAULT now(),
    heartbeat timestamp with time zone NOT NULL DEFAULT now(),
    execute_after timestamp with time zone NOT NULL DEFAULT now(),
    status pgqueuer_status NOT NULL,
    entrypoint text NOT NULL,
    dedupe_key text,
    payload bytea,
    headers jsonb,
    attempts integer NOT NULL DEFAULT 0,
    slot bigint
)
    """,
    """
CREATE TABLE pgqueuer_log (
    id bigint GENERATED BY DEFAULT AS IDENTITY NOT NULL PRIMARY KEY,
    created timestamp with time zone NOT NULL DEFAULT now(),
    job_id bigint NOT NULL,
    status pgqueuer_status NOT NULL,
    priority integer NOT NULL,
    entrypoint text NOT NULL,
    traceback jsonb,
    aggregated boolean DEFAULT false
)
    """,
    """
CREATE TABLE pgqueuer_schedules (
    id bigserial NOT NULL PRIMARY KEY,
    expression text NOT NULL,
    entrypoint text NOT NULL,
    heartbeat timestamp with time zone NOT NULL DEFAULT now(),
    created timestamp with time zone NOT NULL DEFAULT now(),
    updated timestamp with time zone NOT NULL DEFAULT now(),
    next_run timestamp with time zone NOT NULL DEFAULT now(),
    last_run timestamp with time zone,
    status pgqueuer_status DEFAULT 'queued'::pgqueuer_status,
    UNIQUE (expression, entrypoint)
)
    """,
    """
CREATE TABLE pgqueuer_statistics (
    id bigserial NOT NULL PRIMARY KEY,
    created timestamp with time zone NOT NULL DEFAULT date_trunc('sec'::text, now()),
    count bigint NOT NULL,
    priority integer NOT NULL,
    status pgqueuer_status NOT NULL,
    entrypoint text NOT NULL
)
    """,
    """
CREATE INDEX pgqueuer_ep_ea_idx ON pgqueuer USING btree (entrypoint, execute_after) WHERE
    (status = 'queued'::pgqueuer_status)
    """,
    """
CREATE INDEX pgqueuer_ep_prio_id_idx ON pgqueuer USING btree (entrypoint, priority DESC, id)
    WHERE (status = 'queued'::pgqueuer_status)
    """,
    """
CREATE INDEX pgqueuer_log_created ON pgqueuer_log USING btree (created)
    """,
    """
CREATE INDEX pgqueuer_log_job_id_status ON pgqueuer_log USING btree (job_id, created DESC)
    """,
    """
CREATE INDEX pgqueuer_log_not_aggregated ON pgqueuer_log USING btree ((1)) WHERE (NOT
    aggregated)
    """,
    """
CREATE INDEX pgqueuer_log_status ON pgqueuer_log USING btree (status)
    """,
    """
CREATE INDEX pgqueuer_picked_heartbeat_idx ON pgqueuer USING btree (heartbeat) WHERE (status =
    'picked'::pgqueuer_status)
    """,
    """
CREATE UNIQUE INDEX pgqueuer_picked_slot_idx ON pgqueuer USING btree (entrypoint, slot) WHERE
    ((status = 'picked'::pgqueuer_status) AND (slot IS NOT NULL))
    """,
    """
CREATE INDEX pgqueuer_priority_id_id1_idx ON pgqueuer USING btree (priority, id DESC) INCLUDE
    (id) WHERE (status = 'queued'::pgqueuer_status)
    """,
    """
CREATE INDEX pgqueuer_queue_manager_id_idx ON pgqueuer USING btree (queue_manager_id) WHERE
    (queue_manager_id IS NOT NULL)
    """,
    """
CREATE UNIQUE INDEX pgqueuer_statistics_unique_count ON pgqueuer_statistics USING btree
    (priority, date_trunc('sec'::text, timezone('UTC'::text, created)), status, entrypoint)
    """,
    """
CREATE UNIQUE INDEX pgqueuer_unique_dedupe_key ON pgqueuer USING btree (dedupe_key) WHERE
    ((status = ANY (ARRAY['queued'::pgqueuer_status, 'picked'::pgqueuer_status])) AND
    (dedupe_key IS NOT NULL))
    """,
    """
CREATE INDEX pgqueuer_updated_id_id1_idx ON pgqueuer USING btree (updated, id DESC) INCLUDE
    (id) WHERE (status = 'picked'::pgqueuer_status)
    """,
    """
CREATE FUNCTION fn_pgqueuer_changed() RETURNS TRIGGER AS $$
DECLARE
    to_emit BOOLEAN := false;  -- Flag to decide whether to emit a notification
BEGIN
    -- Check operation type and set the emit flag accordingly
    IF TG_OP = 'UPDATE' AND OLD IS DISTINCT FROM NEW THEN
        to_emit := true;
    ELSIF TG_OP = 'DELETE' THEN
        to_emit := true;
    ELSIF TG_OP = 'INSERT' THEN
        to_emit := true;
    ELSIF TG_OP = 'TRUNCATE' THEN
        to_emit := true;
    END IF;

    -- Perform notification if the emit flag is set
    IF to_emit THEN
        PERFORM pg_notify(
            'ch_pgqueuer',
            json_build_object(
                'channel', 'ch_pgqueuer',
                'operation', lower(TG_OP),
                'sent_at', NOW(),
                'table', TG_TABLE_NAME,
                'type', 'table_changed_event'
            )::text
        );
    END IF;

    -- Return appropriate value based on the operation
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' THEN
        RETURN OLD;
    ELSE
        RETURN NULL; -- For TRUNCATE and other non-row-specific contexts
    END IF;

END;
$$ LANGUAGE plpgsql
    """,
    """
CREATE TRIGGER tg_pgqueuer_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON pgqueuer
EXECUTE FUNCTION fn_pgqueuer_changed()
    """,
)

NO_QUEUE = (
    "DROP TABLE pgqueuer",
    "DROP FUNCTION fn_pgqueuer_changed",
    "DROP TABLE pgqueuer_log",
    "DROP TABLE pgqueuer_schedules",
    "DROP TABLE pgqueuer_statistics",
    "DROP TYPE pgqueuer_status",
)
