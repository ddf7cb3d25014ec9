from dataclasses import replace

import pytest

from gatepost.adapters.memory import ManualClock, MemoryCipher
from gatepost.adapters.system import SystemSecrets
from gatepost.application.devices import DEVICE_TTL, Devices
from gatepost.application.ports.security import SealPurpose
from gatepost.testing.builders import SECOND, a_clock, an_account


@pytest.fixture
def clock() -> ManualClock:
    return a_clock()


@pytest.fixture
def devices(clock: ManualClock) -> Devices:
    return Devices(MemoryCipher(), SystemSecrets(), clock)


def test_a_browser_is_known_for_a_year(devices: Devices, clock: ManualClock) -> None:
    account = an_account()
    cookie = devices.remember(account)
    subject = devices.recognise(cookie, [None, account])
    assert subject
    clock.advance(DEVICE_TTL - SECOND)
    assert devices.recognise(cookie, [account]) == subject
    clock.advance(SECOND)
    assert devices.recognise(cookie, [account]) is None


def test_each_sign_in_makes_another_budget(devices: Devices) -> None:
    account = an_account()
    first, second = [devices.recognise(devices.remember(account), [account]) for _ in range(2)]
    assert first != second


def test_it_is_worth_nothing_for_another_account(devices: Devices) -> None:
    cookie = devices.remember(an_account())
    assert devices.recognise(cookie, [None, an_account()]) is None
    assert devices.recognise(cookie, []) is None


def test_a_change_of_the_password_ends_it(devices: Devices) -> None:
    account = an_account()
    cookie = devices.remember(account)
    assert devices.recognise(cookie, [replace(account, password_hash="other")]) is None
    assert devices.recognise(cookie, [replace(account, password_hash=None)]) is None


@pytest.mark.parametrize("cookie", [None, "", "x", "\u00e9", "A" * 200, "====", "!!!!"])
def test_what_was_not_sealed_here_is_worth_nothing(devices: Devices, cookie: str | None) -> None:
    assert devices.recognise(cookie, [an_account()]) is None


def test_the_cookie_shows_no_id(devices: Devices) -> None:
    account = an_account()
    cookie = devices.remember(account)
    assert account.id.hex not in cookie
    assert SealPurpose.DEVICE in SealPurpose
    assert cookie.isascii()
    assert len(cookie) < 300
