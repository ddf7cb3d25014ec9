"""What every storage must do for accounts in bulk."""

from collections.abc import Sequence
from dataclasses import replace

from ...application.ports.storage import UnitOfWork
from ...domain.accounts import Account, AccountId
from ...domain.audit import AuditFilter
from ..builders import DAY, NOW, an_account, an_entry, an_unproven_account, new_id
from .account_storage import a_full_account, store, stored


async def add_all(uow: UnitOfWork, *accounts: Account) -> set[AccountId]:
    async with uow() as tx:
        added = await tx.transfer.add_all(accounts, NOW)
        await tx.commit()
    return set(added)


async def rivals(uow: UnitOfWork, *accounts: Account) -> set[AccountId]:
    async with uow() as tx:
        found = await tx.transfer.find_rivals(accounts, NOW)
    return {account.id for account in found}


class TransferContract:
    async def test_many_accounts_are_added_with_every_field(self, uow: UnitOfWork) -> None:
        accounts = [a_full_account(), *(an_account() for _ in range(40))]
        assert await add_all(uow, *accounts) == {account.id for account in accounts}
        for account in (accounts[0], accounts[-1]):
            assert await stored(uow, account) == account
        assert await add_all(uow) == set()

    async def test_who_has_no_place_is_left_out_and_the_others_come_in(
        self, uow: UnitOfWork
    ) -> None:
        there = an_account()
        await store(uow, there)
        free = an_account()
        same_id = replace(an_account(), id=there.id)
        same_name = an_account(username=there.username.value.upper())
        same_address = an_account(email=there.email.value.upper())
        twin = an_account(username=free.username.value)
        first = {free.id, twin.id}
        added = await add_all(uow, same_id, same_name, free, same_address, twin)
        assert len(added) == 1
        assert added < first
        assert await stored(uow, there) == there

    async def test_rivals_have_the_id_the_name_or_the_address(self, uow: UnitOfWork) -> None:
        by_id, by_name, by_address, nobody = (an_account() for _ in range(4))
        await store(uow, by_id, by_name, by_address, nobody)
        asked = [
            replace(an_account(), id=by_id.id),
            an_account(username=by_name.username.value.upper()),
            an_account(email=by_address.email.value.upper()),
            an_account(),
        ]
        assert await rivals(uow, *asked) == {by_id.id, by_name.id, by_address.id}
        assert await rivals(uow) == set()

    async def test_a_placeholder_holds_its_username_and_no_address(self, uow: UnitOfWork) -> None:
        placeholder = an_unproven_account(is_placeholder=True)
        await store(uow, placeholder)
        assert await rivals(uow, an_account(username=placeholder.username.value))
        assert not await rivals(uow, an_account(email=placeholder.email.value))
        owner = an_account(email=placeholder.email.value)
        assert await add_all(uow, owner) == {owner.id}

    async def test_who_has_expired_gives_way(self, uow: UnitOfWork) -> None:
        expired = [an_unproven_account(created_at=NOW - 8 * DAY, expires_at=NOW) for _ in range(3)]
        await store(uow, *expired)
        asked = [
            replace(an_account(), id=expired[0].id),
            an_account(username=expired[1].username.value),
            an_account(email=expired[2].email.value),
        ]
        assert await rivals(uow, *asked) == set()
        assert await add_all(uow, *asked) == {account.id for account in asked}
        for account in asked:
            assert await stored(uow, account) == account

    async def test_accounts_are_read_in_pieces_by_id_without_placeholders(
        self, uow: UnitOfWork
    ) -> None:
        people = [an_account() for _ in range(5)]
        await store(uow, *reversed(people), an_unproven_account(is_placeholder=True))
        seen: list[Account] = []
        while piece := await self._read(uow, seen[-1].id if seen else None):
            assert len(piece) <= 2
            seen.extend(piece)
        assert seen == sorted(people, key=lambda account: account.id)

    async def _read(self, uow: UnitOfWork, after: AccountId | None) -> Sequence[Account]:
        async with uow() as tx:
            return await tx.transfer.read_after(after, 2)

    async def test_many_entries_are_appended_at_once(self, uow: UnitOfWork) -> None:
        subject = new_id()
        entries = [an_entry(subject=subject, reason=str(number)) for number in range(3)]
        async with uow() as tx:
            await tx.audit.append_all(entries)
            await tx.audit.append_all([])
            await tx.commit()
        async with uow() as tx:
            found = await tx.audit.list_newest(AuditFilter(subject=subject), before=None, limit=10)
        assert {entry.reason for entry in found} == {"0", "1", "2"}
