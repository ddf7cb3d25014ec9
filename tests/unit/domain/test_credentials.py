import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.domain.credentials import (
    MAX_PASSWORD_BYTES,
    OneTimeToken,
    PasswordPolicy,
    Purpose,
    common_passwords,
    digest,
    parse_existing,
)
from gatepost.domain.errors import ValidationFailed
from tests.builders import NOW, a_token, an_account

POLICY = PasswordPolicy()


def codes(policy: PasswordPolicy, password: str, *own: str) -> list[str]:
    try:
        policy.parse_new(password, own=own)
    except ValidationFailed as refused:
        return [error.code for error in refused.errors]
    return []


def test_a_fault_names_the_field_that_it_is_about() -> None:
    with pytest.raises(ValidationFailed) as refused:
        POLICY.parse_new("short", own=[], field="new_password")
    assert [error.field for error in refused.value.errors] == ["new_password"]


@pytest.mark.parametrize(("min_length", "length"), [(8, 7), (15, 14)])
def test_pw_01_a_password_has_a_least_length(min_length: int, length: int) -> None:
    policy = PasswordPolicy(min_length=min_length)
    letters = "qzvkxwjypbfmguh"
    assert codes(policy, letters[:length]) == ["too_short"]
    assert codes(policy, letters[: length + 1]) == []


@pytest.mark.parametrize(
    "password",
    ["qzvkxwjypbfmguh", "2718 2818 28459", "\N{SNAIL}\N{SLICE OF PIZZA}" * 4, "съешьещёэтих"],
)
def test_pw_04_there_is_no_rule_of_composition(password: str) -> None:
    assert POLICY.parse_new(password, own=[]) == password


@pytest.mark.parametrize("password", ["password", "PassWord", "iloveyou", "123456789"])
def test_pw_05_a_common_password_is_refused_in_every_case(password: str) -> None:
    assert codes(POLICY, password) == ["too_common"]


def test_pw_05_a_phrase_that_contains_a_common_password_is_a_good_one() -> None:
    assert codes(POLICY, "my password is a long phrase") == []


def test_pw_05_every_listed_password_is_case_folded_and_long_enough_to_matter() -> None:
    listed = common_passwords()
    assert len(listed) > 3000
    assert all(password == password.casefold() for password in listed)


@pytest.mark.parametrize("password", ["carla.b-1", "CARLA.B-1", "Carla@Example.org"])
def test_own_identifiers_are_refused(password: str) -> None:
    own = ("Carla.B-1", "carla@example.org")
    assert codes(POLICY, password, *own) == ["too_obvious"]
    assert codes(POLICY, f"{password} and more", *own) == []


def test_the_name_of_the_service_is_refused() -> None:
    policy = PasswordPolicy(service_name="Nebelhorn Nord")
    assert codes(policy, "nebelhorn nord") == ["too_obvious"]


def test_all_faults_are_told_at_once() -> None:
    assert codes(POLICY, "carla", "carla") == ["too_short", "too_obvious"]
    assert codes(POLICY, "iloveyou", "ILoveYou") == ["too_common", "too_obvious"]


@pytest.mark.parametrize("password", ["  spaced out  ", "\ttab and line\n", " " * 9])
def test_pw_08_nothing_is_trimmed(password: str) -> None:
    assert POLICY.parse_new(password, own=[]) == password
    assert parse_existing(password) == password


def test_pw_10_a_huge_password_is_refused_unread() -> None:
    def seconds(password: str) -> float:
        started = time.perf_counter()
        assert codes(POLICY, password) == ["too_long"]
        return time.perf_counter() - started

    long, huge = (min(seconds("x" * size) for _ in range(20)) for size in (2_000, 1_000_000))
    assert huge < 100 * long, "of 500 times the size"


@pytest.mark.parametrize(("character", "size"), [("x", 1), ("ü", 2), ("\N{SNAIL}", 4)])
def test_pw_10_the_bound_counts_bytes(character: str, size: int) -> None:
    longest = character * (MAX_PASSWORD_BYTES // size)
    assert parse_existing(longest) == longest
    with pytest.raises(ValidationFailed) as refused:
        parse_existing(longest + character, "current_password")
    [error] = refused.value.errors
    assert (error.field, error.code) == ("current_password", "too_long")


@pytest.mark.parametrize(
    ("password", "code"),
    [("nul \0 within", "nul_character"), ("half a pair \ud800", "invalid_text")],
)
def test_what_no_hash_takes_is_refused(password: str, code: str) -> None:
    assert codes(POLICY, password) == [code]


def test_two_ways_to_type_one_password_are_the_same() -> None:
    composed = "naïve café"
    decomposed = "nai\N{COMBINING DIAERESIS}ve cafe\N{COMBINING ACUTE ACCENT}"
    assert parse_existing(decomposed) == composed
    assert POLICY.parse_new(decomposed, own=[]) == composed


@given(st.text(max_size=60))
def test_what_may_be_set_can_be_used(password: str) -> None:
    try:
        stored = POLICY.parse_new(password, own=[])
    except ValidationFailed:
        return
    assert parse_existing(password) == parse_existing(stored) == stored


def test_a_digest_takes_any_text_and_is_not_the_text() -> None:
    assert len({digest("a"), digest("b"), digest("\ud800")}) == 3
    assert len(digest("a")) == 32


@pytest.mark.parametrize(
    ("purpose", "lifetime"),
    [
        (Purpose.VERIFY_EMAIL, timedelta(hours=24)),
        (Purpose.RESET_PASSWORD, timedelta(minutes=30)),
    ],
)
def test_a_token_is_bound_to_purpose_account_address_and_time(
    purpose: Purpose, lifetime: timedelta
) -> None:
    account = an_account()
    assert a_token(account, secret="secret", purpose=purpose) == OneTimeToken(
        digest=digest("secret"),
        purpose=purpose,
        account_id=account.id,
        email=account.email.key,
        created_at=NOW,
        expires_at=NOW + lifetime,
    )
