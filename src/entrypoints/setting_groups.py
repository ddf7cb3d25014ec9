"""Settings in their groups: one model for each part of a name after the prefix."""

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from .setting_types import (
    BaseUrl,
    BrokerUrl,
    BucketUrl,
    Folder,
    Grace,
    Keys,
    Lifetime,
    Line,
    MailUrl,
    Networks,
    Origins,
    Rate,
    Retention,
    Sender,
    ShutdownDelay,
)


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Registration(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class Algorithm(StrEnum):
    ES256 = "ES256"
    RS256 = "RS256"
    EDDSA = "EdDSA"


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


class ClientIp(StrEnum):
    FULL = "full"
    TRUNCATED = "truncated"
    NONE = "none"


class Group(BaseModel):
    # Unknown names are reported by `load`, which also sees those of no group.
    model_config = ConfigDict(extra="ignore", frozen=True)


class HttpSettings(Group):
    host: Line = Field("127.0.0.1", description="Address to listen on.")
    workers: int = Field(1, ge=1, le=256, description="Server processes.")
    management_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="A second port, for /metrics and /health with its checks; 9000 in production."
        " Without one both are on the main port.",
    )
    docs: bool | None = Field(
        None, description="Serve /docs, /redoc and /openapi.json; on in development only."
    )
    shutdown_delay: ShutdownDelay | None = Field(
        None, description="From SIGTERM until listening ends; 0s in development, else 5s."
    )
    trusted_proxies: Networks = Field((), description="CIDRs whose X-Forwarded-For is believed.")
    cors_origins: Origins = Field((), description="Exact origins that browsers may call from.")


class ServiceSettings(Group):
    name: Line = Field("Gatepost", description="In mails; refused as a password.")


class FrontendSettings(Group):
    url: BaseUrl | None = Field(None, description="Base of mailed links; the public URL if unset.")


class SecretsSettings(Group):
    keys: Keys | None = Field(
        None, description="Master keys, newest first: base64 of 32 bytes each, with commas."
    )


class MailSettings(Group):
    url: MailUrl | None = Field(
        None,
        description="smtps://user:password@host, smtp+starttls:// or smtp:// (not encrypted),"
        " file:///folder (one .eml a mail) or console:; data folder if unset.",
    )
    sender: Sender = Field("Gatepost <no-reply@example.com>", description="From header.")
    templates: Folder | None = Field(
        None, description="Folder whose `<language>/<mail>.{subject,txt,html}` go before ours."
    )


class JobSettings(Group):
    relay_url: BrokerUrl | None = Field(
        None,
        description="Celery's broker, which `worker` hands jobs to instead of doing them:"
        " redis://, rediss://, amqp:// or amqps://.",
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port on which `worker` shows its metrics; each on a host needs its own.",
    )


class ExportSettings(Group):
    dir: Folder | None = Field(
        None,
        description="Folder of data exports, the same for all replicas (a shared volume);"
        " `exports` in the data folder if unset.",
    )
    url: BucketUrl | None = Field(
        None,
        description="Bucket of data exports, in place of a folder: s3://bucket/prefix, gs:// or"
        " az://.",
    )
    endpoint: BaseUrl | None = Field(
        None, description="Where the bucket is, when not at Amazon: MinIO, Ceph, R2 and others."
    )
    region: Line | None = Field(None, description="Region of the bucket, such as eu-central-1.")
    access_key_id: SecretStr | None = Field(
        None,
        description="Who writes to the bucket; unset, as the platform says: AWS_*, or the role of"
        " the machine.",
    )
    secret_access_key: SecretStr | None = Field(None, description="The key that goes with it.")

    @property
    def of_bucket(self) -> dict[str, str]:
        """Return what is given beside the URL."""
        secrets = ("access_key_id", "secret_access_key")
        given = {name: getattr(self, name) for name in secrets}
        shown = {name: secret.get_secret_value() for name, secret in given.items() if secret}
        plain = {"endpoint": self.endpoint, "region": self.region}
        return shown | {name: value for name, value in plain.items() if value}


class WebhookSettings(Group):
    networks: Networks = Field(
        (),
        description="CIDRs that webhooks may go to beside public addresses, by https: your own.",
    )


class PasswordSettings(Group):
    min_length: int = Field(8, ge=8, le=64, description="Code points; 15 is recommended.")
    memory_kib: int = Field(19456, ge=8, le=4_194_304, description="Argon2id memory.")
    time_cost: int = Field(2, ge=1, le=1000, description="Argon2id passes.")
    parallelism: int = Field(1, ge=1, le=16, description="Argon2id lanes.")
    concurrency: int | None = Field(
        None, ge=1, le=1024, description="Hashes at once in a process; cores / workers if unset."
    )
    queue: int = Field(
        64, ge=0, description="Hashes waiting in a process; beyond it, or 1.5 s of waiting, 503."
    )


class TokenSettings(Group):
    audience: Line | None = Field(None, description="`aud`; the public URL if unset.")
    access_ttl: Lifetime = Field(timedelta(minutes=15), description="Life of an access token.")
    algorithm: Algorithm = Field(
        Algorithm.ES256, description="ES256, RS256 or EdDSA; of keys made from now on."
    )
    key_ttl: Lifetime = Field(
        timedelta(days=90), description="Age of a signing key at which the next is announced."
    )


class OAuthSettings(Group):
    password_grant: bool | None = Field(
        None, description="grant_type=password, for the docs page; on in development only."
    )


class SessionSettings(Group):
    idle_ttl: Lifetime = Field(timedelta(days=30), description="Life without a refresh.")
    absolute_ttl: Lifetime = Field(timedelta(days=90), description="Longest life of a session.")
    refresh_grace: Grace = Field(timedelta(seconds=10), description="For a repeated refresh.")


class AccountSettings(Group):
    registration: Registration = Field(Registration.OPEN, description="open or closed.")
    require_verified_email: bool = Field(True, description="Sign in only with a proven address.")
    unverified_ttl: Lifetime = Field(timedelta(days=7), description="Life of an unproven account.")


class LimitSettings(Group):
    """Names and defaults of the rate limits; `enabled` false switches all of them off."""

    enabled: bool = Field(True, description="Whether rate limits hold.")
    # `register` itself would hide a method of the model's class.
    registrations: Rate = Field(
        "10/1h", validation_alias="register", description="Registrations by client address."
    )
    login: Rate = Field("10/5m", description="Failed logins by login as typed.")
    login_address: Rate = Field("30/1m", description="Logins by client address.")
    refresh: Rate = Field("60/1m", description="Refreshes by session.")
    mail: Rate = Field("3/15m", description="Mails by target address.")
    mail_address: Rate = Field("20/1h", description="Mail-sending calls by client address.")
    public: Rate = Field("120/1m", description="Other public calls by client address.")
    user: Rate = Field("600/1m", description="Authenticated calls by user.")


class AuditSettings(Group):
    retention: Retention = Field(
        timedelta(days=365), description="Life of an entry of the audit trail."
    )


class LogSettings(Group):
    format: LogFormat | None = Field(
        None, description="console or json; console on a terminal if unset."
    )
    requests: bool = Field(True, description="Write a line for each request but those of probes.")
    client_ip: ClientIp = Field(
        ClientIp.TRUNCATED,
        description="Client addresses in those lines: full, truncated (to /24 or /48) or none.",
    )
