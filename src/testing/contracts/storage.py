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
from datetime import timedelta
from uuid import UUID

import pytest

from ...application.ports.delivery import Job, JobName
from ...application.ports.storage import Transaction, UnitOfWork
from ...domain.accounts import Account
from ...domain.audit import AuditEntry, AuditResult, AuditType
from ...domain.credentials import OneTimeToken, Purpose
from ...domain.keys import KeyState, SigningKey
from ..builders import (
    DAY,
    NOW,
    a_job,
    a_key,
    a_session,
    a_token,
    an_account,
    an_entry,
    new_id,
)
from .account_storage import (
    AccountRacesContract,
    AccountRepositoryContract,
    store,
    stored,
)
from .client_storage import ClientContract
from .directory_storage import (
    DirectoryContract,
    DirectoryRacesContract,
    RoleContract,
)
from .erasure_storage import EmailChangeContract, ErasureContract
from .export_storage import ExportContract, ExportedDataContract
from .session_storage import (
    CallerReaderContract,
    RotationsContract,
    SessionContract,
    SessionRacesContract,
    SignInsContract,
    live,
)
from .trail_storage import AuditTrailContract, IdempotencyContract
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

QueuedJobs = Callable[[], Awaitable[list[Job]]]
AuditEntries = Callable[[], Awaitable[list[AuditEntry]]]

TICK = timedelta(microseconds=1)
VERIFY = Purpose.VERIFY_EMAIL
RESET = Purpose.RESET_PASSWORD


async def issue(uow: UnitOfWork, *tokens: OneTimeToken) -> None:
    async with uow() as tx:
        for token in tokens:
            await tx.tokens.add(token)
        await tx.commit()


async def found(uow: UnitOfWork, token: OneTimeToken) -> OneTimeToken | None:
    async with uow() as tx:
        return await tx.tokens.find(token.digest, {token.purpose}, NOW)


