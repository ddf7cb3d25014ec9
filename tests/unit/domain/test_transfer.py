from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gatepost.domain.accounts import AccountId, AccountStatus
from gatepost.domain.errors import ValidationFailed
from gatepost.domain.transfer import AccountRecord, to_record
from gatepost.testing.builders import DAY, NOW, an_account, new_id

LEAST = {"username": "ada", "email": "Ada@Example.com"}


def faults_of(value: object) -> list[tuple[str, str]]:
    with pytest.raises(ValidationFailed) as refused:
        AccountRecord.parse(value)
    return [(error.field, error.code) for error in refused.value.errors]


def test_a_record_of_name_and_address_is_an_account_made_now() -> None:
    new = AccountId(new_id())
    made = AccountRecord.parse(LEAST).to_account(new, None, NOW)
    assert (made.id, made.username.value, made.email.value) == (new, "ada", "Ada@example.com")
    assert (made.status, made.roles, made.locale) == (AccountStatus.ACTIVE, (), "en")
    assert (made.email_verified, made.expires_at, made.password_hash) == (False, None, None)
    assert (made.created_at, made.updated_at) == (NOW, NOW)


def test_an_account_comes_back_from_its_record_as_it_was() -> None:
    account = replace(
        an_account(
            bio="Zoë",
            roles=("admin", "support"),
            status=AccountStatus.SUSPENDED,
            email_verified=False,
        ),
        locale="de-AT",
        updated_at=NOW + timedelta(microseconds=1),
        expires_at=NOW + DAY,
        password_expires_at=NOW + 2 * DAY,
    )
    record = AccountRecord.parse(to_record(account, "a hash"))
    assert record.password_hash == "a hash"
    assert record.to_account(AccountId(new_id()), account.password_hash, NOW + DAY) == account


def test_who_has_proven_the_address_does_not_expire() -> None:
    expiring = LEAST | {"expires_at": "2027-01-01T00:00:00Z"}
    for is_proven in (True, False):
        record = AccountRecord.parse(expiring | {"email_verified": is_proven})
        made = record.to_account(AccountId(new_id()), None, NOW)
        assert (made.expires_at is None) is is_proven


def test_names_of_fields_that_no_terminal_or_file_takes_are_told_without_that() -> None:
    for name in ("\x1b[2J", "\ud800[2J", "\r[2J"):
        assert faults_of(LEAST | {name: 1}) == [("?[2J", "unknown_field")]


def test_a_password_that_is_not_there_does_not_expire() -> None:
    record = AccountRecord.parse(LEAST | {"password_expires_at": "2027-01-01T00:00:00Z"})
    assert record.to_account(AccountId(new_id()), None, NOW).password_expires_at is None


def test_a_time_without_a_zone_is_of_utc_and_one_with_is_turned() -> None:
    for text, hour in (("2026-03-01T12:00:00", 12), ("2026-03-01T12:00:00+02:00", 10)):
        record = AccountRecord.parse(LEAST | {"created_at": text})
        assert record.created_at == datetime(2026, 3, 1, hour, tzinfo=UTC)


def test_what_django_writes_without_a_password_is_no_hash() -> None:
    assert AccountRecord.parse(LEAST | {"password_hash": "!abc"}).password_hash is None
    shape = {"algorithm": "bcrypt"}
    assert AccountRecord.parse(LEAST | {"password_hash": shape}).password_hash == shape


def test_null_is_as_if_the_field_were_not_there() -> None:
    names = ("id", "bio", "locale", "status", "roles", "created_at", "email_verified")
    assert AccountRecord.parse(LEAST | dict.fromkeys(names)) == AccountRecord.parse(LEAST)


def test_everything_that_is_wrong_with_a_row_is_told_at_once() -> None:
    assert faults_of({"username": "x", "emial": "ada@example.com", "email_verified": "yes"}) == [
        ("emial", "unknown_field"),
        ("username", "invalid_username"),
        ("email", "missing"),
        ("email_verified", "invalid_type"),
    ]


def test_each_field_is_held_to_its_kind() -> None:
    for name, value, code in (
        ("id", "17", "invalid_id"),
        ("id", 17, "invalid_type"),
        ("username", 17, "invalid_type"),
        ("email", "nowhere", "invalid_email"),
        ("bio", "x" * 501, "too_long"),
        ("bio", "\0", "nul_character"),
        ("bio", "\ud800", "invalid_text"),
        ("locale", "?", "invalid_locale"),
        ("status", "erased", "invalid_status"),
        ("roles", "admin", "invalid_type"),
        ("roles", ["x"] * 51, "invalid_type"),
        ("roles", [1], "invalid_type"),
        ("created_at", "yesterday", "invalid_time"),
        ("created_at", "0001-01-01T00:00:00+14:00", "invalid_time"),
        ("updated_at", 1, "invalid_type"),
        ("password_hash", 1, "invalid_type"),
    ):
        assert faults_of(LEAST | {name: value}) == [(name, code)], (name, value)


def test_a_row_that_is_no_object_is_refused() -> None:
    for value in (None, 1, "x", [LEAST]):
        assert faults_of(value) == [("row", "invalid_type")]


def test_no_record_shows_its_hash() -> None:
    assert "$2b$" not in repr(AccountRecord.parse(LEAST | {"password_hash": "$2b$12$x"}))
