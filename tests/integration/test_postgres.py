"""The storage contract on PostgreSQL, and what only a real server can show."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from gatepost.adapters.memory import MemoryMetrics
from gatepost.adapters.postgres.callers import PostgresCallers
from gatepost.adapters.postgres.dsn import to_dsn
from gatepost.adapters.postgres.engine import create_engine
from gatepost.adapters.postgres.health import PostgresHealth
from gatepost.adapters.postgres.read_pool import ReadPool
from gatepost.adapters.postgres.sessions import PostgresRotations
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.application.ports.delivery import Job, JobName
from gatepost.domain.accounts import Account, Username
from gatepost.domain.addresses import EmailAddress
from gatepost.domain.audit import AuditFilter
from gatepost.domain.errors import Unavailable
from gatepost.domain.sessions import RefreshClaim, Session, SessionPolicy
from gatepost.testing.builders import NOW, SECRET, a_claim, a_job, a_session, an_account, an_entry
from gatepost.testing.contracts.storage import AccountRacesContract as TestAccountRaces
from gatepost.testing.contracts.storage import AccountRepositoryContract as TestAccounts
from gatepost.testing.contracts.storage import AuditContract as TestAudit
from gatepost.testing.contracts.storage import AuditTrailContract as TestAuditTrail
from gatepost.testing.contracts.storage import CallerReaderContract as TestCallers
from gatepost.testing.contracts.storage import ClientContract as TestClients
from gatepost.testing.contracts.storage import DirectoryContract as TestDirectory
from gatepost.testing.contracts.storage import DirectoryRacesContract as TestDirectoryRaces
from gatepost.testing.contracts.storage import EmailChangeContract as TestEmailChanges
from gatepost.testing.contracts.storage import ErasureContract as TestErasure
from gatepost.testing.contracts.storage import ExportContract as TestExports
from gatepost.testing.contracts.storage import ExportedDataContract as TestExportedData
from gatepost.testing.contracts.storage import IdempotencyContract as TestIdempotency
from gatepost.testing.contracts.storage import JobQueueContract as TestJobs
from gatepost.testing.contracts.storage import OneTimeTokenContract as TestOneTimeTokens
from gatepost.testing.contracts.storage import RoleContract as TestRoles
from gatepost.testing.contracts.storage import RotationsContract as TestRotations
from gatepost.testing.contracts.storage import SessionContract as TestSessions
from gatepost.testing.contracts.storage import SessionRacesContract as TestSessionRaces
from gatepost.testing.contracts.storage import SigningKeyContract as TestSigningKeys
from gatepost.testing.contracts.storage import SignInsContract as TestSignIns
from gatepost.testing.contracts.storage import TransactionContract as TestTransactions
from gatepost.testing.contracts.storage import TransferContract as TestTransfer
from gatepost.testing.contracts.storage import WebhookContract as TestWebhooks

__all__ = [
    "TestAccountRaces",
    "TestAccounts",
    "TestAudit",
    "TestAuditTrail",
    "TestCallers",
    "TestClients",
    "TestDirectory",
    "TestDirectoryRaces",
    "TestEmailChanges",
    "TestErasure",
    "TestExportedData",
    "TestExports",
    "TestIdempotency",
    "TestJobs",
    "TestOneTimeTokens",
    "TestRoles",
    "TestRotations",
    "TestSessionRaces",
    "TestSessions",
    "TestSignIns",
    "TestSigningKeys",
    "TestTransactions",
    "TestTransfer",
    "TestWebhooks",
]

TICK = timedelta(microseconds=1)
POLICY = SessionPolicy(
    idle_ttl=timedelta(seconds=60),
    absolute_ttl=timedelta(seconds=150),
    refresh_grace=timedelta(seconds=10),
)
KILL = """
SELECT pg_terminate_backend(pid, $1) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def signed_in(uow: PostgresUnitOfWork) -> tuple[Account, Session]:
    account = an_account()
    session = a_session(account, policy=POLICY)
    async with uow() as tx:
        await tx.accounts.add(account, NOW)
        await tx.sessions.add(session)
        await tx.commit()
    return account, session


async def kill_others(url: str) -> None:
    """End every other backend of a database, and wait until each is gone."""
    killer = await asyncpg.connect(to_dsn(url))
    await killer.execute(KILL, 1000)
    await killer.close()


