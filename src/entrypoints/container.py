"""Adapters, chosen by the settings: the one module that knows the container library."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta

import structlog
from dependency_injector import containers, providers
from sqlalchemy.pool import QueuePool

from ..adapters.argon2 import Argon2PasswordHasher
from ..adapters.cipher import KeyringCipher, LimiterKeyHasher, MasterKeys
from ..adapters.jose import JwtAccessTokens
from ..adapters.postgres.callers import PostgresCallers
from ..adapters.postgres.engine import Engine, create_engine
from ..adapters.postgres.health import PostgresBacklog, PostgresHealth
from ..adapters.postgres.limits import PostgresRateLimiter
from ..adapters.postgres.sessions import PostgresRotations
from ..adapters.postgres.sign_ins import PostgresSignIns
from ..adapters.postgres.transactions import PostgresUnitOfWork
from ..adapters.refresh_tokens import SealedRefreshTokens
from ..adapters.system import SystemSecrets, utc_now
from ..application.events import Subscriber
from ..application.gatepost import Gatepost, assemble
from ..application.mail import MailPolicy
from ..application.policies import Policies
from ..application.ports import Ports
from ..application.ports.delivery import Level, Mailer, Metrics
from ..application.ports.exports import ExportStore
from ..application.ports.limits import KeyHasher, LimitEvents, RateLimiter
from ..application.ports.security import (
    AccessTokens,
    Cipher,
    Clock,
    RefreshTokens,
    Secrets,
    SigningKeysInvalid,
)
from ..application.ports.sessions import SignIns
from ..application.ports.storage import HealthCheck, UnitOfWork
from ..application.ports.webhooks import WebhookSender
from ..domain.accounts import AccountPolicy
from ..domain.audit import AuditPolicy
from ..domain.credentials import PasswordPolicy
from ..domain.errors import GatepostError
from ..domain.keys import KeyPolicy
from ..domain.sessions import SessionPolicy
from ..domain.tokens import TokenPolicy
from .exporting import export_store
from .mailing import LateMailer
from .master_keys import master_keys
from .rate_limits import (
    LimiterHealth,
    LoggedLimitEvents,
    choose_limiter,
    limit_policy,
    redis_limiter,
)
from .settings import Registration, Settings
from .webhooks import LateWebhooks

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
        limits=limit_policy(settings),
        keys=key_policy(settings),
        audit=AuditPolicy(retention=settings.audit.retention),
    )


def token_policy(settings: Settings) -> TokenPolicy:
    return TokenPolicy(
        issuer=settings.issuer,
        audience=settings.tokens.audience or settings.issuer,
        access_ttl=settings.tokens.access_ttl,
    )


def key_policy(settings: Settings) -> KeyPolicy:
    return KeyPolicy(lifetime=settings.tokens.key_ttl)


def _limiter_check(redis: RateLimiter | None, postgres: RateLimiter) -> LimiterHealth:
    return LimiterHealth(redis or postgres)


def _hasher(settings: Settings, metrics: Metrics) -> Argon2PasswordHasher:
    return Argon2PasswordHasher(
        memory_kib=settings.password.memory_kib,
        time_cost=settings.password.time_cost,
        parallelism=settings.password.parallelism,
        concurrency=settings.hash_concurrency,
        queue=settings.password.queue,
        metrics=metrics,
    )


def _engine(database_url: str, metrics: Metrics) -> Engine:
    engine = create_engine(database_url)
    pool = engine.sync_engine.pool
    if isinstance(pool, QueuePool):
        metrics.watch(Level.CONNECTIONS_USED, pool.checkedout)
        metrics.watch(Level.CONNECTIONS_IDLE, pool.checkedin)
        metrics.watch(Level.CONNECTIONS_MOST, pool.size)
    return engine


def _unseen_metrics() -> Metrics:
    from ..adapters.memory import MemoryMetrics

    return MemoryMetrics()


class Container(containers.DeclarativeContainer):
    """One provider a port, annotated with it (or with the adapter, where it must be closed)."""

    settings = providers.Dependency(instance_of=Settings)
    # Only a server has something to show them.
    metrics: providers.Provider[Metrics] = providers.Singleton(_unseen_metrics)
    database_url: providers.Provider[str] = settings.provided.pooled_url
    keys: providers.Provider[MasterKeys] = providers.Singleton(master_keys, settings)
    engine: providers.Provider[Engine] = providers.Singleton(_engine, database_url, metrics)
    now: providers.Provider[Clock] = providers.Object(utc_now)
    uow: providers.Provider[UnitOfWork] = providers.Singleton(PostgresUnitOfWork, engine, metrics)
    callers: providers.Provider[PostgresCallers] = providers.Singleton(
        PostgresCallers, database_url
    )
    rotations: providers.Provider[PostgresRotations] = providers.Singleton(
        PostgresRotations, database_url
    )
    sign_ins: providers.Provider[SignIns] = providers.Singleton(
        PostgresSignIns, rotations.provided.pool
    )
    database: providers.Provider[PostgresHealth] = providers.Singleton(
        PostgresHealth, database_url
    )
    backlog: providers.Provider[PostgresBacklog] = providers.Singleton(
        PostgresBacklog, database_url
    )
    postgres_limiter: providers.Provider[PostgresRateLimiter] = providers.Singleton(
        PostgresRateLimiter, database_url
    )
    redis_limiter = providers.Singleton(redis_limiter, settings)
    limiter_keys: providers.Provider[KeyHasher] = providers.Singleton(LimiterKeyHasher, keys)
    limit_events: providers.Provider[LimitEvents] = providers.Singleton(LoggedLimitEvents)
    limiter: providers.Provider[RateLimiter] = providers.Singleton(
        choose_limiter, postgres_limiter, redis_limiter, limit_events, metrics
    )
    limiter_check: providers.Provider[HealthCheck] = providers.Singleton(
        _limiter_check, redis_limiter, postgres_limiter
    )
    hasher: providers.Provider[Argon2PasswordHasher] = providers.Singleton(
        _hasher, settings, metrics
    )
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
    mailer: providers.Provider[Mailer] = providers.Singleton(LateMailer, settings)
    exports: providers.Provider[ExportStore] = providers.Singleton(export_store, settings, cipher)
    webhooks: providers.Provider[WebhookSender] = providers.Singleton(LateWebhooks, settings)
    ports: providers.Provider[Ports] = providers.Singleton(
        Ports,
        uow=uow,
        callers=callers,
        rotations=rotations,
        sign_ins=sign_ins,
        database=database,
        limiter=limiter,
        limiter_keys=limiter_keys,
        limit_events=limit_events,
        limiter_check=limiter_check,
        backlog=backlog,
        hasher=hasher,
        secrets=secrets,
        cipher=cipher,
        refresh_tokens=refresh_tokens,
        access_tokens=access_tokens,
        mailer=mailer,
        metrics=metrics,
        exports=exports,
        webhooks=webhooks,
        now=now,
    )


@contextlib.asynccontextmanager
async def open_gatepost(
    settings: Settings,
    metrics: Metrics | None = None,
    *,
    load_keys: bool = True,
    subscribers: Sequence[Subscriber] = (),
    adapt: Callable[[Ports], Ports] | None = None,
) -> AsyncIterator[Gatepost]:
    """Build everything from the settings, and close it again.

    The one way in for HTTP, CLI, worker and embedders. `adapt` puts adapters of the caller's own
    among those of the settings, `lambda ports: replace(ports, mailer=mailer)`; he closes them.
    Raises SettingsError, Unavailable, and SigningKeysInvalid when a stored signing key does not
    open with the configured master keys; without `load_keys` it can be put right, but no access
    token signed or checked.
    """
    container = Container(settings=providers.Object(settings))
    if metrics is not None:
        container.metrics.override(providers.Object(metrics))
    ports = adapt(container.ports()) if adapt else container.ports()
    gatepost = assemble(ports, policies_of(settings), subscribers)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(container.engine().dispose)
        stack.push_async_callback(container.mailer().close)
        postgres_limiter, redis = container.postgres_limiter(), container.redis_limiter()
        callers, database = container.callers(), container.database()
        rotations = container.rotations()
        backlog = container.backlog()
        stack.push_async_callback(backlog.close)
        stack.push_async_callback(callers.close)
        stack.push_async_callback(rotations.close)
        stack.push_async_callback(database.close)
        stack.push_async_callback(postgres_limiter.close)
        if redis is not None:
            stack.push_async_callback(redis.close)
        await callers.open()
        await rotations.open()
        await database.open()
        await backlog.open()
        await postgres_limiter.open()
        stack.callback(container.hasher().close)
        if load_keys:
            await gatepost.keys.load()
            pause = gatepost.policies.keys.reload
            reload = asyncio.create_task(reload_keys(gatepost.keys.load, pause))
            stack.callback(reload.cancel)
        yield gatepost


async def reload_keys(load: Callable[[], Awaitable[None]], pause: timedelta) -> None:
    """Take over keys that another process made or retired, until cancelled.

    What cannot be loaded leaves the installed keys alone and is tried again: a master key that
    reaches this process late must not cut it off from all later ones.
    """
    while True:
        await asyncio.sleep(pause.total_seconds())
        try:
            await load()
        except (GatepostError, SigningKeysInvalid) as refused:
            log.error("signing keys not reloaded", error=type(refused).__name__, why=str(refused))
        except Exception as failed:
            # Whatever it was, it may be over next time; a loop that ended would be so for good.
            log.error("signing keys not reloaded", error=type(failed).__name__)
