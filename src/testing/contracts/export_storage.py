"""What storage must do for exports: their rows, what goes into them, and their files.

`ExportStoreContract` asks for `store`, an empty ExportStore.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from ...application.ports.exports import ExportStore
from ...application.ports.storage import UnitOfWork
from ...domain.credentials import Purpose
from ...domain.exports import Export, ExportId, ExportStatus
from ...domain.sessions import EndReason
from ..builders import (
    DAY,
    NOW,
    SECOND,
    a_session,
    a_token,
    an_account,
    an_entry,
    an_export,
    an_unproven_account,
    new_id,
)
from .account_storage import store as store_accounts

TICK = timedelta(microseconds=1)


async def added(uow: UnitOfWork, *exports: Export) -> None:
    async with uow() as tx:
        for export in exports:
            await tx.exports.add(export)
        await tx.commit()


async def found(uow: UnitOfWork, export: Export) -> Export | None:
    async with uow() as tx:
        return await tx.exports.get(export.id)


class ExportContract:
    async def test_every_field_comes_back(self, uow: UnitOfWork) -> None:
        export = replace(an_export(an_account()), expires_at=NOW + DAY + TICK)
        await added(uow, export)
        assert await found(uow, export) == export
        ready = export.complete(5_000_000_000, NOW + TICK)
        async with uow() as tx:
            assert await tx.exports.get(export.id, lock=True) == export
            await tx.exports.save(ready)
            await tx.commit()
        assert await found(uow, export) == ready

    async def test_one_that_is_gone_is_not_saved(self, uow: UnitOfWork) -> None:
        export = an_export(an_account())
        async with uow() as tx:
            await tx.exports.save(export)
            await tx.commit()
        assert await found(uow, export) is None

    async def test_an_id_is_taken_once(self, uow: UnitOfWork) -> None:
        export = an_export(an_account())
        await added(uow, export)
        # ValueError in memory, the driver's IntegrityError in a database.
        with pytest.raises(Exception, match=r"(?i)stored already|unique|duplicate"):
            await added(uow, export)

    async def test_the_exports_of_an_account_are_listed_newest_first(
        self, uow: UnitOfWork
    ) -> None:
        ada, bob = an_account(), an_account()
        older, newer = an_export(ada, now=NOW - SECOND), an_export(ada)
        newest = an_export(ada)
        await added(uow, newer, newest, older, an_export(bob))
        async with uow() as tx:
            assert list(await tx.exports.list_of(ada.id)) == [newest, newer, older]

    async def test_what_ran_out_and_is_not_closed_is_due(self, uow: UnitOfWork) -> None:
        due = [
            an_export(an_account(), status=status, now=NOW - DAY)
            for status in (ExportStatus.PENDING, ExportStatus.RUNNING, ExportStatus.READY)
        ]
        not_yet = an_export(an_account(), now=NOW - DAY + TICK)
        closed = an_export(an_account(), status=ExportStatus.FAILED, now=NOW - DAY)
        await added(uow, *due, not_yet, closed)
        async with uow() as tx:
            assert len(await tx.exports.list_due(NOW, 2)) == 2
            listed = await tx.exports.list_due(NOW, 9)
        assert {export.id for export in listed} == {export.id for export in due}

    async def test_all_of_one_account_are_removed_and_told(self, uow: UnitOfWork) -> None:
        ada, bob = an_account(), an_account()
        first, second, other = an_export(ada), an_export(ada), an_export(bob)
        await added(uow, first, second, other)
        async with uow() as tx:
            assert set(await tx.exports.remove_all(ada.id)) == {first.id, second.id}
            assert not await tx.exports.remove_all(ada.id)
            await tx.commit()
        assert await found(uow, first) is None
        assert await found(uow, other) == other

    async def test_closed_ones_are_removed_in_batches(self, uow: UnitOfWork) -> None:
        closed = [
            an_export(an_account(), status=status, now=NOW - DAY)
            for status in (ExportStatus.FAILED, ExportStatus.EXPIRED, ExportStatus.EXPIRED)
        ]
        unclosed = an_export(an_account(), status=ExportStatus.READY, now=NOW - DAY)
        await added(uow, *closed, unclosed)
        removed = []
        for before in (NOW, NOW + TICK, NOW + TICK, NOW + TICK):
            async with uow() as tx:
                removed.append(await tx.exports.remove_closed(before, 2))
                await tx.commit()
        assert removed == [0, 2, 1, 0]
        assert await found(uow, unclosed) == unclosed

    async def test_progress_rises_and_never_falls(self, uow: UnitOfWork) -> None:
        export = an_export(an_account()).start()
        await added(uow, export)
        for percent, after in ((40, 40), (20, 40), (41, 41)):
            async with uow() as tx:
                await tx.exports.note_progress(export.id, percent)
                await tx.exports.note_progress(ExportId(new_id()), percent)
                await tx.commit()
            assert await found(uow, export) == replace(export, progress=after)

    async def test_what_an_export_will_list_is_counted(self, uow: UnitOfWork) -> None:
        ada, bob = an_account(), an_account()
        await store_accounts(uow, ada, bob)
        async with uow() as tx:
            for session in (a_session(ada), a_session(ada), a_session(bob)):
                await tx.sessions.add(session)
            about, by = an_entry(subject=ada.id), replace(an_entry(), actor=ada.id)
            both = replace(an_entry(subject=ada.id), actor=ada.id)
            for entry in (about, by, both, an_entry(subject=bob.id)):
                await tx.audit.append(entry)
            await tx.commit()
        async with uow() as tx:
            assert await tx.exports.count_items(ada.id) == 5
            assert await tx.exports.count_items(an_account().id) == 0

    async def test_a_row_outlives_its_account(self, uow: UnitOfWork) -> None:
        ended = an_unproven_account(expires_at=NOW)
        export = an_export(ended)
        await store_accounts(uow, ended)
        await added(uow, export)
        async with uow() as tx:
            assert await tx.accounts.remove_expired(NOW, 10) == 1
            await tx.commit()
        assert await found(uow, export) == export


class ExportedDataContract:
    async def test_all_sessions_of_an_account_are_listed_in_pages(self, uow: UnitOfWork) -> None:
        account, another = an_account(), an_account()
        sessions = [a_session(account, now=NOW + n * SECOND) for n in (0, 0, 1, 2)]
        await store_accounts(uow, account, another)
        async with uow() as tx:
            for session in (*sessions, a_session(another)):
                await tx.sessions.add(session)
            await tx.sessions.end(sessions[2].id, account.id, EndReason.LOGGED_OUT, NOW)
            first = await tx.sessions.list_page(account.id, after=None, limit=2)
            after = (first[-1].created_at, first[-1].id)
            second = await tx.sessions.list_page(account.id, after=after, limit=9)
        assert [session.id for session in (*first, *second)] == [one.id for one in sessions]
        assert second[0].revoked_reason is EndReason.LOGGED_OUT

    async def test_the_good_tokens_of_an_account_are_listed(self, uow: UnitOfWork) -> None:
        account, another = an_account(), an_account()
        older = a_token(account, purpose=Purpose.UNDO_EMAIL, now=NOW - SECOND)
        newer = replace(a_token(account, purpose=Purpose.CHANGE_EMAIL), new_email="n@example.com")
        expired = a_token(account, purpose=Purpose.RESET_PASSWORD, now=NOW - DAY)
        await store_accounts(uow, account, another)
        async with uow() as tx:
            for token in (newer, older, expired, a_token(another)):
                await tx.tokens.add(token)
            assert list(await tx.tokens.list_good(account.id, NOW)) == [older, newer]


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def broken(piece: bytes) -> AsyncIterator[bytes]:
    yield piece
    raise RuntimeError("no more")


async def content(store: ExportStore, export_id: ExportId) -> bytes | None:
    reading = await store.read(export_id)
    return None if reading is None else b"".join([piece async for piece in reading])


SIZES = (0, 1, 65535, 65536, 65537, 2 * 65536, 200_000)


class ExportStoreContract:
    @pytest.mark.parametrize("size", SIZES)
    async def test_what_was_written_is_read(self, store: ExportStore, size: int) -> None:
        export_id, data = ExportId(new_id()), (bytes(range(251)) * 800)[:size]
        cut = [data[at : at + 999] for at in range(0, size, 999)]
        assert await store.write(export_id, pieces(*cut)) == size
        assert await content(store, export_id) == data

    async def test_one_large_piece_is_as_good_as_many(self, store: ExportStore) -> None:
        export_id = ExportId(new_id())
        await store.write(export_id, pieces(b"", b"x" * 200_000, b""))
        assert await content(store, export_id) == b"x" * 200_000

    async def test_files_do_not_mix(self, store: ExportStore) -> None:
        first, second = ExportId(new_id()), ExportId(new_id())
        await store.write(first, pieces(b"first"))
        await store.write(second, pieces(b"second"))
        assert await content(store, first) == b"first"
        assert await content(store, second) == b"second"

    async def test_a_later_write_replaces_the_file(self, store: ExportStore) -> None:
        export_id = ExportId(new_id())
        await store.write(export_id, pieces(b"older and longer"))
        await store.write(export_id, pieces(b"newer"))
        assert await content(store, export_id) == b"newer"

    async def test_a_write_that_fails_leaves_what_was_there(self, store: ExportStore) -> None:
        export_id = ExportId(new_id())
        for before in (None, b"older"):
            if before is not None:
                await store.write(export_id, pieces(before))
            with pytest.raises(RuntimeError, match="no more"):
                await store.write(export_id, broken(b"x" * 100_000))
            assert await content(store, export_id) == before

    async def test_a_removed_file_is_gone_and_can_be_removed_again(
        self, store: ExportStore
    ) -> None:
        export_id = ExportId(new_id())
        await store.remove(export_id)
        await store.write(export_id, pieces(b"x"))
        await store.remove(export_id)
        await store.remove(export_id)
        assert await content(store, export_id) is None