class OneTimeTokenContract:
    async def test_every_field_comes_back(self, uow: UnitOfWork) -> None:
        account = an_account()
        token = replace(a_token(account), expires_at=NOW + DAY + TICK)
        await store(uow, account)
        await issue(uow, token)
        assert await found(uow, token) == token
        assert await found(uow, token) == token

    async def test_a_token_is_consumed_once(self, uow: UnitOfWork) -> None:
        account = an_account()
        token = a_token(account)
        await store(uow, account)
        await issue(uow, token)
        async with uow() as tx:
            assert await tx.tokens.consume(token.digest, {VERIFY}, NOW) == token
            assert await tx.tokens.consume(token.digest, {VERIFY}, NOW) is None
            await tx.commit()
        assert await found(uow, token) is None

    async def test_a_consumed_token_is_good_again_when_the_transaction_is_undone(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account()
        token = a_token(account)
        await store(uow, account)
        await issue(uow, token)
        async with uow() as tx:
            await tx.tokens.consume(token.digest, {VERIFY}, NOW)
        assert await found(uow, token) == token

    async def test_a_token_opens_nothing_for_another_purpose_and_stays_good(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account()
        token = a_token(account)
        await store(uow, account)
        await issue(uow, token)
        async with uow() as tx:
            assert await tx.tokens.find(token.digest, {RESET}, NOW) is None
            assert await tx.tokens.consume(token.digest, {RESET}, NOW) is None
            assert await tx.tokens.consume(b"x" * 32, {VERIFY}, NOW) is None
            await tx.commit()
        assert await found(uow, token) == token

    async def test_a_token_is_good_until_just_before_its_expiry(self, uow: UnitOfWork) -> None:
        account = an_account()
        token = a_token(account)
        await store(uow, account)
        await issue(uow, token)
        last = token.expires_at - TICK
        async with uow() as tx:
            assert await tx.tokens.find(token.digest, {VERIFY}, token.expires_at) is None
            assert await tx.tokens.consume(token.digest, {VERIFY}, token.expires_at) is None
            await tx.tokens.add(token)
            assert await tx.tokens.find(token.digest, {VERIFY}, last) == token
            assert await tx.tokens.consume(token.digest, {VERIFY}, last) == token

    async def test_a_new_token_drops_the_older_one_of_its_kind_alone(
        self, uow: UnitOfWork
    ) -> None:
        account, other = an_account(), an_account()
        older, newer = a_token(account), a_token(account)
        reset, foreign = a_token(account, purpose=RESET), a_token(other)
        await store(uow, account, other)
        await issue(uow, older, reset, foreign, newer)
        assert await found(uow, older) is None
        for token in (newer, reset, foreign):
            assert await found(uow, token) == token

    async def test_all_tokens_of_one_account_are_dropped(self, uow: UnitOfWork) -> None:
        account, other = an_account(), an_account()
        verify, reset, foreign = a_token(account), a_token(account, purpose=RESET), a_token(other)
        await store(uow, account, other)
        await issue(uow, verify, reset, foreign)
        async with uow() as tx:
            await tx.tokens.drop_all(account.id)
            await tx.commit()
        assert await found(uow, verify) is None
        assert await found(uow, reset) is None
        assert await found(uow, foreign) == foreign

    async def test_expired_tokens_are_removed_in_batches(self, uow: UnitOfWork) -> None:
        accounts = [an_account() for _ in range(4)]
        await store(uow, *accounts)
        expired = [replace(a_token(account), expires_at=NOW) for account in accounts[:3]]
        good = replace(a_token(accounts[3]), expires_at=NOW + TICK)
        await issue(uow, *expired, good)
        async with uow() as tx:
            removed = [await tx.tokens.remove_expired(NOW, 2) for _ in range(3)]
            await tx.commit()
        assert removed == [2, 1, 0]
        assert await found(uow, good) == good

    async def test_one_of_many_consumes_a_token(self, uow: UnitOfWork) -> None:
        account = an_account()
        token = a_token(account)
        await store(uow, account)
        await issue(uow, token)

        async def consume() -> bool:
            async with uow() as tx:
                spent = await tx.tokens.consume(token.digest, {VERIFY}, NOW)
                await tx.commit()
            return spent is not None

        assert sum(await asyncio.gather(*(consume() for _ in range(20)))) == 1

    async def test_of_many_tokens_issued_at_once_one_is_good(self, uow: UnitOfWork) -> None:
        account = an_account()
        await store(uow, account)
        tokens = [a_token(account) for _ in range(10)]
        await asyncio.gather(*(issue(uow, token) for token in tokens))
        good = [await found(uow, token) for token in tokens]
        assert sum(token is not None for token in good) == 1


async def all_keys(uow: UnitOfWork) -> dict[str, SigningKey]:
    async with uow() as tx:
        return {key.kid: key for key in await tx.keys.list_all()}


class SigningKeyContract:
    async def test_every_field_comes_back(self, uow: UnitOfWork) -> None:
        active = replace(a_key(), activated_at=NOW + TICK)
        pending = a_key(state=KeyState.PENDING)
        retiring = replace(a_key(state=KeyState.RETIRING), retires_at=NOW + TICK)
        async with uow() as tx:
            for key in (active, pending, retiring):
                assert await tx.keys.add(key)
            await tx.commit()
        assert await all_keys(uow) == {key.kid: key for key in (active, pending, retiring)}

    async def test_there_is_no_second_active_key(self, uow: UnitOfWork) -> None:
        first, second = a_key(), a_key()
        async with uow() as tx:
            assert await tx.keys.add(first)
            assert not await tx.keys.add(second)
            assert await tx.keys.add(replace(second, state=KeyState.PENDING))
            await tx.commit()
        assert set(await all_keys(uow)) == {first.kid, second.kid}

    async def test_a_key_retires_and_its_successor_becomes_active(self, uow: UnitOfWork) -> None:
        old, new = a_key(), a_key(state=KeyState.PENDING)
        retired = old.retire(NOW, timedelta(minutes=15))
        promoted = replace(new.activate(NOW), sealed_private_key=b"sealed again")
        async with uow() as tx:
            await tx.keys.add(old)
            await tx.keys.add(new)
            await tx.keys.save(retired)
            await tx.keys.save(promoted)
            await tx.commit()
        assert await all_keys(uow) == {old.kid: retired, new.kid: promoted}

    async def test_keys_are_listed_oldest_first(self, uow: UnitOfWork) -> None:
        ages = [a_key(state=KeyState.PENDING, created_at=NOW - days * DAY) for days in (2, 3, 1)]
        async with uow() as tx:
            for key in ages:
                await tx.keys.add(key)
            assert list(await tx.keys.list_all()) == sorted(ages, key=lambda key: key.created_at)

    async def test_a_removed_key_is_gone_and_its_place_free(self, uow: UnitOfWork) -> None:
        old, new = a_key(), a_key()
        async with uow() as tx:
            await tx.keys.add(old)
            await tx.keys.remove(old.kid)
            await tx.keys.remove("unknown")
            assert await tx.keys.add(new)
            await tx.commit()
        assert set(await all_keys(uow)) == {new.kid}

    async def test_who_holds_the_lock_sees_what_the_one_before_left(self, uow: UnitOfWork) -> None:
        async def announce_unless_announced() -> None:
            async with uow() as tx:
                await tx.keys.lock()
                if not await tx.keys.list_all():
                    await asyncio.sleep(0)
                    await tx.keys.add(a_key(state=KeyState.PENDING))
                await tx.commit()

        await asyncio.gather(*(announce_unless_announced() for _ in range(8)))
        assert len(await all_keys(uow)) == 1

    async def test_one_of_many_replicas_makes_the_key_and_the_others_see_it(
        self, uow: UnitOfWork
    ) -> None:
        async def start() -> tuple[bool, frozenset[str]]:
            async with uow() as tx:
                made = await tx.keys.add(a_key())
                seen = frozenset(key.kid for key in await tx.keys.list_all())
                await tx.commit()
            return made, seen

        outcomes = await asyncio.gather(*(start() for _ in range(8)))
        assert sum(made for made, _ in outcomes) == 1
        assert {seen for _, seen in outcomes} == {frozenset(await all_keys(uow))}


class AuditContract:
    async def test_every_field_comes_back_in_order(
        self, uow: UnitOfWork, audit_entries: AuditEntries
    ) -> None:
        full = AuditEntry(
            id=new_id(),
            created_at=NOW + TICK,
            type=AuditType.REFRESH_REUSED,
            result=AuditResult.FAILURE,
            reason="late_parent",
            actor=new_id(),
            subject=new_id(),
            session_id=new_id(),
            client_id="gatepost",
            ip="192.0.2.7",
            user_agent="Mozilla/5.0 (X11)",
            request_id="request-1",
        )
        empty = replace(an_entry(), created_at=NOW + 2 * TICK)
        async with uow() as tx:
            await tx.audit.append(full)
            await tx.audit.append(empty)
            await tx.commit()
        assert await audit_entries() == [full, empty]

    async def test_every_type_can_be_kept(
        self, uow: UnitOfWork, audit_entries: AuditEntries
    ) -> None:
        async with uow() as tx:
            for type_ in AuditType:
                await tx.audit.append(replace(an_entry(), type=type_))
            await tx.commit()
        assert {entry.type for entry in await audit_entries()} == set(AuditType)


class JobQueueContract:
    async def test_a_committed_job_is_queued(
        self, uow: UnitOfWork, queued_jobs: QueuedJobs
    ) -> None:
        first = a_job(payload={"sealed": "00ff", "text": "Zoë"})
        second = a_job(name=JobName.PURGE)
        async with uow() as tx:
            await tx.jobs.enqueue(first)
            await tx.jobs.enqueue(second)
            assert await queued_jobs() == []
            await tx.commit()
        assert await queued_jobs() == [first, second]

    async def test_a_job_that_was_not_committed_does_not_exist(
        self, uow: UnitOfWork, queued_jobs: QueuedJobs
    ) -> None:
        async with uow() as tx:
            await tx.jobs.enqueue(a_job())
        assert await queued_jobs() == []

    async def test_a_job_that_is_queued_already_is_dropped_and_the_transaction_goes_on(
        self, uow: UnitOfWork, queued_jobs: QueuedJobs
    ) -> None:
        first, other, account = a_job(), a_job(), an_account()
        async with uow() as tx:
            await tx.jobs.enqueue(first)
            await tx.jobs.enqueue(first)
            await tx.commit()
        async with uow() as tx:
            await tx.jobs.enqueue(a_job(job_id=first.id))
            await tx.jobs.enqueue(other)
            await tx.accounts.add(account, NOW)
            await tx.commit()
        assert await queued_jobs() == [first, other]
        assert await stored(uow, account) == account

    async def test_of_many_that_queue_one_job_at_once_all_succeed(
        self, uow: UnitOfWork, queued_jobs: QueuedJobs
    ) -> None:
        job_id = new_id()

        async def enqueue(job_id: UUID) -> None:
            async with uow() as tx:
                await tx.jobs.enqueue(a_job(job_id=job_id))
                await tx.commit()

        await asyncio.gather(*(enqueue(job_id) for _ in range(8)))
        assert [job.id for job in await queued_jobs()] == [job_id]


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