@pytest.fixture
def statements(engine: AsyncEngine) -> list[str]:
    seen: list[str] = []

    def listen(connection: DBAPIConnection, _: object) -> None:
        driver: asyncpg.Connection = connection.driver_connection
        driver.add_query_logger(lambda one: seen.append(one.query))

    event.listen(engine.sync_engine, "connect", listen)
    return seen


def words(statements: list[str]) -> list[str]:
    return [statement.split()[0].rstrip(";") for statement in statements]


async def updates(engine: AsyncEngine) -> tuple[int, int]:
    """Count the updates of sessions, and those of them that left the indexes alone."""
    async with engine.connect() as connection:
        # The pool lends the backend of the last transaction, whose counts this publishes.
        await connection.execute(text("SELECT pg_stat_force_next_flush()"))
        await connection.commit()
        counted = await connection.execute(
            text(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
                " WHERE relname = 'sessions'"
            )
        )
        all_of_them, hot = counted.one()
        return all_of_them, hot


async def test_entries_whose_type_a_newer_release_made_hide_no_others(
    uow: PostgresUnitOfWork, engine: AsyncEngine
) -> None:
    known = an_entry()
    async with uow() as tx:
        await tx.audit.append(known)
        await tx.audit.append(an_entry())
        await tx.commit()
    newer = text("UPDATE audit_events SET type = 'account.cloned' WHERE id <> :id")
    async with engine.begin() as connection:
        await connection.execute(newer, {"id": known.id})
    async with uow() as tx:
        assert list(await tx.audit.list_newest(AuditFilter(), before=None, limit=9)) == [known]


async def test_asking_who_wants_an_event_is_no_statement_of_its_own(
    uow: PostgresUnitOfWork, statements: list[str]
) -> None:
    for name in ("session.created.v1", None):
        async with uow() as tx:
            assert not await tx.audit.append(an_entry(), announces=name)
            await tx.commit()
    assert words(statements) == ["BEGIN", "INSERT", "COMMIT"] * 2


async def test_a_transaction_that_the_server_undid_is_not_told_as_committed(
    uow: PostgresUnitOfWork,
) -> None:
    account = an_account()
    session = a_session(account, policy=POLICY)
    async with uow() as tx:
        await tx.accounts.add(account, NOW)
        await tx.sessions.add(session)
        with pytest.raises(asyncpg.UniqueViolationError):
            await tx.sessions.add(session)
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await tx.commit()
    async with uow() as tx:
        assert await tx.accounts.get(account.id) is None


class TestRotation:
    async def test_it_is_one_statement(
        self, uow: PostgresUnitOfWork, statements: list[str]
    ) -> None:
        account, session = await signed_in(uow)
        statements.clear()
        async with uow() as tx:
            turned = await tx.sessions.turn(a_claim(session), session.secret_hash, NOW, POLICY)
            await tx.commit()
        assert turned == (session.turn(0, NOW, POLICY), account)
        assert words(statements) == ["BEGIN", "UPDATE", "COMMIT"]

    async def test_who_comes_second_finds_it_done_whatever_isolation_the_database_is_set_to(
        self, uow: PostgresUnitOfWork, url: str
    ) -> None:
        strict = f"{url}{'&' if '?' in url else '?'}default_transaction_isolation=serializable"
        rotations = PostgresRotations(strict)
        await rotations.open()
        _, session = await signed_in(uow)
        async with uow() as tx:
            claim = a_claim(session)
            await tx.sessions.turn(claim, session.secret_hash, NOW, POLICY)
            second = asyncio.create_task(
                rotations.rotate(claim, session.secret_hash, NOW + TICK, POLICY)
            )
            await asyncio.sleep(0.3)
            await tx.commit()
        assert await second is None
        await rotations.close()

    async def test_it_touches_no_index(self, uow: PostgresUnitOfWork, engine: AsyncEngine) -> None:
        _, session = await signed_in(uow)
        before = await updates(engine)
        for generation in range(5):
            claim = a_claim(session, generation)
            async with uow() as tx:
                await tx.sessions.turn(claim, session.secret_hash, NOW, POLICY)
                await tx.commit()
        after = await updates(engine)
        assert (after[0] - before[0], after[1] - before[1]) == (5, 5)

    async def test_forty_at_once_over_two_replicas_make_one_successor(
        self, uow: PostgresUnitOfWork, url: str
    ) -> None:
        other = create_engine(url)
        units = (uow, PostgresUnitOfWork(other))
        account, session = await signed_in(uow)

        async def refresh(number: int) -> tuple[Session, Account] | None:
            async with units[number % 2]() as tx:
                turned = await tx.sessions.turn(
                    a_claim(session), session.secret_hash, NOW + number * TICK, POLICY
                )
                await tx.commit()
            return turned

        try:
            answers = await asyncio.gather(*map(refresh, range(40)))
        finally:
            await other.dispose()
        assert {answer and answer[0].generation for answer in answers} == {1}
        assert len({answer and answer[0].rotated_at for answer in answers}) == 1
        assert {answer and answer[1].id for answer in answers} == {account.id}

    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(data=st.data())
    async def test_it_does_what_the_rule_of_the_domain_says(
        self, uow: PostgresUnitOfWork, data: st.DataObject
    ) -> None:
        _, session = await signed_in(uow)
        now = NOW
        for _ in range(data.draw(st.integers(1, 6), "steps")):
            now += data.draw(clock_steps(session, now), "clock")
            presented = max(0, session.generation + data.draw(st.integers(-3, 2), "generation"))
            claim = RefreshClaim(session.id, SECRET, presented)
            expected = session.turn(presented, now, POLICY) if session.is_live(now) else None
            async with uow() as tx:
                turned = await tx.sessions.turn(claim, session.secret_hash, now, POLICY)
                await tx.commit()
            assert (turned and turned[0]) == expected
            session = expected or session


