"""Settings: the environment, `.env`, and `NAME_FILE` for every secret."""

import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ..adapters.mail.server import SmtpServer
from ..adapters.postgres.dsn import through_pooler
from ..adapters.postgres.queue_names import renaming
from .setting_groups import (
    AccountSettings,
    Algorithm,
    AuditSettings,
    ClientIp,
    Environment,
    ExportSettings,
    FrontendSettings,
    Group,
    HttpSettings,
    JobSettings,
    LimitSettings,
    LogFormat,
    LogSettings,
    MailSettings,
    OAuthSettings,
    PasswordSettings,
    Registration,
    SecretsSettings,
    ServiceSettings,
    SessionSettings,
    TokenSettings,
    WebhookSettings,
)
from .setting_sources import PREFIX, SECRET_NAMES, collect
from .setting_types import BaseUrl, DatabaseUrl, Folder, RedisUrl, mail_target

__all__ = [
    "PREFIX",
    "SECRET_NAMES",
    "Algorithm",
    "ClientIp",
    "Environment",
    "LogFormat",
    "Registration",
    "Settings",
    "SettingsError",
    "known_names",
    "load",
    "secret_files",
    "setting_name",
]

_MANAGEMENT_PORT = 9000


class SettingsError(Exception):
    """Everything that is wrong with the settings, by name and never by value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Found(EnvSettingsSource):
    """Hands over known names alone: the library would try to read `GATEPOST_HTTP` as JSON."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        names = {name for name, _ in known_names()}
        return {name.lower(): value for name, value in collect(names).values.items()}


class Settings(BaseSettings):
    """All settings. Construct with `load`, which reports every problem at once."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    environment: Environment = Field(
        Environment.DEVELOPMENT, description="`production` demands secrets, https, a database."
    )
    data_dir: Folder = Field(Path(".gatepost"), description="Embedded database, mails, own keys.")
    public_url: BaseUrl | None = Field(None, description="Issuer, and base of links.")
    database_url: DatabaseUrl | None = Field(
        None, validation_alias="DATABASE_URL", description="PostgreSQL 15+; embedded if unset."
    )
    database_direct_url: DatabaseUrl | None = Field(
        None,
        validation_alias="DATABASE_DIRECT_URL",
        description="For migrations and LISTEN, where DATABASE_URL leads to a transaction"
        " pooler; then nothing is prepared there, and no timeout set.",
    )
    redis_url: RedisUrl | None = Field(
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
    exports: ExportSettings = ExportSettings()
    webhooks: WebhookSettings = WebhookSettings()
    jobs: JobSettings = JobSettings()
    password: PasswordSettings = PasswordSettings()
    tokens: TokenSettings = TokenSettings()
    oauth: OAuthSettings = OAuthSettings()
    sessions: SessionSettings = SessionSettings()
    accounts: AccountSettings = AccountSettings()
    limits: LimitSettings = LimitSettings()
    audit: AuditSettings = AuditSettings()
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
        return init_settings, _Found(settings_cls)

    @model_validator(mode="wrap")
    @classmethod
    def _all_problems(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Also compare settings with each other where one of them is wrong by itself."""
        try:
            settings = handler(values)
        except ValidationError as refused:
            # Pydantic's own text would repeat the value, which may be a secret.
            problems = [_described(error["loc"], error["msg"]) for error in refused.errors()]
            faulty = [error["loc"] for error in refused.errors()]
            problems += _conflicts(handler(_without(values, faulty)))
            raise SettingsError(_first_of_each(problems)) from None
        if problems := list(_conflicts(settings)):
            raise SettingsError(problems)
        return settings

    @property
    def is_production(self) -> bool:
        return self.environment is Environment.PRODUCTION

    @property
    def direct_url(self) -> str:
        """Return the database URL for what needs a session of its own: migrations, LISTEN."""
        direct = self.database_direct_url
        return self.pooled_url if direct is None else direct.get_secret_value()

    @property
    def pooled_url(self) -> str:
        """Return the database URL for all else; with a direct one beside it, it has a pooler."""
        if self.database_url is None:
            raise SettingsError(["DATABASE_URL: needed here"])
        url = self.database_url.get_secret_value()
        return url if self.database_direct_url is None else through_pooler(url)

    @property
    def issuer(self) -> str:
        return self.public_url or f"http://127.0.0.1:{self.port}"

    @property
    def frontend_url(self) -> str:
        return self.frontend.url or self.issuer

    @property
    def mail_target(self) -> SmtpServer | Path | None:
        """Return where mails go: a server, a folder, or None for standard output."""
        given = self.mail.url
        return self.data_dir / "mail" if given is None else mail_target(given.get_secret_value())

    @property
    def shows_mail_password(self) -> bool:
        target = self.mail_target
        return isinstance(target, SmtpServer) and target.shows_password

    @property
    def management_port(self) -> int | None:
        default = _MANAGEMENT_PORT if self.is_production else None
        return default if self.http.management_port is None else self.http.management_port

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
        if isinstance(group, type) and issubclass(group, Group):
            for inner, inner_info in group.model_fields.items():
                spelling = str(inner_info.validation_alias or inner)
                yield setting_name((name, spelling)), (name, inner)
        else:
            yield setting_name((name,)), (name,)


