"""What storage must do for the audit trail and for answers that are kept."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from ...application.ports.storage import UnitOfWork
from ...domain.accounts import Account
from ...domain.audit import AuditEntry, AuditFilter, AuditResult, AuditType
from ...domain.idempotency import StoredAnswer
from ..builders import DAY, NOW, SECOND, an_account, an_entry, an_unproven_account, new_id
from .account_storage import store

KEY = bytes(range(32))
TICK = timedelta(microseconds=1)
ANYTHING = AuditFilter()

AuditEntries = Callable[[], Awaitable[list[AuditEntry]]]


def an_answer(account: Account, *, key: bytes = KEY, sealed: bytes = b"\0sealed") -> StoredAnswer:
    return StoredAnswer(key=key, sealed=sealed, account_id=account.id, expires_at=NOW + DAY)


async def noted(uow: UnitOfWork, *entries: AuditEntry) -> list[AuditEntry]:
    """Store entries, and return them newest first."""
    async with uow() as tx:
        for entry in entries:
            await tx.audit.append(entry)
        await tx.commit()
    return sorted(entries, key=lambda entry: (entry.created_at, entry.id), reverse=True)


async def listed(
    uow: UnitOfWork,
    filter_: AuditFilter = ANYTHING,
    *,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 50,
) -> list[AuditEntry]:
    async with uow() as tx:
        return list(await tx.audit.list_newest(filter_, before=before, limit=limit))


async def kept(uow: UnitOfWork, *answers: StoredAnswer) -> None:
    async with uow() as tx:
        for answer in answers:
            await tx.idempotency.put(answer)
        await tx.commit()


async def recalled(uow: UnitOfWork, key: bytes = KEY, now: datetime = NOW) -> StoredAnswer | None:
    async with uow() as tx:
        return await tx.idempotency.find(key, now)


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


class AuditTrailContract:
    async def test_old_entries_are_removed_a_few_at_a_time(self, uow: UnitOfWork) -> None:
        old = [replace(an_entry(), created_at=NOW - number * SECOND) for number in (1, 2, 3)]
        (young,) = await noted(uow, an_entry())
        await noted(uow, *old)
        removed = []
        for _ in range(3):
            async with uow() as tx:
                removed.append(await tx.audit.remove_before(NOW, 2))
                await tx.commit()
        assert removed == [2, 1, 0]
        assert await listed(uow) == [young]

    async def test_the_newest_entry_comes_first_and_ids_break_ties(self, uow: UnitOfWork) -> None:
        entries = [an_entry() for _ in range(3)]
        entries.append(replace(an_entry(), created_at=NOW - SECOND))
        entries.append(replace(an_entry(), created_at=NOW + TICK))
        assert await listed(uow) == []
        assert await noted(uow, *entries) == await listed(uow)

    async def test_a_page_starts_right_behind_a_position(self, uow: UnitOfWork) -> None:
        entries = await noted(uow, *(an_entry() for _ in range(5)))
        entries += await noted(uow, replace(an_entry(), created_at=NOW - SECOND))
        assert await listed(uow, limit=2) == entries[:2]
        last = entries[1]
        assert await listed(uow, before=(last.created_at, last.id), limit=3) == entries[2:5]
        last = entries[-1]
        assert await listed(uow, before=(last.created_at, last.id)) == []

    async def test_entries_are_found_by_who_did_it(self, uow: UnitOfWork) -> None:
        ada = new_id()
        wanted = replace(an_entry(), actor=ada)
        await noted(uow, an_entry(subject=ada), wanted, replace(an_entry(), actor=new_id()))
        assert await listed(uow, AuditFilter(actor=ada)) == [wanted]

    async def test_entries_are_found_by_whom_it_concerns(self, uow: UnitOfWork) -> None:
        ada = new_id()
        wanted = an_entry(subject=ada)
        await noted(uow, an_entry(), wanted, replace(an_entry(), actor=ada))
        assert await listed(uow, AuditFilter(subject=ada)) == [wanted]

    async def test_entries_are_found_by_type(self, uow: UnitOfWork) -> None:
        wanted = replace(an_entry(), type=AuditType.REFRESH_REUSED)
        await noted(uow, an_entry(), wanted)
        assert await listed(uow, AuditFilter(type=AuditType.REFRESH_REUSED)) == [wanted]

    async def test_since_is_included_and_until_is_not(self, uow: UnitOfWork) -> None:
        times = [NOW - TICK, NOW, NOW + SECOND, NOW + SECOND + TICK]
        entries = [replace(an_entry(), created_at=time) for time in times]
        await noted(uow, *entries)
        assert await listed(uow, AuditFilter(since=NOW, until=NOW + SECOND)) == [entries[1]]
        assert await listed(uow, AuditFilter(since=NOW + SECOND)) == entries[:1:-1]
        assert await listed(uow, AuditFilter(until=NOW)) == entries[:1]

    async def test_filters_are_joined(self, uow: UnitOfWork) -> None:
        ada, bob = new_id(), new_id()
        wanted = replace(an_entry(), actor=ada, subject=bob)
        others = (
            replace(wanted, id=new_id(), actor=bob),
            replace(wanted, id=new_id(), subject=ada),
        )
        await noted(uow, wanted, *others)
        assert await listed(uow, AuditFilter(actor=ada, subject=bob)) == [wanted]


class IdempotencyContract:
    async def test_every_field_comes_back_until_just_before_the_end(self, uow: UnitOfWork) -> None:
        account = an_account()
        answer = replace(an_answer(account), expires_at=NOW + DAY + TICK)
        await store(uow, account)
        await kept(uow, answer)
        assert await recalled(uow) == answer
        assert await recalled(uow, now=NOW + DAY) == answer
        assert await recalled(uow, now=answer.expires_at) is None
        assert await recalled(uow, bytes(32)) is None

    async def test_an_answer_comes_and_goes_with_its_transaction(self, uow: UnitOfWork) -> None:
        account = an_account()
        await store(uow, account)
        async with uow() as tx:
            await tx.idempotency.put(an_answer(account))
            assert await tx.idempotency.find(KEY, NOW) is not None
        assert await recalled(uow) is None

    async def test_a_newer_answer_replaces_the_older(self, uow: UnitOfWork) -> None:
        account, other = an_account(), an_account()
        newer = replace(an_answer(other, sealed=b"newer"), expires_at=NOW + 2 * DAY)
        await store(uow, account, other)
        await kept(uow, an_answer(account), newer)
        assert await recalled(uow) == newer

    async def test_an_answer_goes_with_its_account(self, uow: UnitOfWork) -> None:
        account, ended = an_account(), an_unproven_account(expires_at=NOW - SECOND)
        other = bytes(32)
        await store(uow, account, ended)
        await kept(uow, an_answer(account), an_answer(ended, key=other))
        async with uow() as tx:
            await tx.accounts.remove_expired(NOW, 10)
            await tx.idempotency.drop_all(account.id)
            await tx.commit()
        assert await recalled(uow) is None
        assert await recalled(uow, other) is None

    async def test_an_answer_needs_an_account(self, uow: UnitOfWork) -> None:
        # ValueError in memory, the driver's IntegrityError in a database.
        with pytest.raises(Exception, match=r"(?i)account"):
            await kept(uow, an_answer(an_account()))

    async def test_expired_answers_are_removed_in_batches(self, uow: UnitOfWork) -> None:
        account = an_account()
        await store(uow, account)
        expired = [
            replace(an_answer(account, key=bytes([n] * 32)), expires_at=NOW) for n in (1, 2)
        ]
        await kept(uow, an_answer(account), *expired)
        removed = []
        for _ in range(3):
            async with uow() as tx:
                removed.append(await tx.idempotency.remove_expired(NOW, 1))
                await tx.commit()
        assert removed == [1, 1, 0]
        assert await recalled(uow) is not None

    async def test_in_25_of_twenty_at_once_one_answers_and_nobody_waits(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account()
        await store(uow, account)
        answered: list[int] = []

        async def attempt(number: int) -> None:
            async with uow() as tx:
                if not await tx.idempotency.claim(KEY) or await tx.idempotency.find(KEY, NOW):
                    return
                await asyncio.sleep(0.01)
                await tx.idempotency.put(an_answer(account, sealed=bytes([number])))
                await tx.commit()
                answered.append(number)

        await asyncio.gather(*map(attempt, range(20)))
        (winner,) = answered
        stored = await recalled(uow)
        assert stored is not None
        assert stored.sealed == bytes([winner])

    async def test_a_key_is_free_again_when_its_transaction_ends(self, uow: UnitOfWork) -> None:
        for _ in range(2):
            async with uow() as tx:
                assert await tx.idempotency.claim(KEY)
                assert await tx.idempotency.claim(bytes(32))