def clock_steps(session: Session, now: object) -> st.SearchStrategy[timedelta]:
    """Steps to the edges of grace and expiry, a microsecond beside them, and anywhere."""
    edges = [
        session.rotated_at + POLICY.refresh_grace,
        session.rotated_at - POLICY.refresh_grace,
        session.idle_until,
        session.absolute_until,
    ]
    exact = [edge - now + by * TICK for edge in edges for by in (-1, 0, 1)]  # type: ignore[operator]
    return st.one_of(
        st.sampled_from(exact), st.timedeltas(timedelta(seconds=-20), timedelta(seconds=40))
    )


class TestFailures:
    async def test_a_backend_killed_in_a_transaction_makes_it_unavailable_and_no_more(
        self, uow: PostgresUnitOfWork, url: str
    ) -> None:
        account = an_account()

        async def work() -> None:
            async with uow() as tx:
                await tx.accounts.add(account, NOW)
                await kill_others(url)
                await tx.commit()

        with pytest.raises(Unavailable):
            await work()
        async with uow() as tx:
            assert await tx.accounts.get(account.id) is None

    async def test_idle_connections_that_died_fail_nobody(
        self, uow: PostgresUnitOfWork, callers: PostgresCallers, url: str
    ) -> None:
        account, session = await signed_in(uow)
        async with AsyncExitStack() as stack:
            for _ in range(5):
                tx = await stack.enter_async_context(uow())
                await tx.accounts.get(account.id)
        assert await callers.find(session.id, NOW) == account
        await kill_others(url)
        await asyncio.sleep(0.05)
        assert await callers.find(session.id, NOW) == account
        for _ in range(5):
            async with uow() as tx:
                assert await tx.accounts.get(account.id) == account

    async def test_a_server_that_closes_what_it_opens_is_unavailable(self, url: str) -> None:
        engine, closing = create_engine(url), False

        def close(connection: object, entry: ConnectionPoolEntry, proxy: object) -> None:
            driver: asyncpg.Connection | None = entry.driver_connection
            if closing and driver is not None:
                driver.terminate()

        event.listen(engine.sync_engine, "checkout", close, insert=True)
        uow = PostgresUnitOfWork(engine)
        for was_lent in (False, True):
            closing = not was_lent
            for _ in range(2):
                with pytest.raises(Unavailable) if closing else nullcontext():
                    async with uow() as tx:
                        await tx.roles.list_all()
                closing = True
        closing = False
        async with uow() as tx:
            await tx.roles.list_all()
        await engine.dispose()

    async def test_transactions_in_a_storm_of_kills_end_or_are_unavailable(
        self, uow: PostgresUnitOfWork, callers: PostgresCallers, url: str
    ) -> None:
        account, session = await signed_in(uow)
        stop = asyncio.Event()

        async def work() -> int:
            done = 0
            while not stop.is_set():
                try:
                    async with uow() as tx:
                        await tx.audit.append(an_entry(subject=account.id))
                        await tx.commit()
                    assert await callers.find(session.id, NOW) == account
                    done += 1
                except Unavailable:
                    continue
            return done

        workers = [asyncio.create_task(work()) for _ in range(12)]
        killer = await asyncpg.connect(to_dsn(url))
        for _ in range(15):
            await asyncio.sleep(0.05)
            await killer.execute(KILL, 0)
        await killer.close()
        stop.set()
        assert min(await asyncio.gather(*workers)) > 0

    async def test_no_server_is_unavailable_at_once(self) -> None:
        url = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"
        engine, callers, health = create_engine(url), PostgresCallers(url), PostgresHealth(url)
        await callers.open()
        await health.open()
        async with asyncio.timeout(2):
            with pytest.raises(Unavailable):
                async with PostgresUnitOfWork(engine)() as tx:
                    await tx.roles.list_all()
            with pytest.raises(Unavailable):
                await callers.find(a_session(an_account()).id, NOW)
            with pytest.raises(Unavailable):
                await health()
        await callers.close()
        await health.close()

    async def test_re_16_a_full_pool_is_unavailable_within_its_timeout(self, url: str) -> None:
        engine, metrics = create_engine(url, pool_size=1), MemoryMetrics()
        uow = PostgresUnitOfWork(engine, metrics)
        async with uow() as tx:
            await tx.keys.list_all()
            started = asyncio.get_running_loop().time()
            with pytest.raises(Unavailable):
                async with uow() as second:
                    await second.keys.list_all()
            assert asyncio.get_running_loop().time() - started < 2.5
        assert metrics.counts == {("connected",): 1, ("not_connected",): 1}
        await engine.dispose()

    async def test_a_statement_that_takes_too_long_is_unavailable(
        self, engine: AsyncEngine, uow: PostgresUnitOfWork
    ) -> None:
        account, _ = await signed_in(uow)
        async with uow() as holder:
            await holder.accounts.get(account.id, lock=True)
            with pytest.raises(Unavailable):
                async with uow() as waiting:
                    await waiting.accounts.get(account.id, lock=True)

    async def test_a_mistake_of_ours_is_no_outage(self, uow: PostgresUnitOfWork) -> None:
        async with uow() as tx:
            with pytest.raises(
                asyncpg.ForeignKeyViolationError, match="fk_sessions_account_id_accounts"
            ):
                await tx.sessions.add(a_session(an_account()))


