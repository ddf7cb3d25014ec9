"""Settings: the environment, `.env`, and `NAME_FILE` for every secret."""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ..domain import limits

PREFIX = "GATEPOST_"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9})\s*([smhd])")


class SettingsError(Exception):
    """Everything that is wrong with the settings, by name and never by value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _duration(value: object) -> object:
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if isinstance(value, str) and match is None:
        raise ValueError("a duration such as 10s, 15m, 12h or 30d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]]) if match else value


def _listed(value: object) -> object:
    if isinstance(value, str):
        return tuple(part for part in (p.strip() for p in value.split(",")) if part)
    return value


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
    ):
        raise ValueError("an http or https URL without query or fragment")
    return value.rstrip("/")


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != value:
        raise ValueError("an exact origin such as https://app.example.com")
    return value


def _network(value: object) -> object:
    return ip_network(value) if isinstance(value, str) else value


def _rate(value: str) -> str:
    limits.Rate.parse(value)
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_listed)
]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_listed)]
Rate = Annotated[str, AfterValidator(_rate)]


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


class _Group(BaseModel):
    # Unknown names are reported by `load`, which also sees those of no group.
    model_config = ConfigDict(extra="ignore", frozen=True)


class HttpSettings(_Group):
    host: str = Field("127.0.0.1", description="Address to listen on.")
    workers: int = Field(1, ge=1, le=256, description="Server processes.")
    docs: bool | None = Field(
        None, description="Serve /docs, /redoc and /openapi.json; on in development only."
    )
    shutdown_delay: Duration | None = Field(
        None, description="From SIGTERM until listening ends; 0s in development, else 5s."
    )
    trusted_proxies: Networks = Field((), description="CIDRs whose X-Forwarded-For is believed.")
    cors_origins: Origins = Field((), description="Exact origins that browsers may call from.")


class ServiceSettings(_Group):
    name: str = Field("Gatepost", min_length=1, description="In mails; refused as a password.")


class FrontendSettings(_Group):
    url: BaseUrl | None = Field(None, description="Base of mailed links; the public URL if unset.")


class SecretsSettings(_Group):
    keys: SecretStr | None = Field(
        None, description="Master keys, newest first: base64 of 32 bytes each, with commas."
    )


class MailSettings(_Group):
    url: SecretStr | None = Field(
        None, description="file:///folder (one .eml a mail) or console:; data folder if unset."
    )
    sender: str = Field("Gatepost <no-reply@example.com>", description="From header.")


class PasswordSettings(_Group):
    min_length: int = Field(8, ge=8, le=64, description="Code points; 15 is recommended.")
    memory_kib: int = Field(19456, ge=8, description="Argon2id memory.")
    time_cost: int = Field(2, ge=1, description="Argon2id passes.")
    parallelism: int = Field(1, ge=1, le=16, description="Argon2id lanes.")
    concurrency: int | None = Field(
        None, ge=1, description="Hashes at once in a process; cores / workers if unset."
    )
    queue: int = Field(64, ge=0, description="Hashes waiting in a process; beyond it 503.")


class TokenSettings(_Group):
    audience: str | None = Field(None, description="`aud`; the public URL if unset.")
    access_ttl: Duration = Field(timedelta(minutes=15), description="Life of an access token.")
    algorithm: Algorithm = Field(Algorithm.ES256, description="ES256, RS256 or EdDSA.")


class OAuthSettings(_Group):
    password_grant: bool | None = Field(
        None, description="grant_type=password, for the docs page; on in development only."
    )


class SessionSettings(_Group):
    idle_ttl: Duration = Field(timedelta(days=30), description="Life without a refresh.")
    absolute_ttl: Duration = Field(timedelta(days=90), description="Longest life of a session.")
    refresh_grace: Duration = Field(
        timedelta(seconds=10), le=timedelta(seconds=10), description="For a repeated refresh."
    )


class AccountSettings(_Group):
    registration: Registration = Field(Registration.OPEN, description="open or closed.")
    require_verified_email: bool = Field(True, description="Sign in only with a proven address.")
    unverified_ttl: Duration = Field(timedelta(days=7), description="Life of an unproven account.")


class LimitSettings(_Group):
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


class LogSettings(_Group):
    format: LogFormat | None = Field(
        None, description="console or json; console on a terminal if unset."
    )


class _SecretFiles(EnvSettingsSource):
    """Reads NAME_FILE for the secret settings, as orchestrators mount them."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        found: dict[str, str | None] = {}
        for name in SECRET_NAMES:
            path = os.environ.get(f"{name}_FILE")
            if path is None:
                continue
            try:
                found[name.lower()] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise SettingsError([f"{name}_FILE: cannot be read"]) from None
        return found


