"""What storage must do to tell who calls, and who wants to sign in."""

from dataclasses import replace
from datetime import datetime

from ...application.ports.sessions import CallerReader
from ...application.ports.storage import UnitOfWork
from ...domain.accounts import Account, AccountStatus
from ...domain.addresses import EmailAddress
from ...domain.clients import ClientStatus
from ...domain.sessions import EndReason, Session
from ..builders import DAY, NOW, SECOND, a_client, a_session, an_account, an_unproven_account
from .account_storage import store
from .session_storage import TICK, signed_in


async def found(
    uow: UnitOfWork, callers: CallerReader, session: Session, now: datetime
) -> Account | None:
    """Find whose session it is, and see that a machine client which asks is told the same."""
    account = await callers.find(session.id, now)
    asking = replace(a_client(), status=ClientStatus.DISABLED)
    async with uow() as tx:
        await tx.clients.add(asking)
        await tx.commit()
    assert await callers.client_and_caller(asking.id, session.id, now) == (asking, account)
    return account


class CallerReaderContract:
    async def test_the_account_of_a_live_session_is_found(
        self, uow: UnitOfWork, callers: CallerReader
    ) -> None:
        account = an_account(roles=("admin",), bio="a bio")
        session = a_session(account)
        await signed_in(uow, account, session)
        assert await found(uow, callers, session, NOW) == account
        assert await found(uow, callers, a_session(account), NOW) is None

    async def test_nobody_is_found_from_the_expiry_on(
        self, uow: UnitOfWork, callers: CallerReader
    ) -> None:
        account = an_account()
        idle = a_session(account)
        short = replace(a_session(account), absolute_until=NOW + DAY)
        await signed_in(uow, account, idle, short)
        assert await found(uow, callers, idle, idle.idle_until - TICK) == account
        assert await found(uow, callers, idle, idle.idle_until) is None
        assert await found(uow, callers, short, short.absolute_until - TICK) == account
        assert await found(uow, callers, short, short.absolute_until) is None

    async def test_nobody_is_found_as_soon_as_the_session_ended(
        self, uow: UnitOfWork, callers: CallerReader
    ) -> None:
        account = an_account()
        session = a_session(account)
        await signed_in(uow, account, session)
        async with uow() as tx:
            await tx.sessions.end(session.id, account.id, EndReason.LOGGED_OUT, NOW)
            await tx.commit()
        assert await found(uow, callers, session, NOW) is None

    async def test_nobody_is_found_as_soon_as_the_account_may_not_sign_in(
        self, uow: UnitOfWork, callers: CallerReader
    ) -> None:
        account = an_account()
        expiring = an_unproven_account(expires_at=NOW + SECOND)
        first, second = a_session(account), a_session(expiring)
        await signed_in(uow, account, first)
        await signed_in(uow, expiring, second)
        async with uow() as tx:
            await tx.accounts.save(replace(account, status=AccountStatus.SUSPENDED))
            await tx.commit()
        assert await found(uow, callers, first, NOW) is None
        assert await found(uow, callers, second, NOW) == expiring
        assert await found(uow, callers, second, NOW + SECOND) is None

    async def test_whoever_may_sign_in_is_found_as_in_a_transaction(
        self, uow: UnitOfWork, callers: CallerReader
    ) -> None:
        owner = an_account(email="ada@example.com")
        rival = an_unproven_account(email="ada@example.com", is_placeholder=True)
        pending = an_unproven_account(email="bob@example.com", expires_at=NOW + SECOND)
        for account in (owner, rival, pending):
            await store(uow, account)
        assert await callers.by_username(rival.username) == rival
        assert await callers.by_username(an_account().username) is None
        assert await callers.by_email(owner.email, NOW) == (owner, rival)
        assert await callers.by_email(pending.email, NOW) == (pending, pending)
        assert await callers.by_email(pending.email, NOW + SECOND) == (pending, None)
        assert await callers.by_email(EmailAddress("no@example.com"), NOW) == (None, None)
