"""One suite for every way to reach Gatepost.

A test file collects it under a fixture `driver` of its own:

    from tests.behaviour.suite import Behaviour as TestBehaviour
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from .driver import ADMIN, PASSWORD, Driver, Refused, Tokens

NEW_PASSWORD = "an even quieter sea of words"


def a_name() -> str:
    return f"ada-{uuid4().hex[:12]}"


def address_of(name: str) -> str:
    return f"{name}@example.com"


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.code == code


async def register(driver: Driver, name: str) -> None:
    await driver.register(username=name, email=address_of(name), password=PASSWORD)


async def a_verified_account(driver: Driver) -> str:
    name = a_name()
    await register(driver, name)
    token = await driver.mailed_token(address_of(name))
    await driver.verify_email(token=token, password=PASSWORD)
    return name


async def a_session(driver: Driver) -> tuple[str, Tokens]:
    name = await a_verified_account(driver)
    return name, await driver.log_in(login=name, password=PASSWORD)


class Behaviour:
    async def test_who_proves_the_address_can_sign_in(self, driver: Driver) -> None:
        name = a_name()
        await register(driver, name)
        with refused("email_not_verified"):
            await driver.log_in(login=name, password=PASSWORD)
        token = await driver.mailed_token(address_of(name))
        account = await driver.verify_email(token=token, password=PASSWORD)
        assert (account.username, account.email_verified) == (name, True)
        tokens = await driver.log_in(login=address_of(name), password=PASSWORD)
        assert await driver.me(access_token=tokens.access_token) == account
        assert tokens.scopes == {"account:read", "account:write"}

    async def test_a_mailed_link_is_good_once_and_for_who_registered(self, driver: Driver) -> None:
        name = a_name()
        await register(driver, name)
        token = await driver.mailed_token(address_of(name))
        with refused("wrong_password"):
            await driver.verify_email(token=token, password=NEW_PASSWORD)
        await driver.verify_email(token=token, password=PASSWORD)
        with refused("token_invalid"):
            await driver.verify_email(token=token, password=PASSWORD)

    async def test_a_known_address_is_not_told_and_a_taken_username_is(
        self, driver: Driver
    ) -> None:
        name = await a_verified_account(driver)
        await driver.register(username=a_name(), email=address_of(name), password=PASSWORD)
        with refused("username_taken"):
            await driver.register(username=name, email=address_of(a_name()), password=PASSWORD)

    async def test_bad_input_is_refused_as_such(self, driver: Driver) -> None:
        with refused("validation_failed"):
            await driver.register(username="?", email="nowhere", password="short")

    async def test_wrong_and_unknown_logins_look_alike(self, driver: Driver) -> None:
        name = await a_verified_account(driver)
        for login in (name, address_of(name), a_name(), address_of(a_name())):
            with refused("invalid_credentials"):
                await driver.log_in(login=login, password=NEW_PASSWORD)

    async def test_a_refreshed_session_goes_on(self, driver: Driver) -> None:
        _, first = await a_session(driver)
        second = await driver.refresh(refresh_token=first.refresh_token)
        assert second.session_id == first.session_id
        assert second.refresh_token != first.refresh_token
        await driver.me(access_token=second.access_token)

    async def test_a_reused_refresh_token_ends_the_session(self, driver: Driver) -> None:
        _, first = await a_session(driver)
        second = await driver.refresh(refresh_token=first.refresh_token)
        third = await driver.refresh(refresh_token=second.refresh_token)
        with refused("invalid_grant"):
            await driver.refresh(refresh_token=first.refresh_token)
        with refused("invalid_grant"):
            await driver.refresh(refresh_token=third.refresh_token)
        with refused("access_token_invalid"):
            await driver.me(access_token=third.access_token)

    async def test_signing_out_is_felt_at_once(self, driver: Driver) -> None:
        _, tokens = await a_session(driver)
        await driver.log_out(access_token=tokens.access_token)
        with refused("access_token_invalid"):
            await driver.me(access_token=tokens.access_token)
        with refused("invalid_grant"):
            await driver.refresh(refresh_token=tokens.refresh_token)
        await driver.log_out(access_token=tokens.access_token)

    async def test_a_forged_token_opens_nothing(self, driver: Driver) -> None:
        with refused("access_token_invalid"):
            await driver.me(access_token="e30.e30.e30")

    async def test_a_new_password_ends_the_other_sessions(self, driver: Driver) -> None:
        name, here = await a_session(driver)
        there = await driver.log_in(login=name, password=PASSWORD)
        with refused("wrong_password"):
            await driver.change_password(
                access_token=here.access_token,
                current_password=NEW_PASSWORD,
                new_password=NEW_PASSWORD,
            )
        await driver.change_password(
            access_token=here.access_token, current_password=PASSWORD, new_password=NEW_PASSWORD
        )
        await driver.me(access_token=here.access_token)
        with refused("access_token_invalid"):
            await driver.me(access_token=there.access_token)
        with refused("invalid_credentials"):
            await driver.log_in(login=name, password=PASSWORD)
        await driver.log_in(login=name, password=NEW_PASSWORD)

    async def test_a_forgotten_password_is_replaced_by_mail(self, driver: Driver) -> None:
        name, before = await a_session(driver)
        await driver.request_reset(email=address_of(a_name()))
        await driver.request_reset(email=address_of(name))
        token = await driver.mailed_token(address_of(name), 2)
        await driver.reset_password(token=token, new_password=NEW_PASSWORD)
        with refused("access_token_invalid"):
            await driver.me(access_token=before.access_token)
        await driver.log_in(login=name, password=NEW_PASSWORD)

    async def test_own_sessions_are_listed_and_ended(self, driver: Driver) -> None:
        name, here = await a_session(driver)
        there = await driver.log_in(login=name, password=PASSWORD, device_name="a telephone")
        elsewhere = await driver.log_in(login=name, password=PASSWORD)
        found = await driver.list_sessions(access_token=here.access_token)
        assert {each.id: (each.device_name, each.is_current) for each in found} == {
            here.session_id: (None, True),
            there.session_id: ("a telephone", False),
            elsewhere.session_id: (None, False),
        }
        await driver.end_session(access_token=here.access_token, session_id=there.session_id)
        with refused("access_token_invalid"):
            await driver.me(access_token=there.access_token)
        await driver.end_other_sessions(access_token=here.access_token)
        left = await driver.list_sessions(access_token=here.access_token)
        assert [each.id for each in left] == [here.session_id]

    async def test_nobody_ends_the_session_of_another(self, driver: Driver) -> None:
        _, mine = await a_session(driver)
        _, yours = await a_session(driver)
        with refused("not_found"):
            await driver.end_session(access_token=mine.access_token, session_id=yours.session_id)
        await driver.me(access_token=yours.access_token)

    async def test_accounts_are_listed_to_administrators_alone(self, driver: Driver) -> None:
        _, user = await a_session(driver)
        with refused("insufficient_scope"):
            await driver.list_accounts(access_token=user.access_token)
        admin = await driver.log_in(login=ADMIN, password=PASSWORD)
        assert "users:read" in admin.scopes
        found = await driver.list_accounts(access_token=admin.access_token)
        assert {"admin"} <= {role for each in found for role in each.roles}
