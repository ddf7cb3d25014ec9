"""Settings that can be started with, and should not be in production: what, why, what instead."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from ..domain.limits import Rate
from .deployment import (
    EVERYBODY,
    WIDE,
    Deployment,
    database_is_plain,
    exports_wander,
    file_is_open,
    hashes_too_many,
    is_local,
    mail_is_plain,
    mail_scheme,
    origins,
    redis_is_open,
    sender_is_example,
    trusts,
)
from .settings import PREFIX, Environment, Registration

_KEYS = f"{PREFIX}SECRETS__KEYS"
# NIST SP 800-63B-4 allows no more failures than that on one account; here at once, or in a time
# in which nobody mistypes so often.
_MOST_GUESSES = 100
_GUESSES_PERIOD = timedelta(minutes=5)


class Severity(StrEnum):
    """A danger is one that somebody can use; a warning costs only in bad company."""

    DANGER = "danger"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Danger:
    """A rule; its texts hold no value of a setting, which may be a secret."""

    code: str
    setting: str
    severity: Severity
    present: Callable[[Deployment], bool] = field(repr=False)
    reason: str
    instead: str
    environment: Environment = Environment.PRODUCTION


def _lets_guess(rate: Rate) -> bool:
    return rate.count > _MOST_GUESSES or rate.count * _GUESSES_PERIOD > _MOST_GUESSES * rate.period


def dangers_in(deployment: Deployment) -> Iterator[Danger]:
    """List what is dangerous about a deployment, the worst first."""
    environment = deployment.settings.environment
    for danger in sorted(DANGERS, key=lambda one: one.severity):
        if danger.environment is environment and danger.present(deployment):
            yield danger


DANGERS = (
    Danger(
        code="limits_off",
        setting=f"{PREFIX}LIMITS__ENABLED",
        severity=Severity.DANGER,
        present=lambda d: not d.settings.limits.enabled,
        reason="Passwords can be guessed, and people mailed, without any bound.",
        instead="Leave it out; raise the single limit that is too low.",
    ),
    Danger(
        code="proxies_everybody",
        setting=f"{PREFIX}HTTP__TRUSTED_PROXIES",
        severity=Severity.DANGER,
        present=lambda d: trusts(d, EVERYBODY, private=False),
        reason="Anybody may claim any address: limits by address and the audit trail are void.",
        instead="List the networks of your proxies alone.",
    ),
    Danger(
        code="cors_plain_http",
        setting=f"{PREFIX}HTTP__CORS_ORIGINS",
        severity=Severity.DANGER,
        present=lambda d: origins(d, local=False),
        reason="A page that comes over http can be altered on its way, and act as its reader.",
        instead="List https origins alone.",
    ),
    Danger(
        code="mail_to_console",
        setting=f"{PREFIX}MAIL__URL",
        severity=Severity.DANGER,
        present=lambda d: mail_scheme(d) == "console",
        reason="Links that open accounts end up in the log, and nobody gets his mail.",
        instead="Name a mail server.",
    ),
    Danger(
        code="mail_to_files",
        setting=f"{PREFIX}MAIL__URL",
        severity=Severity.DANGER,
        present=lambda d: mail_scheme(d) == "file",
        reason="Nobody gets his mail, and links that open accounts pile up in a folder.",
        instead="Name a mail server.",
    ),
    Danger(
        code="mail_plain",
        setting=f"{PREFIX}MAIL__URL",
        severity=Severity.WARNING,
        present=mail_is_plain,
        reason="Links that open accounts cross the network for everybody on it to read.",
        instead="Use smtps:// or smtp+starttls://.",
    ),
    Danger(
        code="public_url_local",
        setting=f"{PREFIX}PUBLIC_URL",
        severity=Severity.DANGER,
        present=lambda d: is_local(d.settings.issuer),
        reason="Tokens name an issuer, and mails hold links, that only this host can reach.",
        instead="Set the address that browsers and services use.",
    ),
    Danger(
        code="development_in_public",
        setting=f"{PREFIX}ENVIRONMENT",
        severity=Severity.DANGER,
        present=lambda d: not is_local(d.settings.issuer),
        environment=Environment.DEVELOPMENT,
        reason="A public URL with the settings of a laptop: metrics and docs are open, the"
        " password grant is on, master keys lie beside the data, and nothing demands https.",
        instead="Set it to production.",
    ),
    Danger(
        code="no_trusted_proxy",
        setting=f"{PREFIX}HTTP__TRUSTED_PROXIES",
        severity=Severity.WARNING,
        present=lambda d: not d.settings.http.trusted_proxies,
        reason="Behind the proxy that ends TLS all people have its address: they share one budget"
        " of sign-ins, and the audit trail tells nobody apart.",
        instead="List the networks of your proxies.",
    ),
    Danger(
        code="proxies_wide",
        setting=f"{PREFIX}HTTP__TRUSTED_PROXIES",
        severity=Severity.WARNING,
        present=lambda d: trusts(d, WIDE, private=True),
        reason="Every host of a large inner network may claim any client's address.",
        instead="List the subnets, or the addresses, of the proxies.",
    ),
    Danger(
        code="cors_localhost",
        setting=f"{PREFIX}HTTP__CORS_ORIGINS",
        severity=Severity.WARNING,
        present=lambda d: origins(d, local=True),
        reason="Whatever listens on that port of somebody's computer can act as him.",
        instead="Take it out of production.",
    ),
    Danger(
        code="docs_on",
        setting=f"{PREFIX}HTTP__DOCS",
        severity=Severity.WARNING,
        present=lambda d: d.settings.serves_docs,
        reason="The whole API, administration included, is described to everybody.",
        instead="Leave it out; `gatepost openapi` prints the same.",
    ),
    Danger(
        code="password_grant_on",
        setting=f"{PREFIX}OAUTH__PASSWORD_GRANT",
        severity=Severity.WARNING,
        present=lambda d: d.settings.password_grant,
        reason="Clients get to see passwords, which OAuth's own practice (RFC 9700) forbids.",
        instead="Leave it out; sign in at /v1/sessions.",
    ),
    Danger(
        code="keys_in_environment",
        setting=_KEYS,
        severity=Severity.WARNING,
        present=lambda d: d.settings.secrets.keys is not None and _KEYS not in d.files,
        reason="The environment is seen by every child process, by `docker inspect` and in dumps.",
        instead=f"Put the keys into a file, and name it in {_KEYS}_FILE.",
    ),
    Danger(
        code="secret_file_open",
        setting="*_FILE, .env",
        severity=Severity.WARNING,
        present=file_is_open,
        reason="Every account of this host can read a file with secrets.",
        instead="chmod o-r, or mode 0400 where an orchestrator mounts it.",
    ),
    Danger(
        code="mail_sender_example",
        setting=f"{PREFIX}MAIL__SENDER",
        severity=Severity.WARNING,
        present=sender_is_example,
        reason="Mails from a domain that is not yours are dropped as forged.",
        instead="Set an address of your own domain.",
    ),
    Danger(
        code="access_tokens_long",
        setting=f"{PREFIX}TOKENS__ACCESS_TTL",
        severity=Severity.WARNING,
        present=lambda d: d.settings.tokens.access_ttl > timedelta(hours=1),
        reason="Services that check tokens on their own take one for so long after its owner was"
        " suspended or signed out.",
        instead="An hour at most; 15m is the default.",
    ),
    Danger(
        code="sessions_long",
        setting=f"{PREFIX}SESSIONS__ABSOLUTE_TTL",
        severity=Severity.WARNING,
        present=lambda d: d.settings.sessions.absolute_ttl > timedelta(days=366),
        reason="A stolen device stays signed in for years, and no old master key can go before.",
        instead="A year at most; 90d is the default.",
    ),
    Danger(
        code="guesses_many",
        setting=f"{PREFIX}LIMITS__LOGIN",
        severity=Severity.WARNING,
        present=lambda d: _lets_guess(Rate.parse(d.settings.limits.login)),
        reason=f"More than {_MOST_GUESSES} guesses at one account at once, or in five minutes"
        " (NIST SP 800-63B-4).",
        instead="10/5m is the default.",
    ),
    Danger(
        code="addresses_unproven",
        setting=f"{PREFIX}ACCOUNTS__REQUIRE_VERIFIED_EMAIL",
        severity=Severity.WARNING,
        present=lambda d: (
            not d.settings.accounts.require_verified_email
            and d.settings.accounts.registration is Registration.OPEN
        ),
        reason="Anybody can register another's address and use it, and learn who has an account.",
        instead="Leave it out, or close registration.",
    ),
    Danger(
        code="shutdown_at_once",
        setting=f"{PREFIX}HTTP__SHUTDOWN_DELAY",
        severity=Severity.WARNING,
        present=lambda d: d.settings.shutdown_delay < timedelta(seconds=2),
        reason="At every restart requests fail: proxies go on sending until they notice.",
        instead="As long as your proxy takes to notice; 5s is the default.",
    ),
    Danger(
        code="database_plain",
        setting="DATABASE_URL",
        severity=Severity.WARNING,
        present=database_is_plain,
        reason="Its sslmode lets hashes and addresses cross the network unencrypted.",
        instead="sslmode=verify-full, or require.",
    ),
    Danger(
        code="redis_open",
        setting="REDIS_URL",
        severity=Severity.WARNING,
        present=redis_is_open,
        reason="Without a password every host of that network can wipe the limits.",
        instead="rediss://user:password@host.",
    ),
    Danger(
        code="exports_wander",
        setting=f"{PREFIX}EXPORTS__DIR",
        severity=Severity.WARNING,
        present=exports_wander,
        reason="A relative folder is another one for each working directory: the server does not"
        " find what the worker wrote.",
        instead="An absolute path, on a volume that all replicas share.",
    ),
    Danger(
        code="hashes_too_many",
        setting=f"{PREFIX}PASSWORD__CONCURRENCY",
        severity=Severity.WARNING,
        present=hashes_too_many,
        reason="More hashes at once than cores make each slower, and only take memory.",
        instead="Leave it out: it is cores / workers.",
    ),
    Danger(
        code="hash_lanes",
        setting=f"{PREFIX}PASSWORD__PARALLELISM",
        severity=Severity.WARNING,
        present=lambda d: d.settings.password.parallelism > 1,
        reason="Lanes speed up one hash on an idle machine; here hashes run beside each other.",
        instead="1, and more memory: `gatepost hash calibrate`.",
    ),
    Danger(
        code="log_debug",
        setting="LOG_LEVEL",
        severity=Severity.WARNING,
        present=lambda d: d.settings.log_level == "DEBUG",
        reason="Libraries write down at this level what they were given, personal data included.",
        instead="INFO.",
    ),
)
