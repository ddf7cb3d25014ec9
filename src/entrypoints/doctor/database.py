"""The database as the service would find it: reach, schema, rights, room, clock, keys, work."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence

import asyncpg

from ...adapters.cipher import KeyringCipher
from ...adapters.postgres.engine import POOL_SIZE, READ_POOL_SIZE, create_engine
from ...adapters.postgres.health import PostgresBacklog
from ...adapters.postgres.revisions import is_ahead, is_behind
from ...adapters.postgres.survey import ServerFacts, survey
from ...adapters.postgres.transactions import PostgresUnitOfWork
from ...adapters.system import utc_now
from ...application.ports.delivery import Backlog
from ...application.ports.security import SealBroken, SealPurpose
from ...domain.errors import Unavailable
from ...domain.keys import KeyState, SigningKey
from ..master_keys import present_master_keys
from ..settings import PREFIX, Settings
from .findings import Finding, failed, ok, skipped, warning

# Transactions, callers, limits, health and backlog; a worker listens besides.
PROCESS_CONNECTIONS = POOL_SIZE + 3 * READ_POOL_SIZE + 2
WORKER_CONNECTIONS = PROCESS_CONNECTIONS + 1
_OLDEST_VERSION = 15
_ISOLATION = "read committed"
# The grace of a repeated refresh is not longer: beyond it, times of two hosts contradict.
_CLOCK_WARNING, _CLOCK_FAILURE = 1.0, 10.0
_LATE_SECONDS = 60.0
_PURGE_LATE_SECONDS = 300.0
_WITHOUT = ("schema", "rights", "connections", "clock", "signing keys", "worker")
_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.InvalidAuthorizationSpecificationError, "refuses this role or its password"),
    (asyncpg.InvalidCatalogNameError, "has no database of this name"),
    (asyncpg.TooManyConnectionsError, "has no connection left"),
    (asyncpg.CannotConnectNowError, "is just starting or stopping"),
    (socket.gaierror, "has a host name that nobody knows"),
    (TimeoutError, "does not answer in time"),
    (ConnectionRefusedError, "is not there: the connection was refused"),
)


async def look_at_database(
    settings: Settings, *, replicas: int, started_here: bool, broken: str
) -> list[Finding]:
    if broken:
        return _unseen(failed("database", broken, "See the log of the embedded server."))
    if settings.database_url is None:
        return _unseen(skipped("database", "none yet: `gatepost run` makes the embedded one"))
    try:
        facts = await survey(settings.pooled_url, utc_now)
    except Unavailable as lost:
        instead = "Check DATABASE_URL, and that the server runs."
        return _unseen(failed("database", _told(lost), instead))
    findings = [*judge_server(facts, settings), judge_schema(facts), judge_rights(facts, settings)]
    findings += [judge_connections(facts, settings, replicas), judge_clock(facts)]
    if settings.database_direct_url is not None:
        findings.append(await _direct(settings))
    return findings + await _rows(settings, facts, started_here)


def _unseen(why: Finding) -> list[Finding]:
    return [why, *(skipped(check, "the database is not there") for check in _WITHOUT)]


async def _rows(settings: Settings, facts: ServerFacts, started_here: bool) -> list[Finding]:
    """Look at what the tables hold, if they can be read."""
    if is_behind(facts.revision) or facts.missing_rights:
        return [skipped(check, "see schema and rights") for check in ("signing keys", "worker")]
    keys = await _signing_keys(settings)
    if started_here:
        return [keys, skipped("worker", "the service is not running")]
    return [keys, judge_worker(await _backlog(settings), facts.purge_overdue)]


def judge_server(facts: ServerFacts, settings: Settings) -> Iterator[Finding]:
    major = facts.version // 10_000
    if major < _OLDEST_VERSION:
        yield failed("database", f"PostgreSQL {major}", f"{_OLDEST_VERSION} or newer is needed.")
    elif facts.read_only:
        yield failed(
            "database", "takes no writes: a standby, or set to read-only", "Name the primary."
        )
    elif settings.is_production and not facts.encrypted:
        yield warning(
            "database",
            f"PostgreSQL {major}; the connection is not encrypted",
            "sslmode=verify-full, unless nobody can listen on that network.",
        )
    else:
        yield ok("database", f"PostgreSQL {major}, {facts.round_trip * 1000:.1f} ms away")
    if not facts.bounded:
        instead = "ALTER ROLE ... SET statement_timeout = '3s'"
        yield warning("pooler", "statements behind it have no limit", instead)
    if facts.isolation != _ISOLATION:
        # Only there: elsewhere each of our connections says it.
        says = f"transactions behind it are {facts.isolation}: those that race are refused"
        instead = f"ALTER ROLE ... SET default_transaction_isolation = '{_ISOLATION}'"
        yield warning("pooler", says, instead)


def judge_schema(facts: ServerFacts) -> Finding:
    if facts.revision is None:
        return failed("schema", "not migrated", "gatepost migrate up")
    if is_behind(facts.revision):
        return failed("schema", f"behind this release, at {facts.revision}", "gatepost migrate up")
    if is_ahead(facts.revision):
        return warning(
            "schema", "migrated by a newer release", "Finish rolling out: older ones keep working."
        )
    return ok("schema", f"that of this release, {facts.revision}")


def judge_rights(facts: ServerFacts, settings: Settings) -> Finding:
    if facts.missing_rights:
        return failed(
            "rights",
            f"may not read and write {', '.join(facts.missing_rights)}",
            "Grant SELECT, INSERT, UPDATE, DELETE, or connect as the owner.",
        )
    if facts.superuser and settings.is_production:
        return warning(
            "rights",
            "the role is a superuser: a flaw here would open the whole server",
            "A role of its own that owns this database alone.",
        )
    return ok("rights", "all that is needed")


def judge_connections(facts: ServerFacts, settings: Settings, replicas: int) -> Finding:
    """Compare what all processes may open with what the server has for them."""
    servers = replicas * settings.http.workers
    needed = servers * PROCESS_CONNECTIONS + replicas * WORKER_CONNECTIONS
    says = (
        f"{servers} server and {replicas} worker processes may open {needed}; the server has"
        f" {facts.connections} for this role, others hold {facts.others}"
    )
    instead = "Raise max_connections, run fewer processes, or put a pooler in between."
    numbers = {"needed": needed, "available": facts.connections, "others": facts.others}
    if needed > facts.connections:
        return failed("connections", says, instead, **numbers)
    if needed > facts.connections - facts.others:
        return warning("connections", says, instead, **numbers)
    return ok("connections", says, **numbers)


def judge_clock(facts: ServerFacts) -> Finding:
    # What the way took cannot be told from a difference.
    apart = max(abs(facts.clock_ahead) - facts.round_trip / 2, 0)
    side = "ahead of" if facts.clock_ahead > 0 else "behind"
    says = f"the database's is {abs(facts.clock_ahead):.3f} s {side} this host's"
    numbers = {"ahead_seconds": round(facts.clock_ahead, 3)}
    instead = "Run NTP on both."
    if apart > _CLOCK_FAILURE:
        return failed("clock", says, instead, **numbers)
    return (warning if apart > _CLOCK_WARNING else _fine)("clock", says, instead, **numbers)


def _fine(check: str, says: str, _: str, **numbers: float) -> Finding:
    return ok(check, says, **numbers)


def judge_keys(
    keys: Sequence[SigningKey], opens: Callable[[SigningKey], bool], algorithm: str
) -> Finding:
    if not keys:
        return ok("signing keys", "none yet; the first start makes one")
    closed = sum(not opens(key) for key in keys)
    if closed:
        return failed(
            "signing keys",
            f"{closed} of {len(keys)} cannot be opened: the service does not start",
            f"Put the master key that sealed them back into {PREFIX}SECRETS__KEYS.",
        )
    active = next((key for key in keys if key.state is KeyState.ACTIVE), None)
    if active is None:
        return failed("signing keys", "none is active", "Restart a server: it makes one.")
    if active.algorithm != algorithm:
        return warning(
            "signing keys",
            f"tokens are signed with {active.algorithm}, the settings say {algorithm}",
            "gatepost keys rotate",
        )
    says = f"{len(keys)}, all open; {active.algorithm} signs since {active.signs_since:%Y-%m-%d}"
    return ok("signing keys", says)


def judge_worker(backlog: Backlog, purge_overdue: float | None) -> Finding:
    numbers = {
        "pending": backlog.pending,
        "failed": backlog.failed,
        "oldest_due_seconds": round(backlog.oldest_seconds, 1),
    }
    start = "Start `gatepost worker`, or see what its log says."
    if backlog.oldest_seconds > _LATE_SECONDS:
        says = f"the oldest of {backlog.pending} jobs is due for {backlog.oldest_seconds:.0f} s"
        return failed("worker", f"{says}: no worker, or too few", start, **numbers)
    if purge_overdue is None:
        return warning("worker", "none was ever here: no mail is sent", start, **numbers)
    if purge_overdue > _PURGE_LATE_SECONDS:
        says = (
            f"the hourly cleaning is {purge_overdue / 60:.0f} minutes overdue: none seems to run"
        )
        return warning("worker", says, start, **numbers)
    if backlog.failed:
        says = f"{backlog.failed} jobs were given up"
        return warning("worker", says, "gatepost jobs list, and the worker's log.", **numbers)
    return ok("worker", f"takes jobs; {backlog.pending} wait", **numbers)


async def _direct(settings: Settings) -> Finding:
    try:
        await survey(settings.direct_url, utc_now)
    except Unavailable as lost:
        return failed("direct database", _told(lost), "Check DATABASE_DIRECT_URL.")
    return ok("direct database", "answers")


async def _signing_keys(settings: Settings) -> Finding:
    master = await asyncio.to_thread(present_master_keys, settings)
    cipher = None if master is None else KeyringCipher(master)

    def opens(key: SigningKey) -> bool:
        try:
            return bool(cipher and cipher.open(SealPurpose.SIGNING_KEY, key.sealed_private_key))
        except SealBroken:
            return False

    engine = create_engine(settings.pooled_url, pool_size=1)
    try:
        async with PostgresUnitOfWork(engine)() as tx:
            keys = await tx.keys.list_all()
    finally:
        await engine.dispose()
    return judge_keys(keys, opens, settings.tokens.algorithm.value)


async def _backlog(settings: Settings) -> Backlog:
    reader = PostgresBacklog(settings.pooled_url)
    await reader.open()
    try:
        return await reader.read()
    finally:
        await reader.close()


def _told(lost: Unavailable) -> str:
    """Say why, without the driver's text: it may show the URL."""
    cause = lost.__cause__
    known = (told for kind, told in _CAUSES if isinstance(cause, kind))
    return next(known, f"cannot be used ({type(cause or lost).__name__})")
