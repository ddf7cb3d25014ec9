import pytest

from gatepost.domain.errors import InsufficientScope, Unauthenticated
from gatepost.domain.roles import ADMIN, USER, Principal, Scope, roles_held, scopes_of
from tests.builders import an_account


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