class TestText:
    @pytest.mark.parametrize("odd", ["\0", "a\0b", "\ud800", "x\udfffy", "\0\ud800"])
    async def test_in_01_no_character_makes_storage_fail(
        self, uow: PostgresUnitOfWork, odd: str
    ) -> None:
        account = an_account(bio=odd)
        session = replace(a_session(account, device_name=odd), user_agent=odd, ip=odd)
        async with uow() as tx:
            assert await tx.accounts.find_by_username(Username(odd)) is None
            assert await tx.accounts.find_by_email(EmailAddress(odd)) is None
            assert await tx.accounts.find_unproven(EmailAddress(odd), NOW) is None
            await tx.accounts.add(account, NOW)
            await tx.sessions.add(session)
            await tx.audit.append(replace(an_entry(), reason=odd, user_agent=odd, request_id=odd))
            found = await tx.accounts.get(account.id)
            await tx.commit()
        assert found is not None
        assert found.bio == "".join("\ufffd" if c in "\0\ud800\udfff" else c for c in odd)

    @pytest.mark.parametrize("plain", ["é", "𝄞 clef", "tab\tand\nline", "\ufffd"])
    async def test_everything_else_comes_back_as_it_was(
        self, uow: PostgresUnitOfWork, plain: str
    ) -> None:
        account = an_account(bio=plain)
        async with uow() as tx:
            await tx.accounts.add(account, NOW)
            assert await tx.accounts.get(account.id) == account


