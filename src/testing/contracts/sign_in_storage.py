"""What storage must do when somebody signs in."""

import asyncio
from dataclasses import replace

import pytest

from ...application.ports.sessions import SignIns
from ...application.ports.storage import UnitOfWork
from ...domain.accounts import AccountStatus
from ...domain.audit import AuditEntry, AuditFilter
from ...domain.webhooks import Endpoint
from ..builders import NOW, a_session, an_account, an_endpoint, an_entry
from .account_storage import store
from .session_storage import live

STARTED = "session.created.v1"


class SignInsContract:
    async def test_a_session_and_its_entry_are_stored_for_good(
        self, uow: UnitOfWork, sign_ins: SignIns
    ) -> None:
        account = an_account(roles=("admin",))
        await store(uow, account)
        session, entry = a_session(account), an_entry(subject=account.id)
        assert await sign_ins.start(session, account, entry, STARTED)
        assert await live(uow, account) == [session]
        assert await _noted(uow) == [entry]

    @pytest.mark.parametrize(
        "changed",
        [
            {"password_hash": "another"},
            {"password_hash": None},
            {"roles": ("admin",)},
            {"email_verified": False},
            {"is_placeholder": True},
            {"status": AccountStatus.SUSPENDED},
            {"expires_at": NOW},
        ],
    )
    async def test_nothing_is_written_once_the_account_is_another(
        self, uow: UnitOfWork, sign_ins: SignIns, changed: dict[str, object]
    ) -> None:
        account = an_account()
        await store(uow, replace(account, **changed))  # type: ignore[arg-type]
        assert not await sign_ins.start(a_session(account), account, an_entry(), STARTED)
        gone = an_account()
        assert not await sign_ins.start(a_session(gone), gone, an_entry(), STARTED)
        assert await live(uow, account) == []
        assert await _noted(uow) == []

    async def test_nothing_is_written_while_an_endpoint_wants_to_be_told(
        self, uow: UnitOfWork, sign_ins: SignIns
    ) -> None:
        account = an_account()
        other, wants = (an_endpoint(events=(name,)) for name in ("account.deleted.v1", STARTED))
        await store(uow, account)
        await _listen(uow, other)
        assert await sign_ins.start(a_session(account), account, an_entry(), STARTED)
        for endpoint in (wants, an_endpoint(events=())):
            await _listen(uow, endpoint)
            assert not await sign_ins.start(a_session(account), account, an_entry(), STARTED)
            await _listen(uow, other)
        assert len(await live(uow, account)) == len(await _noted(uow)) == 1

    async def test_a_change_under_way_is_not_overtaken(
        self, uow: UnitOfWork, sign_ins: SignIns
    ) -> None:
        account = an_account()
        await store(uow, account)
        async with uow() as tx:
            held = await tx.accounts.get(account.id, lock=True)
            assert held is not None
            starting = asyncio.create_task(
                sign_ins.start(a_session(account), account, an_entry(), STARTED)
            )
            # It may wait, or leave the waiting to a transaction.
            done, _ = await asyncio.wait([starting], timeout=0.1)
            assert not any(one.result() for one in done)
            await tx.accounts.save(replace(held, password_hash="another"))
            await tx.commit()
        assert not await starting
        assert await live(uow, account) == []


async def _noted(uow: UnitOfWork) -> list[AuditEntry]:
    async with uow() as tx:
        return list(await tx.audit.list_newest(AuditFilter(), before=None, limit=9))


async def _listen(uow: UnitOfWork, endpoint: Endpoint) -> None:
    """Let this one be the only endpoint."""
    async with uow() as tx:
        for one in await tx.webhooks.list_all():
            await tx.webhooks.remove(one.id)
        await tx.webhooks.add(endpoint)
        await tx.commit()
