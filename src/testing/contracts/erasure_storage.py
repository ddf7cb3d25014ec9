"""What every storage must do when somebody leaves."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from ...application.ports.delivery import Job
from ...application.ports.storage import UnitOfWork
from ...domain.accounts import USERNAME_KEPT
from ...domain.addresses import EmailAddress
from ...domain.audit import AuditEntry
from ...domain.credentials import Purpose
from ..builders import (
    DAY,
    NOW,
    SECOND,
    a_job,
    a_session,
    a_token,
    an_account,
    an_entry,
    an_unproven_account,
)
from .account_storage import store, stored

UNDO = {Purpose.UNDO_EMAIL}


def seen(entry: AuditEntry) -> AuditEntry:
    return replace(entry, ip="192.0.2.7", user_agent="Firefox", request_id="request-1")


class ErasureContract:
    async def test_az_07_an_erased_account_keeps_its_username_alone(self, uow: UnitOfWork) -> None:
        account, another = an_account(bio="Counts.", roles=("auditor",)), an_account()
        address = account.email
        await store(uow, account, another)
        async with uow() as tx:
            for one in (account, another):
                one.erase(NOW)
                await tx.accounts.save(one)
            await tx.accounts.add(an_account(email=address.value), NOW)
            await tx.commit()
        assert await stored(uow, account) == account
        async with uow() as tx:
            assert await tx.accounts.find_by_username(account.username) == account
            assert await tx.accounts.find_by_email(account.email) is None
            assert await tx.accounts.find_unproven(address, NOW) is None

    async def test_an_erased_account_is_removed_when_its_username_is_free_again(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account()
        await store(uow, account)
        account.erase(NOW)
        async with uow() as tx:
            await tx.accounts.save(account)
            await tx.commit()
        until = NOW + USERNAME_KEPT
        async with uow() as tx:
            assert await tx.accounts.remove_expired(until - SECOND, 10) == 0
            assert await tx.accounts.remove_expired(until, 10) == 1

    async def test_all_sessions_of_one_account_are_removed(self, uow: UnitOfWork) -> None:
        account, another = an_account(), an_account()
        await store(uow, account, another)
        kept = a_session(another)
        async with uow() as tx:
            for session in (a_session(account), a_session(account), kept):
                await tx.sessions.add(session)
            await tx.sessions.remove_all(account.id)
            await tx.commit()
        async with uow() as tx:
            assert not await tx.sessions.list_live(account.id, NOW)
            assert list(await tx.sessions.list_live(another.id, NOW)) == [kept]
            assert await tx.sessions.remove_ended(None, NOW + 999 * DAY, 10) == (1, None)

    async def test_az_07_the_trail_forgets_where_somebody_was_and_keeps_the_rest(
        self,
        uow: UnitOfWork,
        audit_entries: Callable[[], Awaitable[list[AuditEntry]]],
    ) -> None:
        account, another = an_account(), an_account()
        about = seen(an_entry(subject=account.id))
        by = seen(replace(an_entry(subject=another.id), actor=account.id))
        of_another = seen(replace(an_entry(subject=another.id), actor=another.id))
        of_nobody = seen(an_entry())
        async with uow() as tx:
            for entry in (about, by, of_another, of_nobody):
                await tx.audit.append(entry)
            await tx.audit.forget(account.id)
            await tx.commit()
        assert await audit_entries() == [
            replace(about, ip=None, user_agent=None),
            replace(by, ip=None, user_agent=None),
            of_another,
            of_nobody,
        ]

    async def test_the_jobs_of_one_account_are_dropped(
        self, uow: UnitOfWork, queued_jobs: Callable[[], Awaitable[list[Job]]]
    ) -> None:
        account, another = an_account(), an_account()
        of_nobody = a_job()
        of_another = replace(a_job(), account_id=another.id)
        async with uow() as tx:
            for job in (of_nobody, replace(a_job(), account_id=account.id), of_another):
                await tx.jobs.enqueue(job)
            await tx.commit()
        async with uow() as tx:
            await tx.jobs.drop_of(account.id)
            await tx.commit()
        assert await queued_jobs() == [of_nobody, of_another]


class EmailChangeContract:
    async def test_the_address_that_a_token_sets_comes_back(self, uow: UnitOfWork) -> None:
        account = an_account()
        token = replace(a_token(account, purpose=Purpose.UNDO_EMAIL), new_email="New@example.com")
        await store(uow, account)
        async with uow() as tx:
            await tx.tokens.add(token)
            found = await tx.tokens.find(token.digest, UNDO, NOW)
        assert found == token

    async def test_a_token_is_found_and_consumed_by_any_of_some_purposes(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account()
        token = a_token(account, purpose=Purpose.SET_PASSWORD)
        some = {Purpose.RESET_PASSWORD, Purpose.SET_PASSWORD}
        await store(uow, account)
        async with uow() as tx:
            await tx.tokens.add(token)
            assert await tx.tokens.find(token.digest, UNDO | {Purpose.VERIFY_EMAIL}, NOW) is None
            assert await tx.tokens.consume(token.digest, set(), NOW) is None
            assert await tx.tokens.find(token.digest, some, NOW) == token
            assert await tx.tokens.consume(token.digest, some, NOW) == token

    async def test_a_new_token_leaves_that_for_another_address(self, uow: UnitOfWork) -> None:
        account = an_account()
        older = a_token(account, purpose=Purpose.UNDO_EMAIL)
        elsewhere = replace(account, email=EmailAddress("new@example.com"))
        newer = a_token(elsewhere, purpose=Purpose.UNDO_EMAIL)
        await store(uow, account)
        async with uow() as tx:
            await tx.tokens.add(older)
            await tx.tokens.add(newer)
            assert await tx.tokens.find(older.digest, UNDO, NOW) == older
            assert await tx.tokens.find(newer.digest, UNDO, NOW) == newer
            await tx.tokens.add(a_token(account, purpose=Purpose.UNDO_EMAIL))
            assert await tx.tokens.find(older.digest, UNDO, NOW) is None

    async def test_earlier_links_to_undo_a_change_can_be_kept(self, uow: UnitOfWork) -> None:
        account, another = an_account(), an_unproven_account()
        earlier = a_token(account, purpose=Purpose.UNDO_EMAIL, now=NOW - SECOND)
        elsewhere = replace(account, email=EmailAddress("new@example.com"))
        later = a_token(elsewhere, purpose=Purpose.UNDO_EMAIL)
        reset = a_token(account, purpose=Purpose.RESET_PASSWORD, now=NOW - SECOND)
        others = a_token(another)
        await store(uow, account, another)
        async with uow() as tx:
            for token in (earlier, later, reset, others):
                await tx.tokens.add(token)
            await tx.tokens.drop_all(account.id, keep_undo_until=NOW - SECOND)
            assert await tx.tokens.find(earlier.digest, UNDO, NOW) == earlier
            assert await tx.tokens.find(later.digest, UNDO, NOW) is None
            assert await tx.tokens.find(reset.digest, {Purpose.RESET_PASSWORD}, NOW) is None
            assert await tx.tokens.find(others.digest, {Purpose.VERIFY_EMAIL}, NOW) == others
            await tx.tokens.drop_all(account.id)
            assert await tx.tokens.find(earlier.digest, UNDO, NOW) is None
