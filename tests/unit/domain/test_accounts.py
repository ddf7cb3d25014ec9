from dataclasses import replace
from datetime import timedelta

import pytest

from gatepost.domain.accounts import (
    AccountPolicy,
    AccountStatus,
    Username,
    parse_bio,
    parse_locale,
)
from gatepost.domain.addresses import EmailAddress
from gatepost.domain.errors import ValidationFailed
from gatepost.testing.builders import DAY, NOW, an_account, an_unproven_account

TICK = timedelta(microseconds=1)
LATER = NOW + DAY


@pytest.mark.parametrize("text", ["abc", "A.b_c-9", "0ab", "a" * 50])
def test_a_username_is_kept_as_typed_and_compared_without_case(text: str) -> None:
    assert Username.parse(text).value == text
    assert Username.parse(text).key == text.lower()


@pytest.mark.parametrize(
    "text", ["", "ab", "a" * 51, ".abc", "-abc", "_abc", "a b", "a@b", "abc\n", "Zoë", "a\0bc"]
)
def test_anything_else_is_no_username(text: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        Username.parse(text, "name")
    [error] = refused.value.errors
    assert (error.field, error.code) == ("name", "invalid_username")


def test_a_bio_may_be_empty_and_is_bounded() -> None:
    assert parse_bio(None) is None
    assert parse_bio("") is None
    assert parse_bio("ü" * 500) == "ü" * 500
    with pytest.raises(ValidationFailed) as refused:
        parse_bio("x" * 501)
    assert refused.value.errors[0].code == "too_long"


@pytest.mark.parametrize("text", ["en", "de-CH", "zh-Hant-TW", "sl-rozaj-biske-1994"])
def test_a_language_tag_is_a_locale(text: str) -> None:
    assert parse_locale(text) == text


@pytest.mark.parametrize("text", ["", "e", "en_US", "en-", "../en", "en\n", "de-" + "x" * 9])
def test_anything_else_is_no_locale(text: str) -> None:
    with pytest.raises(ValidationFailed):
        parse_locale(text)


def test_an_account_expires_at_its_time_and_one_without_never() -> None:
    account = an_unproven_account(expires_at=LATER)
    assert not account.has_expired(LATER - TICK)
    assert account.has_expired(LATER)
    assert not an_account().has_expired(NOW + 9999 * DAY)


def test_only_an_active_account_that_has_not_expired_is_usable() -> None:
    assert an_account().is_usable(NOW)
    assert not an_account(status=AccountStatus.SUSPENDED).is_usable(NOW)
    assert not an_unproven_account(expires_at=NOW).is_usable(NOW)


def test_an_owner_is_told_once_an_interval() -> None:
    account, policy = an_account(), AccountPolicy(notice_interval=DAY)
    assert account.may_be_told_again(NOW, policy)
    account.notified_at = NOW
    assert not account.may_be_told_again(LATER - TICK, policy)
    assert account.may_be_told_again(LATER, policy)


@pytest.mark.parametrize("taken", [False, True])
def test_a_corrected_address_makes_an_owner_or_a_placeholder(taken: bool) -> None:
    account = an_unproven_account(is_placeholder=not taken)
    account.notified_at = NOW
    email = EmailAddress("right@example.com")
    account.correct_address(email, taken=taken, now=LATER)
    assert account.email == email
    assert account.is_placeholder is taken
    assert account.notified_at == LATER
    assert account.updated_at == LATER


def test_a_proven_address_lets_the_account_stay() -> None:
    account = an_unproven_account()
    account.notified_at = NOW
    account.prove_address(LATER)
    assert account.email_verified
    assert account.expires_at is None
    assert account.may_be_told_again(LATER, AccountPolicy())
    assert account.updated_at == LATER


def test_recovery_of_a_proven_account_sets_the_password_alone() -> None:
    account = an_account(bio="mine", roles=("admin",))
    account.recover("new hash", LATER)
    assert account.password_hash == "new hash"
    assert (account.bio, account.roles) == ("mine", ("admin",))
    assert account.updated_at == LATER


def test_recovery_of_an_unproven_account_drops_what_a_stranger_may_have_set() -> None:
    account = replace(an_unproven_account(), bio="planted", roles=("admin",))
    account.recover("new hash", LATER)
    assert account.password_hash == "new hash"
    assert account.bio is None
    assert account.roles == ()
    assert account.email_verified
    assert account.expires_at is None


def test_recovery_leaves_what_an_administrator_set_before_the_address_was_proven() -> None:
    account = an_account(email_verified=False, bio="from the file", roles=("auditor",))
    account.recover("new hash", LATER)
    assert (account.bio, account.roles, account.email_verified) == (
        "from the file",
        ("auditor",),
        True,
    )


def test_an_initial_password_expires_at_its_time_and_another_never() -> None:
    account = an_account()
    assert not account.has_password_expired(NOW + 9999 * DAY)
    account.password_expires_at = LATER
    assert not account.has_password_expired(LATER - TICK)
    assert account.has_password_expired(LATER)
    account.set_password("own hash", LATER)
    assert not account.has_password_expired(LATER)


def test_a_changed_address_is_a_proven_one() -> None:
    account, email = an_account(email_verified=False), EmailAddress("new@example.com")
    account.change_address(email, LATER)
    assert (account.email, account.email_verified, account.updated_at) == (email, True, LATER)
    assert account.password_hash


def test_an_address_that_is_taken_back_voids_the_password() -> None:
    account, email = an_account(), EmailAddress("old@example.com")
    account.password_expires_at = LATER
    account.take_back_address(email, LATER)
    assert (account.email, account.email_verified) == (email, True)
    assert account.password_hash is None
    assert not account.has_password_expired(LATER)
    assert account.is_usable(LATER)


def test_nobody_gets_into_a_locked_account() -> None:
    account = an_account()
    account.lock_out(LATER)
    assert account.password_hash is None
    assert not account.is_usable(LATER)


def test_an_address_that_is_given_up_leaves_a_placeholder() -> None:
    account = an_unproven_account()
    expires_at = account.expires_at
    account.give_up_address(LATER)
    assert account.is_placeholder
    assert (account.expires_at, account.updated_at) == (expires_at, LATER)


def test_az_07_of_an_erased_account_the_username_is_left_for_90_days() -> None:
    account = an_account(bio="Counts.", roles=("admin",))
    account.locale, account.notified_at, account.password_expires_at = "de", NOW, LATER
    account.erase(LATER)
    until = LATER + 90 * DAY
    assert account == replace(
        an_account(email_verified=False, is_placeholder=True, password_hash=None),
        id=account.id,
        username=account.username,
        email=EmailAddress(""),
        status=AccountStatus.SUSPENDED,
        updated_at=account.updated_at,
        expires_at=until,
    )
    assert not account.has_expired(until - TICK)
    assert account.has_expired(until)
    with pytest.raises(ValidationFailed):
        EmailAddress.parse(account.email.value)


def test_a_password_hash_does_not_show_in_a_log() -> None:
    assert "secret hash" not in repr(an_account(password_hash="secret hash"))


def test_every_change_makes_a_later_version() -> None:
    account = an_account()
    seen = [account.updated_at]
    for now in (NOW, NOW - DAY, NOW + DAY):
        account.touch(now)
        seen.append(account.updated_at)
    assert seen == sorted(set(seen))
    assert seen[-1] == NOW + DAY


def test_an_address_that_somebody_else_chose_is_unproven() -> None:
    account = an_account(email="ada@example.com")
    account.assign_address(EmailAddress("ada@example.org"))
    assert (account.email.value, account.email_verified) == ("ada@example.org", False)
