"""Everything the core needs from outside, in one object."""

from dataclasses import dataclass

from .delivery import Mailer
from .security import AccessTokens, Cipher, Clock, PasswordHasher, RefreshTokens, Secrets
from .storage import CallerReader, HealthCheck, UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    uow: UnitOfWork
    callers: CallerReader
    database: HealthCheck
    hasher: PasswordHasher
    secrets: Secrets
    cipher: Cipher
    refresh_tokens: RefreshTokens
    access_tokens: AccessTokens
    mailer: Mailer
    now: Clock
