"""Adapters, chosen by the settings: the one module that knows the container library."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import structlog
from dependency_injector import containers, providers
from sqlalchemy.ext.asyncio import AsyncEngine

from ..adapters.argon2 import Argon2PasswordHasher
from ..adapters.cipher import KeyringCipher, MasterKeys
from ..adapters.jose import JwtAccessTokens
from ..adapters.mail.delivery import ConsoleMailer, FileMailer
from ..adapters.mail.message import MessageBuilder
from ..adapters.mail.rendering import MailTexts
from ..adapters.postgres.callers import PostgresCallers
from ..adapters.postgres.engine import create_engine
from ..adapters.postgres.health import PostgresHealth
from ..adapters.postgres.transactions import PostgresUnitOfWork
from ..adapters.refresh_tokens import SealedRefreshTokens
from ..adapters.system import SystemSecrets, utc_now
from ..application.gatepost import Gatepost, Policies, assemble
from ..application.mail import MailPolicy
from ..application.ports import Ports
from ..application.ports.delivery import Mailer
from ..application.ports.security import (
    AccessTokens,
    Cipher,
    Clock,
    RefreshTokens,
    Secrets,
)
from ..application.ports.storage import UnitOfWork
from ..domain.accounts import AccountPolicy
from ..domain.credentials import PasswordPolicy
from ..domain.errors import GatepostError
from ..domain.sessions import SessionPolicy
from ..domain.tokens import TokenPolicy
from .master_keys import master_keys
from .settings import PREFIX, Registration, Settings, SettingsError

# A key is published for longer than this before it signs, so that every process knows it.
_KEY_RELOAD = timedelta(seconds=60)
log = structlog.get_logger(__name__)


def policies_of(settings: Settings) -> Policies:
    """Translate settings into the policies of the core."""
    return Policies(
        accounts=AccountPolicy(
            registration_open=settings.accounts.registration is Registration.OPEN,
            require_verified_email=settings.accounts.require_verified_email,
            unverified_ttl=settings.accounts.unverified_ttl,
        ),
        passwords=PasswordPolicy(
            min_length=settings.password.min_length, service_name=settings.service.name
        ),
        sessions=SessionPolicy(
            idle_ttl=settings.sessions.idle_ttl,
            absolute_ttl=settings.sessions.absolute_ttl,
            refresh_grace=settings.sessions.refresh_grace,
        ),
        tokens=token_policy(settings),
        mail=MailPolicy(frontend_url=settings.frontend_url),
    )


def token_policy(settings: Settings) -> TokenPolicy:
    return TokenPolicy(
        issuer=settings.issuer,
        audience=settings.tokens.audience or settings.issuer,
        access_ttl=settings.tokens.access_ttl,
    )


def mailer_of(settings: Settings) -> Mailer:
    """Choose the mailer by the scheme of its URL; raises SettingsError for an unknown one."""
    texts = MailTexts(settings.service.name)
    builder = MessageBuilder(texts, settings.mail.sender, utc_now)
    given = settings.mail.url
    if given is None:
        return FileMailer(builder, settings.data_dir / "mail")
    url = urlsplit(given.get_secret_value())
    if url.scheme == "console":
        return ConsoleMailer(builder)
    if url.scheme == "file" and url.path:
        return FileMailer(builder, Path(url2pathname(url.path)))
    raise SettingsError([f"{PREFIX}MAIL__URL: file:///folder or console:"])


def _database_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise SettingsError(["DATABASE_URL: needed here"])
    return settings.database_url.get_secret_value()


def _hasher(settings: Settings) -> Argon2PasswordHasher:
    return Argon2PasswordHasher(
        memory_kib=settings.password.memory_kib,
        time_cost=settings.password.time_cost,
        parallelism=settings.password.parallelism,
        concurrency=settings.hash_concurrency,
        queue=settings.password.queue,
    )


class Container(containers.DeclarativeContainer):
    """One provider a port, annotated with it (or with the adapter, where it must be closed)."""

    settings = providers.Dependency(instance_of=Settings)
    database_url: providers.Provider[str] = providers.Callable(_database_url, settings)
    keys: providers.Provider[MasterKeys] = providers.Singleton(master_keys, settings)
    engine: providers.Provider[AsyncEngine] = providers.Singleton(create_engine, database_url)
    now: providers.Provider[Clock] = providers.Object(utc_now)
    uow: providers.Provider[UnitOfWork] = providers.Singleton(PostgresUnitOfWork, engine)
    callers: providers.Provider[PostgresCallers] = providers.Singleton(
        PostgresCallers, database_url
    )
    database: providers.Provider[PostgresHealth] = providers.Singleton(
        PostgresHealth, database_url
    )
    hasher: providers.Provider[Argon2PasswordHasher] = providers.Singleton(_hasher, settings)
    secrets: providers.Provider[Secrets] = providers.Singleton(SystemSecrets)
    cipher: providers.Provider[Cipher] = providers.Singleton(KeyringCipher, keys)
    refresh_tokens: providers.Provider[RefreshTokens] = providers.Singleton(
        SealedRefreshTokens, keys
    )
    access_tokens: providers.Provider[AccessTokens] = providers.Singleton(
        JwtAccessTokens,
        providers.Callable(token_policy, settings),
        settings.provided.tokens.algorithm.value,
        now,
    )
    mailer: providers.Provider[Mailer] = providers.Singleton(mailer_of, settings)
    ports: providers.Provider[Ports] = providers.Singleton(
        Ports,
        uow=uow,
        callers=callers,
        database=database,
        hasher=hasher,
        secrets=secrets,
        cipher=cipher,
        refresh_tokens=refresh_tokens,
        access_tokens=access_tokens,
        mailer=mailer,
        now=now,
    )
    gatepost: providers.Provider[Gatepost] = providers.Singleton(
        assemble, ports, providers.Callable(policies_of, settings)
    )


@contextlib.asynccontextmanager
async def open_gatepost(settings: Settings) -> AsyncIterator[Gatepost]:
    """Build everything from the settings, and close it again.

    The one way in for HTTP, CLI, worker and embedders. Raises SettingsError, Unavailable, and
    SealBroken when a stored signing key does not open with the configured master keys.
    """
    container = Container(settings=providers.Object(settings))
    gatepost = container.gatepost()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(container.engine().dispose)
        callers, database = container.callers(), container.database()
        stack.push_async_callback(callers.close)
        stack.push_async_callback(database.close)
        await callers.open()
        await database.open()
        stack.callback(container.hasher().close)
        await gatepost.keys.load()
        reload = asyncio.create_task(_reload_keys(gatepost))
        stack.callback(reload.cancel)
        yield gatepost


async def _reload_keys(gatepost: Gatepost) -> None:
    """Take over keys that another process made or retired."""
    while True:
        await asyncio.sleep(_KEY_RELOAD.total_seconds())
        try:
            await gatepost.keys.load()
        except GatepostError as refused:
            log.warning("signing keys not reloaded", code=refused.code)