def load(**given: Any) -> Settings:
    """Read and check the settings; raises SettingsError with all problems at once.

    `given` overrides single fields, as command-line options do.
    """
    problems = collect({name for name, _ in known_names()}).problems
    problems += [f"{name}: renames the job queue; unset it" for name in renaming(os.environ)]
    try:
        settings = Settings(**given)
    except SettingsError as refused:
        problems += refused.problems
    if problems:
        raise SettingsError(_first_of_each(problems))
    return settings


def secret_files() -> Mapping[str, Path]:
    """Tell which file each secret comes from; one from the environment has none."""
    return collect({name for name, _ in known_names()}).files


def _described(place: tuple[str | int, ...], message: str) -> str:
    return f"{setting_name(place)}: {message.removeprefix('Value error, ')}"


def _first_of_each(problems: list[str]) -> list[str]:
    """Name a setting once: what is found later often follows from what was found first."""
    by_name: dict[str, str] = {}
    for problem in problems:
        by_name.setdefault(problem.partition(":")[0], problem)
    return list(by_name.values())


def _without(values: Any, faulty: list[tuple[str | int, ...]]) -> Any:
    """Leave out what is wrong by itself, so that defaults stand for it."""
    kept = {name: dict(v) if isinstance(v, dict) else v for name, v in values.items()}
    for first, *rest in faulty:
        name = next((n for n in kept if n.lower() == str(first).lower()), "")
        group = kept.get(name)
        if rest and isinstance(group, dict):
            group.pop(rest[0], None)
        else:
            kept.pop(name, None)
    return kept


def _conflicts(settings: Settings) -> Iterator[str]:
    """List what does not go together."""
    password, sessions = settings.password, settings.sessions
    if settings.database_direct_url is not None and settings.database_url is None:
        yield "DATABASE_DIRECT_URL: needs DATABASE_URL beside it"
    if settings.jobs.relay_url is not None and settings.database_url is None:
        yield f"{PREFIX}JOBS__RELAY_URL: needs DATABASE_URL beside it"
    yield from _misplaced(settings.exports)
    if settings.management_port == settings.port:
        yield f"{PREFIX}HTTP__MANAGEMENT_PORT: another one than PORT"
    if password.memory_kib < 8 * password.parallelism:
        yield f"{PREFIX}PASSWORD__MEMORY_KIB: at least 8 for each of PARALLELISM"
    # The default may be longer: the longest life cuts it.
    if "idle_ttl" in sessions.model_fields_set and sessions.idle_ttl > sessions.absolute_ttl:
        yield f"{PREFIX}SESSIONS__IDLE_TTL: longer than ABSOLUTE_TTL"
    if settings.is_production:
        yield from _unsafe(settings)


def _misplaced(exports: ExportSettings) -> Iterator[str]:
    name = f"{PREFIX}EXPORTS__"
    is_s3 = exports.url is not None and exports.url.startswith("s3://")
    if exports.url is not None and exports.dir is not None:
        yield f"{name}DIR: not beside {name}URL"
    for given in () if is_s3 else exports.of_bucket:
        yield f"{name}{given.upper()}: needs an s3:// {name}URL"
    if (exports.access_key_id is None) != (exports.secret_access_key is None):
        yield f"{name}SECRET_ACCESS_KEY: goes together with {name}ACCESS_KEY_ID"


def _unsafe(settings: Settings) -> Iterator[str]:
    if settings.database_url is None:
        yield "DATABASE_URL: needed in production; the embedded server is for development"
    if settings.secrets.keys is None:
        yield f"{PREFIX}SECRETS__KEYS: needed in production"
    if not settings.issuer.startswith("https://"):
        yield f"{PREFIX}PUBLIC_URL: must be https in production"
    if settings.frontend.url and not settings.frontend.url.startswith("https://"):
        yield f"{PREFIX}FRONTEND__URL: must be https in production"
    if settings.shows_mail_password:
        yield f"{PREFIX}MAIL__URL: a password needs smtps:// or smtp+starttls:// in production"
    if settings.password.memory_kib < 19456:
        yield f"{PREFIX}PASSWORD__MEMORY_KIB: at least 19456 in production"
    if settings.password.time_cost < 2:
        yield f"{PREFIX}PASSWORD__TIME_COST: at least 2 in production"
