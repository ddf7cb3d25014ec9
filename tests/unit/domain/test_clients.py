from dataclasses import replace
from datetime import timedelta

import pytest

from gatepost.domain.clients import (
    Client,
    ClientSecret,
    ClientStatus,
    for_clients,
    parse_name,
)
from gatepost.domain.errors import InvalidScope, NotFound, ValidationFailed
from gatepost.domain.tokens import narrowed
from gatepost.testing.builders import DAY, NOW, SECOND, a_client, a_client_secret, new_id

TICK = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


def codes(refused: pytest.ExceptionInfo[ValidationFailed]) -> list[tuple[str, str]]:
    return [(error.field, error.code) for error in refused.value.errors]


def a_secret(text: str = "a secret", *, lives: timedelta | None = None) -> ClientSecret:
    return ClientSecret.issue(new_id(), text, NOW, NOW + lives if lives else None)


def a_client_with(*secrets: ClientSecret) -> Client:
    return replace(a_client(), secrets=secrets)


@pytest.mark.parametrize("name", ["a", "Nightly report", "x" * 100, "Zoë"])
def test_a_name_is_a_line_of_text(name: str) -> None:
    assert parse_name(name) == name


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", "\0", "\u202e"])
def test_a_name_that_could_pass_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        parse_name(name)
    assert codes(refused) == [("name", "invalid_name")]


def test_scopes_are_sorted_and_stand_there_once() -> None:
    assert for_clients(["users:read", "audit:read", "users:read"]) == ("audit:read", "users:read")
    assert for_clients([]) == ()


@pytest.mark.parametrize("scope", ["account:read", "account:write"])
def test_a_client_cannot_hold_the_scopes_of_an_own_account(scope: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        for_clients(["users:read", scope])
    assert codes(refused) == [("scopes", "not_for_clients")]


def test_a_secret_is_stored_hashed_and_matches_only_itself() -> None:
    secret = a_secret("shown once")
    assert b"shown once" not in secret.digest
    assert "digest" not in repr(secret)
    client = a_client_with(a_secret("another"), secret)
    assert client.secret_matching("shown once", NOW) == secret
    for wrong in ("", "shown", "shown once ", "SHOWN ONCE", "\ud800"):
        assert client.secret_matching(wrong, NOW) is None


def test_a_secret_opens_nothing_from_its_expiry_on() -> None:
    client = a_client_with(a_secret(lives=DAY))
    assert client.secret_matching("a secret", NOW + DAY - TICK)
    assert client.secret_matching("a secret", NOW + DAY) is None


def test_a_disabled_client_has_no_good_secret() -> None:
    client = replace(a_client_with(a_secret()), status=ClientStatus.DISABLED)
    assert client.secret_matching("a secret", NOW) is None


@pytest.mark.parametrize("expires_at", [NOW, NOW - SECOND])
def test_a_secret_cannot_begin_expired(expires_at: object) -> None:
    with pytest.raises(ValidationFailed) as refused:
        ClientSecret.issue(new_id(), "a secret", NOW, expires_at)  # type: ignore[arg-type]
    assert codes(refused) == [("expires_at", "in_the_past")]


def test_uses_are_noted_once_an_hour() -> None:
    secret = a_secret()
    assert secret.needs_note(NOW)
    used = replace(secret, last_used_at=NOW)
    assert not used.needs_note(NOW + HOUR - TICK)
    assert used.needs_note(NOW + HOUR)


def test_two_secrets_are_valid_at_a_time() -> None:
    first, second, third = a_secret("1"), a_secret("2", lives=DAY), a_secret("3")
    client = a_client().add_secret(first, NOW).add_secret(second, NOW)
    assert client.secrets == (first, second)
    with pytest.raises(ValidationFailed) as refused:
        client.add_secret(third, NOW)
    assert codes(refused) == [("secrets", "too_many")]
    # The second expires and makes room.
    assert client.add_secret(third, NOW + DAY).secrets == (first, third)


def test_a_secret_is_removed_by_its_id() -> None:
    first, second = a_client_secret(), a_client_secret()
    assert a_client_with(first, second).remove_secret(first.id, NOW).secrets == (second,)
    with pytest.raises(NotFound):
        a_client_with(first).remove_secret(second.id, NOW)


def test_every_change_moves_the_version_even_when_the_clock_stands() -> None:
    client = a_client()
    changed = client.touch(NOW)
    assert changed.updated_at == NOW + TICK
    assert changed.touch(NOW + DAY).updated_at == NOW + DAY


@pytest.mark.parametrize("asked", [None, "", "  "])
def test_none_asked_for_is_all_that_is_held(asked: str | None) -> None:
    assert narrowed(("a", "b"), asked) == ("a", "b")
    assert narrowed((), asked) == ()


def test_oa_12_scopes_narrow_and_never_widen() -> None:
    assert narrowed(("a", "b", "c"), "c a a") == ("a", "c")
    for wider in ("d", "a d", "A", "a,b", "a\u00a0b"[:1] + "b"):
        with pytest.raises(InvalidScope):
            narrowed(("a", "b", "c"), wider)
