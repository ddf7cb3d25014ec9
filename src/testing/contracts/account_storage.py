"""What every storage of accounts must do."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ...application.ports.directory import AccountQuery
from ...application.ports.storage import UnitOfWork
from ...domain.accounts import Account, AccountId, AccountStatus, Username
from ...domain.addresses import EmailAddress
from ...domain.credentials import Purpose
from ...domain.errors import EmailTaken, UsernameTaken
from ..builders import (
    DAY,
    NOW,
    SECOND,
    a_session,
    a_token,
    an_account,
    an_unproven_account,
    new_id,
)


async def store(uow: UnitOfWork, *accounts: Account) -> None:
    async with uow() as tx:
        for account in accounts:
            await tx.accounts.add(account, NOW)
        await tx.commit()


async def stored(uow: UnitOfWork, account: Account) -> Account | None:
    async with uow() as tx:
        return await tx.accounts.get(account.id)


def a_full_account(*, is_placeholder: bool = False) -> Account:
    return Account(
        id=AccountId(new_id()),
        username=Username("Full.Name_1"),
        email=EmailAddress("Full+tag@xn--mller-kva.example"),
        email_verified=not is_placeholder,
        is_placeholder=is_placeholder,
        password_hash="$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA",
        bio="Zoë, 你好 \N{WAVING HAND SIGN}\nsecond line",
        locale="de-CH",
        status=AccountStatus.SUSPENDED,
        roles=("admin", "auditor"),
        created_at=NOW,
        updated_at=NOW + timedelta(microseconds=1),
        expires_at=NOW + timedelta(microseconds=2),
        notified_at=NOW - timedelta(microseconds=3),
    )


class AccountRepositoryContract:
    @pytest.mark.parametrize("is_placeholder", [False, True])
    async def test_every_field_comes_back(self, uow: UnitOfWork, is_placeholder: bool) -> None:
        account = a_full_account(is_placeholder=is_placeholder)
        await store(uow, account)
        assert await stored(uow, account) == account

    async def test_empty_fields_come_back_empty(self, uow: UnitOfWork) -> None:
        account = an_account(password_hash=None)
        await store(uow, account)
        assert await stored(uow, account) == account

    @pytest.mark.parametrize("is_placeholder", [False, True])
    async def test_save_writes_every_field_back(
        self, uow: UnitOfWork, is_placeholder: bool
    ) -> None:
        account = an_account()
        await store(uow, account)
        changed = replace(a_full_account(is_placeholder=is_placeholder), id=account.id)
        async with uow() as tx:
            await tx.accounts.save(changed)
            await tx.commit()
        # When an account was created is a fact that no use case changes.
        found = await stored(uow, account)
        assert found == replace(changed, created_at=found.created_at if found else NOW)

    async def test_nobody_is_found_by_what_nobody_has(self, uow: UnitOfWork) -> None:
        async with uow() as tx:
            assert await tx.accounts.get(AccountId(new_id())) is None
            assert await tx.accounts.get(AccountId(new_id()), lock=True) is None
            assert await tx.accounts.find_by_email(EmailAddress("no@example.com")) is None
            assert await tx.accounts.find_unproven(EmailAddress("no@example.com"), NOW) is None
            assert await tx.accounts.find_by_username(Username("nobody")) is None

    async def test_names_and_addresses_are_found_without_regard_to_case(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account(username="Carla", email="Carla@example.com")
        await store(uow, account)
        async with uow() as tx:
            assert await tx.accounts.find_by_username(Username("cARLA")) == account
            assert await tx.accounts.find_by_email(EmailAddress("cARLA@example.com")) == account

    async def test_a_found_account_changes_nothing_until_it_is_saved(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account(bio="before")
        await store(uow, account)
        account.bio = "changed after add"
        async with uow() as tx:
            for found in (
                await tx.accounts.get(account.id, lock=True),
                await tx.accounts.find_by_email(account.email),
                await tx.accounts.find_by_username(account.username),
                *await tx.directory.list_accounts(AccountQuery(), limit=5),
            ):
                assert found is not None
                assert found.bio == "before"
                found.bio = "changed, not saved"
            await tx.commit()
        found = await stored(uow, account)
        assert found is not None
        assert found.bio == "before"

    async def test_a_username_is_taken_without_regard_to_case(self, uow: UnitOfWork) -> None:
        await store(uow, an_account(username="carla"))
        with pytest.raises(UsernameTaken):
            await store(uow, an_account(username="CARLA", email="other@example.com"))

    async def test_em_01_an_address_is_taken_without_regard_to_case(self, uow: UnitOfWork) -> None:
        await store(uow, an_account(email="A@example.com"))
        with pytest.raises(EmailTaken):
            await store(uow, an_account(email="a@example.com"))

    async def test_save_refuses_what_is_taken_and_the_transaction_goes_on(
        self, uow: UnitOfWork
    ) -> None:
        first, second = an_account(), an_account()
        await store(uow, first, second)
        async with uow() as tx:
            with pytest.raises(UsernameTaken):
                await tx.accounts.save(replace(second, username=first.username))
            with pytest.raises(EmailTaken):
                await tx.accounts.save(replace(second, email=first.email))
            await tx.accounts.save(replace(second, bio="saved"))
            await tx.commit()
        assert await stored(uow, second) == replace(second, bio="saved")

    async def test_a_name_and_an_address_can_be_saved_in_another_case(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account(username="carla", email="carla@example.com")
        await store(uow, account)
        account.username, account.email = Username("Carla"), EmailAddress("Carla@example.com")
        async with uow() as tx:
            await tx.accounts.save(account)
            await tx.commit()
        assert await stored(uow, account) == account

    async def test_a_refused_add_leaves_earlier_work_standing(self, uow: UnitOfWork) -> None:
        owner, rival, earlier, later = an_account(), an_account(), an_account(), an_account()
        rival.email = owner.email
        await store(uow, owner)
        async with uow() as tx:
            await tx.accounts.add(earlier, NOW)
            with pytest.raises(EmailTaken):
                await tx.accounts.add(rival, NOW)
            await tx.accounts.add(later, NOW)
            await tx.commit()
        assert await stored(uow, earlier) == earlier
        assert await stored(uow, rival) is None
        assert await stored(uow, later) == later

    async def test_a_placeholder_holds_its_username_but_no_address(self, uow: UnitOfWork) -> None:
        owner = an_account()
        placeholder = an_unproven_account(email=owner.email.value, is_placeholder=True)
        another = an_unproven_account(email=owner.email.value, is_placeholder=True)
        await store(uow, placeholder, owner, another)
        async with uow() as tx:
            assert await tx.accounts.find_by_email(owner.email) == owner
            assert await tx.accounts.find_by_username(placeholder.username) == placeholder
            rival = an_account(username=placeholder.username.value.upper())
            with pytest.raises(UsernameTaken):
                await tx.accounts.add(rival, NOW)

    async def test_an_address_that_only_placeholders_ask_for_has_no_owner(
        self, uow: UnitOfWork
    ) -> None:
        placeholder = an_unproven_account(is_placeholder=True)
        await store(uow, placeholder)
        async with uow() as tx:
            assert await tx.accounts.find_by_email(placeholder.email) is None

    async def test_the_latest_to_ask_for_an_address_without_proof_is_found(
        self, uow: UnitOfWork
    ) -> None:
        email = "carla@example.com"
        expired = an_unproven_account(
            email=email, is_placeholder=True, created_at=NOW - 9 * DAY, expires_at=NOW
        )
        younger = an_unproven_account(email=email, is_placeholder=True, created_at=NOW)
        older = an_unproven_account(
            email="Carla@example.com", is_placeholder=True, created_at=NOW - SECOND
        )
        proven = an_account(email=email, created_at=NOW - 20 * DAY)
        await store(uow, younger, older, proven)
        async with uow() as tx:
            await tx.accounts.add(expired, expired.created_at)
            assert await tx.accounts.find_unproven(EmailAddress(email), NOW) == younger
            # Corrected since: asking for the address is what counts, not being made.
            older.updated_at = NOW + SECOND
            await tx.accounts.save(older)
            assert await tx.accounts.find_unproven(EmailAddress(email), NOW) == older

    async def test_an_owner_without_proof_is_found_like_a_placeholder(
        self, uow: UnitOfWork
    ) -> None:
        expiring = an_unproven_account()
        lasting = an_account(email_verified=False)
        await store(uow, expiring, lasting)
        async with uow() as tx:
            assert await tx.accounts.find_unproven(expiring.email, NOW) == expiring
            assert await tx.accounts.find_unproven(lasting.email, NOW) == lasting

    async def test_expired_holders_of_name_and_address_give_way(self, uow: UnitOfWork) -> None:
        by_name = an_unproven_account(username="wanted", email="other@example.com", expires_at=NOW)
        by_email = an_unproven_account(email="wanted@example.com", expires_at=NOW)
        async with uow() as tx:
            for expired in (by_name, by_email):
                await tx.accounts.add(expired, NOW - DAY)
                await tx.tokens.add(a_token(expired))
                await tx.sessions.add(a_session(expired))
            await tx.commit()
        heir = an_account(username="Wanted", email="Wanted@example.com")
        await store(uow, heir)
        assert await stored(uow, heir) == heir
        assert await stored(uow, by_name) is None
        assert await stored(uow, by_email) is None

    async def test_a_holder_gives_way_at_its_expiry_and_not_before(self, uow: UnitOfWork) -> None:
        holder = an_unproven_account(username="wanted", expires_at=NOW)
        heir = an_account(username="wanted", email="heir@example.com")
        async with uow() as tx:
            await tx.accounts.add(holder, NOW - DAY)
            with pytest.raises(UsernameTaken):
                await tx.accounts.add(heir, NOW - timedelta(microseconds=1))
            await tx.accounts.add(heir, NOW)
            await tx.commit()
        assert await stored(uow, heir) == heir

    async def test_a_hash_is_replaced_only_while_it_is_the_old_one(self, uow: UnitOfWork) -> None:
        account, without = an_account(password_hash="old"), an_account(password_hash=None)
        await store(uow, account, without)
        async with uow() as tx:
            assert not await tx.accounts.replace_hash(account.id, "other", "new")
            assert await tx.accounts.replace_hash(account.id, "old", "new")
            assert not await tx.accounts.replace_hash(account.id, "old", "newer")
            assert not await tx.accounts.replace_hash(without.id, "old", "new")
            assert not await tx.accounts.replace_hash(AccountId(new_id()), "old", "new")
            await tx.commit()
        assert await stored(uow, account) == replace(account, password_hash="new")

    async def test_expired_registrations_are_removed_with_all_they_own(
        self, uow: UnitOfWork
    ) -> None:
        expired = an_unproven_account(expires_at=NOW)
        lasting = an_unproven_account(expires_at=NOW + timedelta(microseconds=1))
        proven, token = an_account(), a_token(expired)
        async with uow() as tx:
            for account in (expired, lasting, proven):
                await tx.accounts.add(account, NOW - DAY)
            await tx.tokens.add(token)
            await tx.sessions.add(a_session(expired))
            assert await tx.accounts.remove_expired(NOW, 10) == 1
            await tx.commit()
        assert await stored(uow, expired) is None
        assert await stored(uow, lasting) == lasting
        assert await stored(uow, proven) == proven
        async with uow() as tx:
            assert await tx.tokens.find(token.digest, {Purpose.VERIFY_EMAIL}, NOW) is None
            assert not await tx.sessions.list_live(expired.id, NOW)

    async def test_expired_registrations_are_removed_in_batches(self, uow: UnitOfWork) -> None:
        async with uow() as tx:
            for _ in range(5):
                await tx.accounts.add(an_unproven_account(expires_at=NOW), NOW - DAY)
            removed = [await tx.accounts.remove_expired(NOW, 2) for _ in range(4)]
        assert removed == [2, 2, 1, 0]


class AccountRacesContract:
    async def test_one_of_many_gets_the_username_and_the_losers_go_on(
        self, uow: UnitOfWork
    ) -> None:
        async def register(number: int) -> bool:
            account = an_account(username="wanted", email=f"{number}@example.com")
            async with uow() as tx:
                try:
                    await tx.accounts.add(account, NOW)
                except UsernameTaken:
                    account.username = Username(f"wanted-{number}")
                    await tx.accounts.add(account, NOW)
                await tx.commit()
            found = await stored(uow, account)
            assert found == account
            return account.username.value == "wanted"

        won = await asyncio.gather(*(register(number) for number in range(10)))
        assert sum(won) == 1

    async def test_em_01_one_of_many_gets_the_address_and_the_losers_go_on(
        self, uow: UnitOfWork
    ) -> None:
        async def register(number: int) -> bool:
            email = "a@example.com" if number % 2 else "A@example.com"
            account = an_unproven_account(email=email)
            async with uow() as tx:
                try:
                    await tx.accounts.add(account, NOW)
                except EmailTaken:
                    account.is_placeholder = True
                    await tx.accounts.add(account, NOW)
                await tx.commit()
            assert await stored(uow, account) == account
            return not account.is_placeholder

        won = await asyncio.gather(*(register(number) for number in range(10)))
        assert sum(won) == 1

    async def test_one_of_many_takes_over_from_an_expired_holder(self, uow: UnitOfWork) -> None:
        async with uow() as tx:
            expired = an_unproven_account(username="wanted", expires_at=NOW)
            await tx.accounts.add(expired, NOW - DAY)
            await tx.commit()

        async def register(number: int) -> bool:
            try:
                await store(uow, an_account(username="wanted", email=f"{number}@example.com"))
            except UsernameTaken:
                return False
            return True

        won = await asyncio.gather(*(register(number) for number in range(10)))
        assert sum(won) == 1

    async def test_one_of_many_gets_a_name_by_saving(self, uow: UnitOfWork) -> None:
        accounts = [an_account() for _ in range(8)]
        await store(uow, *accounts)

        async def rename(account: Account) -> bool:
            async with uow() as tx:
                try:
                    await tx.accounts.save(replace(account, username=Username("wanted")))
                except UsernameTaken:
                    return False
                await tx.commit()
            return True

        assert sum(await asyncio.gather(*map(rename, accounts))) == 1

    async def test_five_writers_under_lock_lose_no_update(self, uow: UnitOfWork) -> None:
        account = an_account(bio="0")
        await store(uow, account)

        async def count_up() -> None:
            async with uow() as tx:
                current = await tx.accounts.get(account.id, lock=True)
                assert current is not None
                await asyncio.sleep(0)
                current.bio = str(int(current.bio or "") + 1)
                await tx.accounts.save(current)
                await tx.commit()

        await asyncio.gather(*(count_up() for _ in range(5)))
        found = await stored(uow, account)
        assert found is not None
        assert found.bio == "5"

    async def test_one_of_many_replaces_a_hash(self, uow: UnitOfWork) -> None:
        account = an_account(password_hash="old")
        await store(uow, account)

        async def upgrade(number: int) -> bool:
            async with uow() as tx:
                replaced = await tx.accounts.replace_hash(account.id, "old", f"new {number}")
                await tx.commit()
            return replaced

        assert sum(await asyncio.gather(*map(upgrade, range(8)))) == 1
