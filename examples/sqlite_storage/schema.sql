CREATE TABLE IF NOT EXISTS accounts (
    id TEXT PRIMARY KEY,
    username TEXT NOT NULL,
    username_key TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    email_verified INTEGER NOT NULL,
    is_placeholder INTEGER NOT NULL,
    password_hash TEXT,
    bio TEXT,
    locale TEXT NOT NULL,
    status TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    expires_at TEXT,
    notified_at TEXT,
    password_expires_at TEXT
);
-- Placeholders own no address.
CREATE UNIQUE INDEX IF NOT EXISTS accounts_email ON accounts (email_key) WHERE NOT is_placeholder;
CREATE INDEX IF NOT EXISTS accounts_unproven ON accounts (email_key) WHERE NOT email_verified;
CREATE INDEX IF NOT EXISTS accounts_expiry ON accounts (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS accounts_age ON accounts (created_at, id);

CREATE TABLE IF NOT EXISTS roles (
    name TEXT PRIMARY KEY,
    scopes TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS tokens (
    digest BLOB PRIMARY KEY,
    purpose TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
    email TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    new_email TEXT,
    UNIQUE (account_id, purpose, email)
);

CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
    secret_hash BLOB NOT NULL,
    generation INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    rotated_at TEXT NOT NULL,
    idle_until TEXT NOT NULL,
    absolute_until TEXT NOT NULL,
    revoked_at TEXT,
    revoked_reason TEXT,
    device_name TEXT,
    user_agent TEXT,
    ip TEXT
);
CREATE INDEX IF NOT EXISTS sessions_account ON sessions (account_id, created_at);

CREATE TABLE IF NOT EXISTS keys (
    kid TEXT PRIMARY KEY,
    algorithm TEXT NOT NULL,
    sealed_private_key BLOB NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL,
    activated_at TEXT,
    retires_at TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS keys_active ON keys (state) WHERE state = 'active';

CREATE TABLE IF NOT EXISTS clients (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS client_secrets (
    id TEXT PRIMARY KEY,
    client_id TEXT NOT NULL REFERENCES clients ON DELETE CASCADE,
    digest BLOB NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    last_used_at TEXT
);
CREATE INDEX IF NOT EXISTS client_secrets_client ON client_secrets (client_id);

-- No foreign keys: the trail outlives what it tells of.
CREATE TABLE IF NOT EXISTS audit (
    id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    type TEXT NOT NULL,
    result TEXT NOT NULL,
    reason TEXT,
    actor TEXT,
    subject TEXT,
    session_id TEXT,
    client_id TEXT,
    ip TEXT,
    user_agent TEXT,
    request_id TEXT
);
CREATE INDEX IF NOT EXISTS audit_age ON audit (created_at, id);
CREATE INDEX IF NOT EXISTS audit_subject ON audit (subject, created_at, id);
CREATE INDEX IF NOT EXISTS audit_actor ON audit (actor, created_at, id);

CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY,
    sealed BLOB NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
    expires_at TEXT NOT NULL
);

-- No foreign key: a row that went with its account would leave the file behind.
CREATE TABLE IF NOT EXISTS exports (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    size INTEGER,
    progress INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS endpoints (
    id TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    contact TEXT,
    status TEXT NOT NULL,
    sealed_secret BLOB NOT NULL,
    sealed_former_secret BLOB,
    former_until TEXT,
    failing_since TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT PRIMARY KEY,
    endpoint_id TEXT NOT NULL REFERENCES endpoints ON DELETE CASCADE,
    event_id TEXT NOT NULL,
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    attempted_at TEXT,
    answered INTEGER,
    fault TEXT,
    duration_ms INTEGER,
    UNIQUE (endpoint_id, event_id)
);

CREATE TABLE IF NOT EXISTS jobs (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    account_id TEXT,
    lane TEXT,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT,
    created_at TEXT NOT NULL,
    due_at TEXT NOT NULL,
    changed_at TEXT NOT NULL
);
