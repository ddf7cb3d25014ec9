"""A storage of one's own, held to the suites that ours pass: all of them that ask for storage."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from examples.sqlite_storage import SqliteStorage, SqliteUnitOfWork, SqliteWorker
from examples.sqlite_storage.database import Connection
from gatepost import Policies, assemble
from gatepost.adapters.memory import memory_ports
from gatepost.application.ports.delivery import Job
from gatepost.application.ports.sessions import CallerReader
from gatepost.domain.audit import AuditEntry, ClientContext
from gatepost.testing.builders import a_clock, an_entry
from gatepost.testing.contracts.jobs import RETRIES, Work, becomes
from gatepost.testing.contracts.jobs import JobWorkContract as TestJobWork
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
from gatepost.testing.contracts.storage import SessionContract as TestSessions
from gatepost.testing.contracts.storage import SessionRacesContract as TestSessionRaces
from gatepost.testing.contracts.storage import SigningKeyContract as TestSigningKeys
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
    "TestJobWork",
    "TestJobs",
    "TestOneTimeTokens",
    "TestRoles",
    "TestSessionRaces",
    "TestSessions",
    "TestSigningKeys",
    "TestTransactions",
    "TestTransfer",
    "TestWebhooks",
]


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[SqliteStorage]:
    opened = SqliteStorage(tmp_path / "gatepost.sqlite")
    await opened.create()
    yield opened
    opened.close()


@pytest.fixture
def uow(storage: SqliteStorage) -> SqliteUnitOfWork:
    return storage.uow


@pytest.fixture
def callers(storage: SqliteStorage) -> CallerReader:
    return storage.callers


@pytest.fixture
def queued_jobs(storage: SqliteStorage) -> Callable[[], Awaitable[list[Job]]]:
    return storage.queued_jobs


@pytest.fixture
def audit_entries(storage: SqliteStorage) -> Callable[[], Awaitable[list[AuditEntry]]]:
    return storage.audit_entries


@pytest.fixture
def work(storage: SqliteStorage) -> Work:
    return SqliteWorker(storage, RETRIES)


async def test_the_service_runs_on_it_and_finds_everything_after_a_restart(tmp_path: Path) -> None:
    file, made, client = tmp_path / "gatepost.sqlite", memory_ports(), ClientContext()
    password = "tin harp over seven hills"
    first = SqliteStorage(file, made.now)
    await first.create()
    gatepost = assemble(first.put_into(made), Policies())
    await gatepost.keys.load()
    await gatepost.accounts.register(
        username="ada", email="ada@example.com", password=password, bio=None, client=client
    )

    async def has_mail() -> bool:
        return bool(made.mailer.sent)

    stop = asyncio.Event()
    working = asyncio.create_task(SqliteWorker(first)(gatepost.jobs.run, stop))
    await becomes(has_mail)
    stop.set()
    await working
    token = str(made.mailer.sent[-1].link).partition("#token=")[2]
    await gatepost.accounts.verify_email(token=token, password=password, client=client)
    signed_in = await gatepost.sessions.log_in(login="ada", password=password, client=client)
    first.close()

    second = SqliteStorage(file, made.now)
    restarted = assemble(second.put_into(made), Policies())
    await restarted.keys.load()
    turned = await restarted.sessions.refresh(refresh_token=signed_in.refresh_token, client=client)
    caller = await restarted.sessions.authenticate(access_token=turned.access_token)
    assert caller.session_id == signed_in.session_id
    second.close()


SLOW = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500000)
    SELECT count(*) FROM n
"""


async def test_whoever_gives_up_leaves_no_transaction_open(
    storage: SqliteStorage, tmp_path: Path
) -> None:
    connection = Connection(tmp_path / "gatepost.sqlite")
    uow = SqliteUnitOfWork(connection, a_clock())

    async def write(slow: bool = False) -> None:
        async with uow() as tx:
            await tx.audit.append(an_entry())
            if slow:
                await connection.rows(SLOW)
            await tx.commit()

    writing = asyncio.create_task(write(slow=True))
    await asyncio.sleep(0.05)
    writing.cancel()
    # And again, while the rollback waits for the statement to end.
    await asyncio.sleep(0.001)
    writing.cancel()
    await asyncio.wait([writing])
    await write()
    assert len(await storage.audit_entries()) == 1
    connection.close()
