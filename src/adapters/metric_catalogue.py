"""Every metric that there is: its name, kind, labels and meaning."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Described:
    """One metric, as the reference lists it; what is counted or timed is made from this."""

    name: str
    kind: str
    about: str
    labels: tuple[str, ...] = ()


REQUESTS = Described(
    "http_server_request_duration_seconds",
    "histogram",
    "From the end of a request's headers to the last byte of its answer; `route` is the template.",
    ("method", "route", "status"),
)
IN_FLIGHT = Described("http_server_active_requests", "gauge", "Requests that are being answered.")
TRAIL = Described(
    "gatepost_audit_events_total",
    "counter",
    "Entries of the audit trail, by its types: what was done, or refused (`failure`).",
    ("type", "result"),
)
REGISTRATIONS = Described(
    "gatepost_registrations_total",
    "counter",
    "Registrations; `success`, or the code of why no account was made.",
    ("result",),
)
LOGINS = Described(
    "gatepost_logins_total",
    "counter",
    "Sign-ins; `reason` is the code of a refusal.",
    ("method", "result", "reason"),
)
REFRESHES = Described(
    "gatepost_token_refreshes_total",
    "counter",
    "Refresh tokens shown; `reuse_detected` means that somebody holds a copy.",
    ("result",),
)
ISSUED = Described("gatepost_tokens_issued_total", "counter", "Access tokens made.", ("grant",))
HASH_SECONDS = Described(
    "gatepost_password_hash_duration_seconds",
    "histogram",
    "Hashing a password, without the time that it waited.",
    ("operation",),
)
HASH_QUEUE = Described(
    "gatepost_password_hash_queue_depth", "gauge", "Passwords that wait to be hashed."
)
HASH_REFUSED = Described(
    "gatepost_password_hash_rejected_total",
    "counter",
    "Calls refused because that queue was full.",
)
LIMITED = Described(
    "gatepost_rate_limited_total", "counter", "Hits refused by a rate limit.", ("rule",)
)
UNCOUNTED = Described(
    "gatepost_rate_limit_uncounted_total",
    "counter",
    "Hits that no store could count; `outcome` is `refused` or `let_pass`.",
    ("rule", "outcome"),
)
STORE_LOST = Described(
    "gatepost_rate_limiter_lost_total",
    "counter",
    "Calls that Redis or Valkey did not answer; PostgreSQL counted instead.",
)
CONNECTIONS = Described(
    "db_client_connection_count",
    "gauge",
    "Connections of the pool for transactions: `used` or `idle`.",
    ("state",),
)
CONNECTIONS_MOST = Described(
    "db_client_connection_max", "gauge", "Connections that the pools may have."
)
CONNECTION_WAIT = Described(
    "db_client_connection_wait_time_seconds",
    "histogram",
    "Until a transaction had a connection, made anew or waited for.",
)
CONNECTION_TIMEOUTS = Described(
    "db_client_connection_timeouts_total",
    "counter",
    "Transactions that got no connection in time, as all were in use.",
)
DATABASE = Described(
    "gatepost_database_up",
    "gauge",
    "Whether this instance could read its database for this answer: 1, or 0 and the levels of the"
    " queue and of keys are left out.",
)
PENDING = Described(
    "gatepost_outbox_pending", "gauge", "Jobs that wait to be done; counted up to 10,000."
)
OLDEST = Described(
    "gatepost_outbox_oldest_age_seconds", "gauge", "Since the oldest waiting job was due."
)
FAILED = Described(
    "gatepost_outbox_failed", "gauge", "Jobs given up after the last try, kept to be looked at."
)
UNDELIVERABLE = Described(
    "gatepost_mails_undeliverable",
    "gauge",
    "Mails of the last day whose address the mail server refused for good.",
)
JOBS = Described(
    "gatepost_outbox_deliveries_total",
    "counter",
    "Attempts of workers at jobs, by their names: `done`, or `failed` and tried again.",
    ("kind", "result"),
)
JOB_SECONDS = Described(
    "gatepost_outbox_delivery_duration_seconds", "histogram", "One attempt at a job.", ("kind",)
)
WEBHOOKS = Described(
    "gatepost_webhook_deliveries_total",
    "counter",
    "Attempts to tell an endpoint: `delivered`, `retried` later, or `failed` for the last time.",
    ("result",),
)
WEBHOOK_SECONDS = Described(
    "gatepost_webhook_duration_seconds", "histogram", "One such attempt, until it was answered."
)
WEBHOOKS_DISABLED = Described(
    "gatepost_webhook_endpoints_disabled_total",
    "counter",
    "Endpoints disabled because they failed for too long, or said that they are gone.",
)
KEY_AGE = Described(
    "gatepost_signing_key_age_seconds",
    "gauge",
    "Age of the oldest signing key of a state; once it signs, from then on.",
    ("state",),
)
BUILD = Described("gatepost_build_info", "gauge", "Always 1.", ("version",))
CATALOGUE = (
    REQUESTS,
    IN_FLIGHT,
    TRAIL,
    REGISTRATIONS,
    LOGINS,
    REFRESHES,
    ISSUED,
    HASH_SECONDS,
    HASH_QUEUE,
    HASH_REFUSED,
    LIMITED,
    UNCOUNTED,
    STORE_LOST,
    CONNECTIONS,
    CONNECTIONS_MOST,
    CONNECTION_WAIT,
    CONNECTION_TIMEOUTS,
    DATABASE,
    PENDING,
    OLDEST,
    FAILED,
    UNDELIVERABLE,
    JOBS,
    JOB_SECONDS,
    WEBHOOKS,
    WEBHOOK_SECONDS,
    WEBHOOKS_DISABLED,
    KEY_AGE,
    BUILD,
)
