"""Rate limits as the settings want them: the policy, the store, and what the log says."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from ..application.limits import CountedEvents, FallbackRateLimiter, LeasingRateLimiter
from ..application.ports.delivery import Metrics
from ..application.ports.limits import LimitEvents, RateLimiter
from ..application.ports.storage import HealthCheck
from ..domain.limits import Budget, LimitPolicy, Rate, Rule
from .settings import Settings, SettingsError

if TYPE_CHECKING:
    from ..adapters.redis import RedisRateLimiter

_QUIET_SECONDS = 1.0
_PROBE = b"probe"

log = structlog.get_logger(__name__)


def limit_policy(settings: Settings) -> LimitPolicy:
    """Translate settings; the budget of a known browser is as large as that of a login."""
    given = settings.limits
    rates = {
        Rule.REGISTER: Rate.parse(given.registrations),
        Rule.LOGIN: Rate.parse(given.login),
        Rule.LOGIN_ADDRESS: Rate.parse(given.login_address),
        Rule.REFRESH: Rate.parse(given.refresh),
        Rule.MAIL: Rate.parse(given.mail),
        Rule.MAIL_ADDRESS: Rate.parse(given.mail_address),
        Rule.PUBLIC: Rate.parse(given.public),
        Rule.USER: Rate.parse(given.user),
    }
    year = LimitPolicy().rates[Rule.DEVICE].period
    return LimitPolicy(
        enabled=given.enabled, rates={**rates, Rule.DEVICE: Rate(rates[Rule.LOGIN].count, year)}
    )


def choose_limiter(
    postgres: RateLimiter, redis: RateLimiter | None, events: LimitEvents, metrics: Metrics
) -> RateLimiter:
    """Count in Redis where there is one, else, and while it is down, in PostgreSQL."""
    told = CountedEvents(events, metrics)
    store = FallbackRateLimiter(redis, postgres, told) if redis else postgres
    return LeasingRateLimiter(store)


def redis_limiter(settings: Settings) -> "RedisRateLimiter | None":
    """Make the store of `REDIS_URL`, whose package is an extra; raises SettingsError.

    It connects when it is asked first; `close` at the end.
    """
    if settings.redis_url is None:
        return None
    try:
        from ..adapters.redis import RedisRateLimiter, connect
    except ImportError:
        raise SettingsError(["REDIS_URL: needs the extra gatepost[redis]"]) from None
    try:
        return RedisRateLimiter(connect(settings.redis_url.get_secret_value()))
    except ValueError:
        # The message of the package would repeat the URL, which holds a password.
        raise SettingsError(["REDIS_URL: redis://, rediss:// or unix://"]) from None


class LimiterHealth(HealthCheck):
    """Asks a store that counts."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    async def __call__(self) -> None:
        await self._limiter.peek(_PROBE, Budget(1, 1))


class LoggedLimitEvents(LimitEvents):
    """Writes to the log, about a lost store once a second: it is told of at every request."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._quiet_until: dict[str, float] = {}

    def limited(self, rule: Rule) -> None:
        log.info("rate limited", rule=rule.value)

    def uncounted(self, rule: Rule, *, refused: bool) -> None:
        if self._is_due(rule.value):
            outcome = "refused" if refused else "let pass"
            log.error("rate limit not counted", rule=rule.value, outcome=outcome)

    def store_lost(self) -> None:
        if self._is_due(""):
            log.warning("rate limiter lost, PostgreSQL counts")

    def _is_due(self, what: str) -> bool:
        now = self._seconds()
        if now < self._quiet_until.get(what, now):
            return False
        self._quiet_until[what] = now + _QUIET_SECONDS
        return True
