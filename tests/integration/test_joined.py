"""Gatepost's changes in a transaction of a host: together with the host's own, or not at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from sqlalchemy import NullPool
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from gatepost import ClientContext, Gatepost, JoinedUnitOfWork, Policies, assemble, errors
from gatepost.adapters.memory import MemoryPorts, memory_ports
from gatepost.adapters.postgres.engine import create_engine
from gatepost.adapters.postgres.migrate import upgrade
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.application.ports.delivery import Job, JobName
from gatepost.domain.audit import AuditEntry, AuditType
from gatepost.domain.limits import LimitPolicy
from gatepost.testing.builders import NOW, a_session, an_account

PASSWORD = "a quiet sea of numbers"
CLIENT = ClientContext(ip="192.0.2.7")
ORDERS = "CREATE TABLE orders (id serial PRIMARY KEY, username text UNIQUE)"

Queued = Callable[[], Awaitable[list[Job]]]
Entries = Callable[[], Awaitable[list[AuditEntry]]]


class Broken(Exception):
    """What goes wrong in the host."""


def on(engine: AsyncEngine) -> Gatepost:
    ports: MemoryPorts = memory_ports()
    fields = {name: getattr(ports, name) for name in ports.__dataclass_fields__}
    fields["uow"] = PostgresUnitOfWork(engine.execution_options(isolation_level="AUTOCOMMIT"))
    return assemble(MemoryPorts(**fields), Policies(limits=LimitPolicy(enabled=False)))


@pytest.fixture
async def host(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """The engine of a host that has a table beside ours."""
    host = engine.execution_options(isolation_level="READ COMMITTED")
    async with host.begin() as connection:
        await connection.exec_driver_sql(ORDERS)
    yield host
    async with host.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE orders")


async def register(gatepost: Gatepost, name: str) -> None:
    await gatepost.accounts.register(
        username=name, email=f"{name}@example.com", password=PASSWORD, client=CLIENT
    )


async def order(session: AsyncSession, name: str) -> None:
    connection = await session.connection()
    await connection.exec_driver_sql("INSERT INTO orders (username) VALUES ($1)", (name,))


async def count(engine: AsyncEngine, table: str) -> int:
    async with engine.connect() as connection:
        found = await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")  # noqa: S608
        return int(found.scalar_one())


async def test_an_order_and_an_account_are_there_together(
    host: AsyncEngine, queued_jobs: Queued, audit_entries: Entries
) -> None:
    gatepost = on(host)
    async with AsyncSession(host) as session, session.begin():
        await order(session, "ada")
        await register(gatepost.within(JoinedUnitOfWork(session)), "ada")
        await order(session, "bob")
        assert await count(host, "accounts") == 0
    assert (await count(host, "accounts"), await count(host, "orders")) == (1, 2)
    assert [job.name for job in await queued_jobs()] == [JobName.SEND_MAIL]
    assert [entry.type for entry in await audit_entries()] == [AuditType.ACCOUNT_REGISTERED]


async def test_when_the_host_rolls_back_nothing_of_ours_is_left(
    host: AsyncEngine, queued_jobs: Queued, audit_entries: Entries
) -> None:
    gatepost = on(host)

    async def fail() -> None:
        async with host.begin() as connection:
            await register(gatepost.within(JoinedUnitOfWork(connection)), "ada")
            raise Broken

    with pytest.raises(Broken):
        await fail()
    assert await count(host, "accounts") == 0
    assert await queued_jobs() == []
    assert await audit_entries() == []


async def test_a_refusal_undoes_its_own_part_alone_and_is_remembered_whatever_follows(
    host: AsyncEngine, audit_entries: Entries
) -> None:
    gatepost = on(host)
    await register(gatepost, "ada")

    async def fail() -> None:
        async with AsyncSession(host) as session, session.begin():
            joined = gatepost.within(JoinedUnitOfWork(session))
            with pytest.raises(errors.UsernameTaken):
                await joined.accounts.register(
                    username="ada",
                    email="eve@example.com",
                    password=f"{PASSWORD}!",
                    client=CLIENT,
                )
            # The host's transaction is still good, and so is the next use case.
            await order(session, "ada")
            await register(joined, "bob")
            raise Broken

    with pytest.raises(Broken):
        await fail()
    assert await count(host, "accounts") == 1
    refused = (await audit_entries())[-1]
    assert refused.reason == errors.UsernameTaken.code


async def test_a_fault_of_the_host_after_our_commit_undoes_ours_too(host: AsyncEngine) -> None:
    gatepost = on(host)

    async def fail() -> None:
        async with AsyncSession(host) as session, session.begin():
            await register(gatepost.within(JoinedUnitOfWork(session)), "ada")
            await order(session, "ada")
            await order(session, "ada")

    with pytest.raises(IntegrityError, match="orders_username_key"):
        await fail()
    assert await count(host, "accounts") == 0


async def test_a_taken_address_is_found_out_in_the_hosts_transaction_too(
    host: AsyncEngine,
) -> None:
    gatepost = on(host)
    await register(gatepost, "ada")
    async with AsyncSession(host) as session, session.begin():
        await gatepost.within(JoinedUnitOfWork(session)).accounts.register(
            username="eve", email="ada@example.com", password=PASSWORD, client=CLIENT
        )
        await order(session, "eve")
    async with host.connect() as connection:
        found = await connection.exec_driver_sql(
            "SELECT is_placeholder FROM accounts WHERE username = 'eve'"
        )
        assert found.scalar_one() is True


async def test_a_schema_of_our_own_keeps_our_names_apart_from_the_hosts(
    empty_url: str,
) -> None:
    host = AsyncEngine(create_engine(empty_url).sync_engine)
    host = host.execution_options(isolation_level="READ COMMITTED")
    async with host.begin() as connection:
        await connection.exec_driver_sql("CREATE SCHEMA identity")
        await connection.exec_driver_sql("CREATE TABLE accounts (mine text)")
        await connection.exec_driver_sql(ORDERS)
    url = f"{empty_url}{'&' if '?' in empty_url else '?'}search_path=identity"
    await upgrade(url)
    own = AsyncEngine(create_engine(url).sync_engine)
    gatepost = on(own)
    async with AsyncSession(host) as session, session.begin():
        await register(gatepost.within(JoinedUnitOfWork(session, schema="identity")), "ada")
        await order(session, "ada")
        await order(session, "bob")
        path = await (await session.connection()).exec_driver_sql("SHOW search_path")
        assert "identity" not in path.scalar_one()
    assert await count(host, "accounts") == 0
    assert await count(host, "identity.accounts") == 1
    assert await count(own, "pgqueuer") == 1
    await own.dispose()
    await host.dispose()


async def test_a_host_in_autocommit_has_nothing_to_be_joined(engine: AsyncEngine) -> None:
    gatepost = on(engine)
    async with engine.connect() as connection:
        with pytest.raises(RuntimeError, match="autocommit"):
            await register(gatepost.within(JoinedUnitOfWork(connection)), "ada")
    assert await count(engine, "accounts") == 0


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_transaction_of_another_level_is_not_joined(
    host: AsyncEngine, driver: asyncpg.Connection, url: str, level: str
) -> None:
    gatepost = on(host)
    own = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(url),
        poolclass=NullPool,
        isolation_level=level,
    )
    async with AsyncSession(own) as session:
        with pytest.raises(RuntimeError, match=level):
            await register(gatepost.within(JoinedUnitOfWork(session)), "ada")
        # The host's own goes on.
        await order(session, "ada")
        await session.commit()
    async with driver.transaction(isolation=level.lower().replace(" ", "_")):
        with pytest.raises(RuntimeError):
            await register(gatepost.within(JoinedUnitOfWork(driver)), "ada")
        await driver.execute("INSERT INTO orders (username) VALUES ('bob')")
    assert (await count(host, "orders"), await count(host, "accounts")) == (2, 0)


@pytest.fixture
async def driver(url: str, host: AsyncEngine) -> AsyncIterator[asyncpg.Connection]:
    """A host's connection without SQLAlchemy."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def test_a_connection_of_the_driver_will_do(
    host: AsyncEngine, driver: asyncpg.Connection, queued_jobs: Queued
) -> None:
    gatepost = on(host)
    async with driver.transaction():
        joined = gatepost.within(JoinedUnitOfWork(driver))
        await driver.execute("INSERT INTO orders (username) VALUES ('ada')")
        await register(joined, "ada")
        with pytest.raises(errors.UsernameTaken):
            await joined.accounts.register(
                username="ada",
                email="eve@example.com",
                password=f"{PASSWORD}!",
                client=CLIENT,
            )
        await driver.execute("INSERT INTO orders (username) VALUES ('bob')")
        assert await count(host, "accounts") == 0
    assert (await count(host, "accounts"), await count(host, "orders")) == (1, 2)
    assert [job.name for job in await queued_jobs()] == [JobName.SEND_MAIL]


