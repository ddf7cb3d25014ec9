"""What every storage must do: collect these suites under fixtures of one's own.

Each test starts with empty storage and asks for

- `uow`: a UnitOfWork; tests open up to 40 transactions at once;
- `callers`: a CallerReader of the same storage;
- `rotations`: Rotations of the same storage;
- `sign_ins`: SignIns of the same storage;
- `queued_jobs`: an async callable that returns the committed jobs as list[Job], oldest first;
- `audit_entries`: one that returns the committed entries as list[AuditEntry], oldest first.

    from gatepost.testing.contracts.storage import SessionContract as TestSessions
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from ...application.ports.storage import Transaction, UnitOfWork
from ...domain.accounts import Account
from ..builders import NOW, a_job, a_key, a_session, a_token, an_account, an_entry
from .account_storage import AccountRacesContract, AccountRepositoryContract, store, stored
from .caller_storage import CallerReaderContract
from .client_storage import ClientContract
from .credential_storage import OneTimeTokenContract, found
from .directory_storage import DirectoryContract, DirectoryRacesContract, RoleContract
from .erasure_storage import EmailChangeContract, ErasureContract
from .export_storage import ExportContract, ExportedDataContract
from .job_storage import JobQueueContract, QueuedJobs
from .key_storage import SigningKeyContract, all_keys
from .rotation_storage import RotationsContract, SessionRacesContract
from .session_storage import SessionContract, live
from .sign_in_storage import SignInsContract
from .trail_storage import AuditContract, AuditEntries, AuditTrailContract, IdempotencyContract
from .transfer_storage import TransferContract
from .webhooks import WebhookContract

__all__ = [
    "AccountRacesContract",
    "AccountRepositoryContract",
    "AuditContract",
    "AuditTrailContract",
    "CallerReaderContract",
    "ClientContract",
    "DirectoryContract",
    "DirectoryRacesContract",
    "EmailChangeContract",
    "ErasureContract",
    "ExportContract",
    "ExportedDataContract",
    "IdempotencyContract",
    "JobQueueContract",
    "OneTimeTokenContract",
    "RoleContract",
    "RotationsContract",
    "SessionContract",
    "SessionRacesContract",
    "SignInsContract",
    "SigningKeyContract",
    "TransactionContract",
    "TransferContract",
    "WebhookContract",
]


class Mishap(Exception):
    pass


async def write_everywhere(tx: Transaction, account: Account) -> None:
    await tx.accounts.add(account, NOW)
    await tx.tokens.add(a_token(account, secret="everywhere"))
    await tx.sessions.add(a_session(account))
    await tx.keys.add(a_key())
    await tx.audit.append(an_entry(subject=account.id))
    await tx.jobs.enqueue(a_job())


class TransactionContract:
    @pytest.fixture
    async def count_rows(
        self, uow: UnitOfWork, queued_jobs: QueuedJobs, audit_entries: AuditEntries
    ) -> Callable[[Account], Awaitable[list[int]]]:
        async def count(account: Account) -> list[int]:
            return [
                int(await stored(uow, account) is not None),
                int(await found(uow, a_token(account, secret="everywhere")) is not None),
                len(await live(uow, account)),
                len(await all_keys(uow)),
                len(await audit_entries()),
                len(await queued_jobs()),
            ]

        return count

    async def test_what_is_committed_stands(
        self, uow: UnitOfWork, count_rows: Callable[[Account], Awaitable[list[int]]]
    ) -> None:
        account = an_account()
        async with uow() as tx:
            await write_everywhere(tx, account)
            await tx.commit()
        assert await count_rows(account) == [1] * 6

    async def test_an_exception_undoes_everything(
        self, uow: UnitOfWork, count_rows: Callable[[Account], Awaitable[list[int]]]
    ) -> None:
        account = an_account()

        async def write_and_fail() -> None:
            async with uow() as tx:
                await write_everywhere(tx, account)
                raise Mishap

        with pytest.raises(Mishap):
            await write_and_fail()
        assert await count_rows(account) == [0] * 6

    async def test_a_forgotten_commit_undoes_everything(
        self, uow: UnitOfWork, count_rows: Callable[[Account], Awaitable[list[int]]]
    ) -> None:
        account = an_account()
        async with uow() as tx:
            await write_everywhere(tx, account)
        assert await count_rows(account) == [0] * 6

    async def test_a_cancelled_transaction_is_undone_and_holds_up_nobody(
        self, uow: UnitOfWork
    ) -> None:
        account, written = an_account(), asyncio.Event()

        async def write_and_wait() -> None:
            async with uow() as tx:
                await tx.accounts.add(account, NOW)
                written.set()
                await asyncio.sleep(60)
                await tx.commit()

        task = asyncio.create_task(write_and_wait())
        await written.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await stored(uow, account) is None
        await store(uow, account)

    async def test_a_transaction_sees_its_own_work(self, uow: UnitOfWork) -> None:
        account = an_account()
        async with uow() as tx:
            await tx.accounts.add(account, NOW)
            assert await tx.accounts.get(account.id) == account
            await tx.accounts.save(replace(account, bio="saved"))
            assert await tx.accounts.get(account.id) == replace(account, bio="saved")

    async def test_nobody_sees_uncommitted_work(self, uow: UnitOfWork) -> None:
        account, written = an_account(), asyncio.Event()

        async def write_and_undo() -> None:
            async with uow() as tx:
                await tx.accounts.add(account, NOW)
                written.set()
                await asyncio.sleep(0.02)

        async def read() -> Account | None:
            await written.wait()
            return await stored(uow, account)

        _, *seen = await asyncio.gather(write_and_undo(), read(), read())
        assert seen == [None, None]

    async def test_work_after_the_commit_is_refused_or_undone(self, uow: UnitOfWork) -> None:
        first, second = an_account(), an_account()
        async with uow() as tx:
            await tx.accounts.add(first, NOW)
            await tx.commit()
            with suppress(Exception):
                await tx.accounts.add(second, NOW)
        assert await stored(uow, first) == first
        assert await stored(uow, second) is None
