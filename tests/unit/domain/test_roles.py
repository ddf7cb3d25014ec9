import pytest

from gatepost.domain.accounts import Account, AccountStatus
from gatepost.domain.errors import InsufficientScope, Unauthenticated, ValidationFailed
from gatepost.domain.roles import (
    ADMIN,
    USER,
    Principal,
    Role,
    Scope,
    built_in_roles,
    is_lasting_admin,
    names_of_own,
    parse_role_name,
    parse_scopes,
    roles_held,
    scopes_of,
)
from gatepost.testing.builders import NOW, an_account


def test_everybody_holds_the_role_user() -> None:
    assert roles_held(()) == (USER,)
    assert roles_held((ADMIN, USER)) == (ADMIN, USER)
    assert scopes_of(()) == (Scope.ACCOUNT_READ, Scope.ACCOUNT_WRITE)


def test_an_administrator_holds_every_scope() -> None:
    assert scopes_of((ADMIN,)) == tuple(sorted(Scope))


def test_an_unknown_role_gives_nothing_more() -> None:
    assert scopes_of(("nonsense",)) == scopes_of(())


def test_a_caller_is_refused_what_his_token_does_not_say() -> None:
    caller = Principal(account=an_account(), session_id=None, scopes=frozenset({"account:read"}))
    caller.require(Scope.ACCOUNT_READ)
    with pytest.raises(InsufficientScope) as refused:
        caller.require(Scope.USERS_READ)
    assert refused.value.scope == "users:read"
    assert "users:read" in refused.value.detail


def test_a_caller_has_his_own_account() -> None:
    account = an_account()
    caller = Principal(account=account, session_id=None, scopes=frozenset())
    assert caller.own_account is account
    assert caller.account_id == account.id


def test_an_operator_may_do_everything_but_has_no_account() -> None:
    operator = Principal.operator()
    for scope in Scope:
        operator.require(scope)
    assert operator.account_id is None
    with pytest.raises(Unauthenticated):
        _ = operator.own_account


def test_scopes_of_own_roles_unite_with_the_built_in_ones() -> None:
    own = [Role(name="support", scopes=frozenset({Scope.USERS_READ}))]
    assert scopes_of(("support", "gone"), own) == ("account:read", "account:write", "users:read")
    assert scopes_of((), own) == scopes_of(())


def test_no_role_can_take_the_place_of_a_built_in_one() -> None:
    assert names_of_own((ADMIN, "support", USER, "auditor")) == ["auditor", "support"]
    assert all(role.is_built_in for role in built_in_roles())
    assert not Role(name="support", scopes=frozenset()).is_built_in


@pytest.mark.parametrize("name", ["a", "support", "a1_-b", "a" * 50])
def test_names_of_roles(name: str) -> None:
    assert parse_role_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "_a", "1a", "a b", "a.b", "a" * 51, "a\n", "ä"])
def test_what_is_no_name_of_a_role(name: str) -> None:
    with pytest.raises(ValidationFailed):
        parse_role_name(name)


def test_scopes_are_known_ones() -> None:
    assert parse_scopes(["users:read", "users:read"]) == {Scope.USERS_READ}
    with pytest.raises(ValidationFailed):
        parse_scopes(["users:*"])


def test_what_everybody_has_is_beyond_nobody() -> None:
    caller = Principal(account=None, session_id=None, scopes=frozenset({"users:read"}))
    assert caller.holds([Scope.USERS_READ, Scope.ACCOUNT_READ, Scope.ACCOUNT_WRITE])
    assert not caller.holds([Scope.USERS_READ, Scope.USERS_WRITE])


@pytest.mark.parametrize(
    ("account", "lasting"),
    [
        (an_account(roles=(ADMIN,)), True),
        (an_account(), False),
        (an_account(roles=(ADMIN,), status=AccountStatus.SUSPENDED), False),
        (an_account(roles=(ADMIN,), expires_at=NOW), False),
    ],
)
def test_who_lets_others_in_for_good(account: Account, lasting: bool) -> None:
    assert is_lasting_admin(account) is lasting