async def test_a_transaction_of_the_driver_takes_ours_back(
    host: AsyncEngine, driver: asyncpg.Connection, queued_jobs: Queued
) -> None:
    gatepost, outer = on(host), driver.transaction()
    await outer.start()
    await register(gatepost.within(JoinedUnitOfWork(driver)), "ada")
    await outer.rollback()
    assert await count(host, "accounts") == 0
    assert await queued_jobs() == []


async def test_a_connection_without_a_transaction_cannot_be_joined(
    host: AsyncEngine, driver: asyncpg.Connection
) -> None:
    joined = on(host).within(JoinedUnitOfWork(driver))
    with pytest.raises(RuntimeError, match="no transaction"):
        await register(joined, "ada")


async def test_a_codec_of_the_hosts_that_would_spoil_our_queue_is_refused(
    host: AsyncEngine, driver: asyncpg.Connection
) -> None:
    await driver.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )
    joined = on(host).within(JoinedUnitOfWork(driver))
    async with driver.transaction():
        with pytest.raises(RuntimeError, match="jsonb"):
            await register(joined, "ada")


async def test_a_connection_of_the_driver_that_was_given_up_on_commits_no_part(
    host: AsyncEngine, driver: asyncpg.Connection
) -> None:
    outer, account = driver.transaction(), an_account()
    await outer.start()

    async def sign_in() -> None:
        async with asyncio.timeout(0.5), JoinedUnitOfWork(driver)() as tx:
            await tx.accounts.add(account, NOW)
            await tx.sessions.add(a_session(account))

    async with host.begin() as other:
        await other.exec_driver_sql("LOCK TABLE sessions")
        with pytest.raises(TimeoutError):
            await sign_in()
    with pytest.raises(asyncpg.InterfaceError):
        await outer.commit()
    assert await count(host, "accounts") == 0
