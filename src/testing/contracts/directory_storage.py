"""What every storage must do for administrators."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from ...application.ports.directory import AccountQuery, AccountSort
from ...application.ports.storage import UnitOfWork
from ...domain.accounts import Account, AccountStatus
from ...domain.errors import RoleInUse
from ...domain.roles import ADMIN, Role, Scope
from ..builders import DAY, NOW, SECOND, an_account, an_unproven_account
from .account_storage import store

SUSPENDED = AccountStatus.SUSPENDED
SUPPORT = Role(name="support", scopes=frozenset({Scope.USERS_READ, Scope.SESSIONS_READ}))


async def names(uow: UnitOfWork, query: AccountQuery, limit: int = 50) -> list[str]:
    async with uow() as tx:
        found = await tx.directory.list_accounts(query, limit=limit)
    return [account.username.value for account in found]


async def some_people(uow: UnitOfWork) -> list[Account]:
    """Five accounts whose names, addresses and ages give three different orders."""
    rows = [
        ("Carla", "b.one@example.com", 2, AccountStatus.ACTIVE, ()),
        ("alan", "e.two@example.com", 5, SUSPENDED, ("support",)),
        ("ada_1", "D.three@example.com", 1, AccountStatus.ACTIVE, (ADMIN, "support")),
        ("eve", "ada_1@example.org", 4, AccountStatus.ACTIVE, ()),
        ("adax1", "c.five@example.com", 3, SUSPENDED, ()),
    ]
    people = [
        an_account(
            username=name, email=email, created_at=NOW + age * SECOND, status=status, roles=roles
        )
        for name, email, age, status, roles in rows
    ]
    await store(uow, *people)
    return people


class DirectoryContract:
    async def test_accounts_are_listed_newest_first_up_to_a_limit(self, uow: UnitOfWork) -> None:
        accounts = [an_account(created_at=NOW + number * SECOND) for number in (2, 0, 3, 1)]
        await store(uow, *accounts)
        async with uow() as tx:
            listed = await tx.directory.list_accounts(AccountQuery(), limit=3)
        assert list(listed) == [accounts[2], accounts[0], accounts[3]]

    async def test_placeholders_are_not_listed(self, uow: UnitOfWork) -> None:
        account = an_account(username="ada")
        placeholder = an_unproven_account(
            username="adb", email=account.email.value, is_placeholder=True
        )
        await store(uow, account, placeholder)
        for sort in AccountSort:
            assert await names(uow, AccountQuery(sort=sort)) == ["ada"]
            assert await names(uow, AccountQuery(sort=sort, prefix="ad")) == ["ada"]

    @pytest.mark.parametrize(
        ("sort", "expected"),
        [
            (AccountSort.CREATED_AT, "ada_1 Carla adax1 eve alan"),
            (AccountSort.USERNAME, "ada_1 adax1 alan Carla eve"),
            (AccountSort.EMAIL, "eve Carla adax1 ada_1 alan"),
        ],
    )
    async def test_every_order_works_both_ways(
        self, uow: UnitOfWork, sort: AccountSort, expected: str
    ) -> None:
        await some_people(uow)
        down = AccountSort(f"-{sort.value}")
        assert await names(uow, AccountQuery(sort=sort)) == expected.split()
        assert await names(uow, AccountQuery(sort=down)) == expected.split()[::-1]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            (AccountQuery(prefix="ada"), "eve adax1 ada_1"),
            (AccountQuery(prefix="ada_1"), "eve ada_1"),
            (AccountQuery(prefix="d.three@"), "ada_1"),
            (AccountQuery(prefix="%"), ""),
            (AccountQuery(prefix="z"), ""),
            (AccountQuery(prefix="\U0010ffff"), ""),
            (AccountQuery(status=SUSPENDED), "alan adax1"),
            (AccountQuery(status=AccountStatus.ACTIVE), "eve Carla ada_1"),
            (AccountQuery(role="support"), "alan ada_1"),
            (AccountQuery(role="supp"), ""),
            (AccountQuery(role="support", status=SUSPENDED, prefix="a"), "alan"),
        ],
    )
    async def test_filters_and_search(
        self, uow: UnitOfWork, query: AccountQuery, expected: str
    ) -> None:
        await some_people(uow)
        assert await names(uow, query) == expected.split()

    @pytest.mark.parametrize("sort", AccountSort)
    @pytest.mark.parametrize("prefix", [None, "a"])
    async def test_pages_hold_every_account_once(
        self, uow: UnitOfWork, sort: AccountSort, prefix: str | None
    ) -> None:
        query = AccountQuery(sort=sort, prefix=prefix)
        people = await some_people(uow)
        twin = an_account(username="a-twin", created_at=people[0].created_at)
        await store(uow, twin)
        found: list[str] = []
        after: Sequence[str] | None = None
        while True:
            async with uow() as tx:
                page = await tx.directory.list_accounts(query, after=after, limit=2)
            if not page:
                break
            found += [account.username.value for account in page]
            after = sort.position(page[-1])
        assert found == await names(uow, query)
        assert len(found) == (6 if prefix is None else 5)

    async def test_a_page_goes_on_behind_an_account_that_is_gone(self, uow: UnitOfWork) -> None:
        people = await some_people(uow)
        async with uow() as tx:
            position = AccountSort.USERNAME.position(people[2])
            people[2].username = replace(people[2].username, value="zoe")
            await tx.accounts.save(people[2])
            query = AccountQuery(sort=AccountSort.USERNAME)
            page = await tx.directory.list_accounts(query, after=position, limit=1)
        assert [account.username.value for account in page] == ["adax1"]

    async def test_lasting_administrators_are_active_and_not_about_to_expire(
        self, uow: UnitOfWork
    ) -> None:
        first, second = an_account(roles=(ADMIN,)), an_account(roles=("a", ADMIN))
        await store(
            uow,
            first,
            second,
            an_account(roles=("administrator",)),
            an_account(roles=(ADMIN,), status=SUSPENDED),
            an_account(roles=(ADMIN,), email_verified=False, expires_at=NOW + DAY),
        )
        async with uow() as tx:
            assert await tx.directory.lock_admins() == {first.id, second.id}


class DirectoryRacesContract:
    async def test_az_05_of_administrators_that_leave_at_once_one_stays(
        self, uow: UnitOfWork
    ) -> None:
        admins = [an_account(roles=(ADMIN,)) for _ in range(6)]
        await store(uow, *admins)

        async def leave(admin: Account) -> bool:
            async with uow() as tx:
                lasting = await tx.directory.lock_admins()
                if lasting == {admin.id}:
                    return False
                await asyncio.sleep(0)
                await tx.accounts.save(replace(admin, roles=()))
                await tx.commit()
            return True

        assert sum(await asyncio.gather(*map(leave, admins))) == 5
        async with uow() as tx:
            assert len(await tx.directory.lock_admins()) == 1


async def put(uow: UnitOfWork, *roles: Role) -> list[bool]:
    async with uow() as tx:
        made = [await tx.roles.put(role, NOW) for role in roles]
        await tx.commit()
    return made


class RoleContract:
    async def test_roles_are_made_changed_and_listed_by_name(self, uow: UnitOfWork) -> None:
        empty = Role(name="a-nothing", scopes=frozenset())
        wider = replace(SUPPORT, scopes=frozenset(Scope))
        assert await put(uow, SUPPORT, empty, wider) == [True, True, False]
        async with uow() as tx:
            assert list(await tx.roles.list_all()) == [empty, wider]
            assert list(await tx.roles.find(["support", "unknown", "a-nothing"])) == [empty, wider]
            assert list(await tx.roles.find(["support"], lock=True)) == [wider]
            assert list(await tx.roles.find(["unknown"])) == []

    async def test_a_role_is_deleted_once(self, uow: UnitOfWork) -> None:
        await put(uow, SUPPORT)
        async with uow() as tx:
            assert await tx.roles.delete("support")
            assert not await tx.roles.delete("support")
            await tx.commit()
        async with uow() as tx:
            assert list(await tx.roles.list_all()) == []

    async def test_a_role_that_an_account_names_is_in_use(self, uow: UnitOfWork) -> None:
        await put(uow, SUPPORT)
        await store(uow, an_account(roles=("auditor", "support")))
        async with uow() as tx:
            with pytest.raises(RoleInUse):
                await tx.roles.delete("support")
            assert not await tx.roles.delete("auditor")

    async def test_a_role_is_not_deleted_while_it_is_given(self, uow: UnitOfWork) -> None:
        account = an_account()
        await put(uow, SUPPORT)
        await store(uow, account)

        async def give() -> bool:
            async with uow() as tx:
                if not await tx.roles.find(["support"], lock=True):
                    return False
                await asyncio.sleep(0.01)
                await tx.accounts.save(replace(account, roles=("support",)))
                await tx.commit()
            return True

        async def delete() -> bool:
            async with uow() as tx:
                try:
                    await tx.roles.delete("support")
                except RoleInUse:
                    return False
                await tx.commit()
            return True

        given, deleted = await asyncio.gather(give(), delete())
        assert given is not deleted

    async def test_of_many_that_make_a_role_at_once_one_finds_it_new(
        self, uow: UnitOfWork
    ) -> None:
        made = await asyncio.gather(*(put(uow, SUPPORT) for _ in range(8)))
        assert sum(new for (new,) in made) == 1