class TestUrls:
    @pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
    def test_each_usual_scheme_is_understood(self, scheme: str) -> None:
        assert to_dsn(f"{scheme}://u:p%40@h/d?host=/run") == "postgresql://u:p%40@h/d?host=/run"

    @pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "secret", ""])
    def test_another_is_refused_without_showing_it(self, url: str) -> None:
        with pytest.raises(ValueError, match="starts with postgresql://") as refused:
            create_engine(url)
        assert "secret" not in str(refused.value)


class TestQueue:
    async def test_mail_goes_first_and_cleaning_last(
        self, uow: PostgresUnitOfWork, engine: AsyncEngine
    ) -> None:
        async with uow() as tx:
            for name in (JobName.PURGE, JobName.REQUEST_RESET, JobName.SEND_MAIL):
                await tx.jobs.enqueue(a_job(name=name))
            await tx.commit()
        async with engine.connect() as connection:
            names = await connection.execute(
                text("SELECT entrypoint FROM pgqueuer ORDER BY priority DESC")
            )
            assert list(names.scalars()) == ["mail.send.v1", JobName.REQUEST_RESET, JobName.PURGE]

    async def test_a_job_queued_first_does_not_escape_the_rollback(
        self, uow: PostgresUnitOfWork, queued_jobs: Callable[[], Awaitable[list[Job]]]
    ) -> None:
        async with uow() as tx:
            await tx.jobs.enqueue(a_job())
        assert await queued_jobs() == []

    def test_an_environment_that_renames_the_queue_is_refused(
        self, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHANNEL", "elsewhere")
        monkeypatch.setenv("PGQUEUER_QUEUE_TABLE", "jobs")
        with pytest.raises(ValueError, match="unset: CHANNEL, PGQUEUER_QUEUE_TABLE"):
            PostgresUnitOfWork(engine)


@pytest.fixture
async def health(own_url: str) -> AsyncIterator[PostgresHealth]:
    health = PostgresHealth(own_url)
    await health.open()
    yield health
    await health.close()


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


class TestHealth:
    async def test_a_migrated_database_is_healthy(self, health: PostgresHealth) -> None:
        await health()
        await health()

    async def test_one_that_lags_behind_is_not(self, health: PostgresHealth, own_url: str) -> None:
        await execute(own_url, "DELETE FROM alembic_version")
        with pytest.raises(Unavailable, match="not migrated"):
            await health()

    async def test_one_that_was_never_migrated_is_not(
        self, health: PostgresHealth, own_url: str
    ) -> None:
        await execute(own_url, "DROP TABLE alembic_version")
        with pytest.raises(Unavailable, match="not migrated"):
            await health()

    async def test_one_of_a_newer_release_is(self, health: PostgresHealth, own_url: str) -> None:
        await execute(own_url, "UPDATE alembic_version SET version_num = 'newer'")
        await health()


async def test_of_those_who_wait_for_a_read_none_overtakes_another(url: str) -> None:
    # One connection: of several, one may be slow, and then who is served is no longer their order.
    pool, served = ReadPool(url, size=1), list[int]()
    await pool.open()

    async def asks(number: int) -> None:
        for _ in range(5):
            await pool.fetchrow("SELECT 1")
            served.append(number)

    await asyncio.gather(*(asks(number) for number in range(12)))
    await pool.close()
    assert served == [*range(12)] * 5


async def test_a_pool_that_is_closed_cuts_what_is_being_read(url: str) -> None:
    pool = ReadPool(url, size=2)
    await pool.open()
    await pool.fetchrow("SELECT 1")
    # One on the connection that is there, one that has to connect first.
    asked = [asyncio.create_task(pool.fetchrow("SELECT pg_sleep(2)")) for _ in range(2)]
    await asyncio.sleep(0)
    await pool.close()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    with pytest.raises(RuntimeError, match="not open"):
        await pool.fetchrow("SELECT 1")


async def test_a_connection_that_the_server_closed_is_replaced_unnoticed(url: str) -> None:
    pool = ReadPool(url, size=1)
    await pool.open()
    first = await pool.fetchrow("SELECT pg_backend_pid() AS pid")
    assert first is not None
    await execute(url, f"SELECT pg_terminate_backend({first['pid']})")
    await asyncio.sleep(0.1)
    second = await pool.fetchrow("SELECT pg_backend_pid() AS pid")
    assert second is not None
    assert second["pid"] != first["pid"]
    await pool.close()