class Settings(BaseSettings):
    """All settings. Construct with `load`, which reports every problem at once."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    environment: Environment = Field(
        Environment.DEVELOPMENT, description="`production` demands secrets, https, a database."
    )
    data_dir: Path = Field(Path(".gatepost"), description="Embedded database, mail, dev secrets.")
    public_url: BaseUrl | None = Field(None, description="Issuer, and base of links.")
    database_url: SecretStr | None = Field(
        None, validation_alias="DATABASE_URL", description="PostgreSQL 15+; embedded if unset."
    )
    database_direct_url: SecretStr | None = Field(
        None,
        validation_alias="DATABASE_DIRECT_URL",
        description="Past a transaction pooler: migrations and LISTEN.",
    )
    redis_url: SecretStr | None = Field(
        None,
        validation_alias="REDIS_URL",
        description="Redis or Valkey for shared limits; PostgreSQL does that if unset.",
    )
    port: int = Field(8000, validation_alias="PORT", ge=1, le=65535, description="HTTP port.")
    log_level: str = Field(
        "INFO",
        validation_alias="LOG_LEVEL",
        pattern="^(DEBUG|INFO|WARNING|ERROR|CRITICAL)$",
        description="DEBUG, INFO, WARNING, ERROR or CRITICAL.",
    )
    http: HttpSettings = HttpSettings()
    service: ServiceSettings = ServiceSettings()
    frontend: FrontendSettings = FrontendSettings()
    secrets: SecretsSettings = SecretsSettings()
    mail: MailSettings = MailSettings()
    password: PasswordSettings = PasswordSettings()
    tokens: TokenSettings = TokenSettings()
    oauth: OAuthSettings = OAuthSettings()
    sessions: SessionSettings = SessionSettings()
    accounts: AccountSettings = AccountSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SecretFiles(settings_cls), dotenv_settings

    @property
    def is_production(self) -> bool:
        return self.environment is Environment.PRODUCTION

    @property
    def direct_url(self) -> str:
        """Return the database URL for what needs a session of its own: migrations, LISTEN."""
        url = self.database_direct_url or self.database_url
        if url is None:
            raise SettingsError(["DATABASE_URL: needed here"])
        return url.get_secret_value()

    @property
    def issuer(self) -> str:
        return self.public_url or f"http://127.0.0.1:{self.port}"

    @property
    def frontend_url(self) -> str:
        return self.frontend.url or self.issuer

    @property
    def serves_docs(self) -> bool:
        return not self.is_production if self.http.docs is None else self.http.docs

    @property
    def password_grant(self) -> bool:
        given = self.oauth.password_grant
        return not self.is_production if given is None else given

    @property
    def shutdown_delay(self) -> timedelta:
        default = timedelta(seconds=5 if self.is_production else 0)
        return default if self.http.shutdown_delay is None else self.http.shutdown_delay

    @property
    def hash_concurrency(self) -> int:
        cores = os.cpu_count() or 1
        return self.password.concurrency or max(1, cores // self.http.workers)


SECRET_NAMES = (
    "DATABASE_URL",
    "DATABASE_DIRECT_URL",
    "REDIS_URL",
    f"{PREFIX}SECRETS__KEYS",
    f"{PREFIX}MAIL__URL",
)


def setting_name(path: tuple[str | int, ...]) -> str:
    """Name the environment variable of a field, `("mail", "url")` for instance."""
    head = str(path[0])
    field = Settings.model_fields.get(head.lower())
    if field is not None and isinstance(field.validation_alias, str):
        return field.validation_alias
    if head.isupper():
        return head
    return PREFIX + "__".join(str(part).upper() for part in path if isinstance(part, str))


def known_names() -> Iterator[tuple[str, tuple[str, ...]]]:
    """List every setting: its environment name, and the path of fields that holds it."""
    for name, info in Settings.model_fields.items():
        group = info.annotation
        if isinstance(group, type) and issubclass(group, _Group):
            for inner, inner_info in group.model_fields.items():
                spelling = str(inner_info.validation_alias or inner)
                yield setting_name((name, spelling)), (name, inner)
        else:
            yield setting_name((name,)), (name,)


def load(**given: Any) -> Settings:
    """Read and check the settings; raises SettingsError with all problems at once.

    `given` overrides single top-level fields, as command-line options do.
    """
    problems = [*_unknown_names(), *_given_twice()]
    try:
        settings = Settings(**given)
    except ValidationError as refused:
        # Pydantic's own text would repeat the value, which may be a secret.
        problems += [f"{setting_name(e['loc'])}: {e['msg']}" for e in refused.errors()]
        raise SettingsError(problems) from None
    problems += _unsafe(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def _environment_names() -> set[str]:
    return {*os.environ, *dotenv_values(".env")}


def _unknown_names() -> Iterator[str]:
    known = {name for name, _ in known_names()}
    known |= {f"{name}_FILE" for name in SECRET_NAMES}
    for name in sorted(_environment_names()):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            yield f"{name}: no such setting"


def _given_twice() -> Iterator[str]:
    for name in SECRET_NAMES:
        if name in os.environ and f"{name}_FILE" in os.environ:
            yield f"{name}: given twice, also as {name}_FILE"


def _unsafe(settings: Settings) -> Iterator[str]:
    if not settings.is_production:
        return
    if settings.database_url is None:
        yield "DATABASE_URL: needed in production; the embedded server is for development"
    if settings.secrets.keys is None:
        yield f"{PREFIX}SECRETS__KEYS: needed in production"
    if not settings.issuer.startswith("https://"):
        yield f"{PREFIX}PUBLIC_URL: must be https in production"
    if settings.frontend.url and not settings.frontend.url.startswith("https://"):
        yield f"{PREFIX}FRONTEND__URL: must be https in production"
    if settings.password.memory_kib < 19456:
        yield f"{PREFIX}PASSWORD__MEMORY_KIB: at least 19456 in production"
    if settings.password.time_cost < 2:
        yield f"{PREFIX}PASSWORD__TIME_COST: at least 2 in production"
