"""Everything the core needs from outside, in one object."""

from ...domain.dataclasses import dataclass
from .delivery import BacklogReader, Mailer, Metrics
from .exports import ExportStore
from .limits import KeyHasher, LimitEvents, RateLimiter
from .security import AccessTokens, Cipher, Clock, PasswordHasher, RefreshTokens, Secrets
from .sessions import CallerReader, Rotations, SignIns
from .storage import HealthCheck, UnitOfWork
from .webhooks import WebhookSender


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    uow: UnitOfWork
    callers: CallerReader
    rotations: Rotations
    sign_ins: SignIns
    database: HealthCheck
    limiter: RateLimiter
    limiter_keys: KeyHasher
    limit_events: LimitEvents
    limiter_check: HealthCheck
    backlog: BacklogReader
    hasher: PasswordHasher
    secrets: Secrets
    cipher: Cipher
    refresh_tokens: RefreshTokens
    access_tokens: AccessTokens
    mailer: Mailer
    metrics: Metrics
    exports: ExportStore
    webhooks: WebhookSender
    now: Clock
