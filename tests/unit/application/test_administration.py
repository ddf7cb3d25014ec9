from dataclasses import replace
from typing import Any

import pytest

from gatepost.application.ports.directory import AccountSort
from gatepost.domain.accounts import Account, AccountId, AccountStatus
from gatepost.domain.audit import AuditType
from gatepost.domain.errors import (
    EmailTaken,
    InsufficientScope,
    NotFound,
    UsernameTaken,
    ValidationFailed,
)
from gatepost.domain.roles import ADMIN, USER, Principal, Scope
from gatepost.testing.builders import new_id
from tests.unit.application.service import CLIENT, PASSWORD, SECOND, Service

OPERATOR = Principal.operator()


async def created(
    service: Service,
    username: str = "root",
    email: str = "root@example.com",
    password: str = PASSWORD,
    actor: Principal = OPERATOR,
) -> Account:
    return await service.gatepost.administration.create_administrator(
        actor=actor, username=username, email=email, password=password, client=CLIENT
    )


async def listed(service: Service, **wanted: Any) -> list[str]:
    page = await service.gatepost.administration.list_accounts(actor=OPERATOR, **wanted)
    return [account.username.value for account in page.items]


async def test_the_operator_makes_an_administrator_who_can_sign_in(service: Service) -> None:
    account = await created(service)
    assert account == service.account("root")
    assert account.email_verified
    signed_in = await service.log_in("root")
    assert set(signed_in.scope.split()) == set(Scope)


async def test_az_09_it_is_audited_who_made_an_administrator(service: Service) -> None:
    await created(service)
    assert (service.last_entry().type, service.last_entry().actor) == (
        AuditType.ACCOUNT_CREATED,
        None,
    )
    first = await service.caller(await service.log_in("root"))
    second = await created(service, "toor", "toor@example.com", actor=first)
    assert (service.last_entry().actor, service.last_entry().subject) == (
        first.account_id,
        second.id,
    )


@pytest.mark.parametrize("missing", sorted(Scope))
async def test_az_06_nobody_grants_what_he_does_not_hold(service: Service, missing: Scope) -> None:
    actor = replace(OPERATOR, scopes=OPERATOR.scopes - {missing})
    with pytest.raises(InsufficientScope):
        await created(service, actor=actor)
    assert service.hasher.work == 0


async def test_an_administrators_fields_are_checked_like_anybodys(service: Service) -> None:
    await service.has()
    with pytest.raises(ValidationFailed):
        await created(service, password="password")
    with pytest.raises(UsernameTaken):
        await created(service, username="ADA")
    with pytest.raises(EmailTaken):
        await created(service, email="ada@example.com")


async def test_accounts_are_listed_newest_first_without_placeholders(service: Service) -> None:
    await service.has()
    service.clock.advance(SECOND)
    await service.register("eve", "ada@example.com")
    await service.register("bob", "bob@example.com")
    assert await listed(service) == ["bob", "ada"]
    assert await listed(service, limit=1) == ["bob"]


async def test_pages_follow_each_other_to_the_end(service: Service) -> None:
    for name in ("ada", "bob", "carla"):
        await service.register(name, f"{name}@example.com")
    listing = service.gatepost.administration.list_accounts
    seen, cursor = [], None
    while True:
        page = await listing(
            actor=OPERATOR, sort=AccountSort.USERNAME_DOWN, limit=1, cursor=cursor
        )
        seen += [account.username.value for account in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ["carla", "bob", "ada"]


async def test_a_cursor_is_good_for_its_own_list_alone(service: Service) -> None:
    for name in ("ada", "bob"):
        await service.register(name, f"{name}@example.com")
    listing = service.gatepost.administration.list_accounts
    page = await listing(actor=OPERATOR, limit=1)
    assert "bob" not in (page.next_cursor or "")
    others: list[dict[str, Any]] = [{"q": "a"}, {"status": AccountStatus.ACTIVE}, {"role": USER}]
    for other in others:
        with pytest.raises(ValidationFailed) as refused:
            await listing(actor=OPERATOR, cursor=page.next_cursor, **other)
        assert refused.value.errors[0].field == "cursor"
    with pytest.raises(ValidationFailed):
        await listing(actor=OPERATOR, cursor=page.next_cursor, sort=AccountSort.EMAIL)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("AD", ["ada"]),
        ("a", ["ada", "zoe"]),
        ("Albert@M\u00fcller.example", ["zoe"]),
        ("albert@xn--mller-kva", ["zoe"]),
        ("nobody", []),
        (None, ["ada", "zoe"]),
    ],
)
async def test_accounts_are_found_by_the_start_of_name_or_address(
    service: Service, q: str | None, expected: list[str]
) -> None:
    await service.register("ada", "lovelace@example.com")
    await service.register("zoe", "Albert@m\u00fcller.example")
    assert await listed(service, q=q, sort=AccountSort.USERNAME) == expected


async def test_everybody_is_found_by_the_role_that_everybody_holds(service: Service) -> None:
    await service.register()
    await created(service)
    assert await listed(service, role=USER, sort=AccountSort.USERNAME) == ["ada", "root"]
    assert await listed(service, role=ADMIN) == ["root"]


async def test_an_account_is_shown_by_name_or_address(service: Service) -> None:
    account = await service.has()
    show = service.gatepost.administration.show
    assert await show(actor=OPERATOR, login="ADA") == account
    assert await show(actor=OPERATOR, login="Ada@example.com") == account


@pytest.mark.parametrize("login", ["nobody", "nobody@example.com", "?", "a@b@c", "eve"])
async def test_what_is_not_there_is_not_found(service: Service, login: str) -> None:
    await service.has()
    await service.register("eve", "ada@example.com")
    with pytest.raises(NotFound):
        await service.gatepost.administration.show(actor=OPERATOR, login=login)


async def test_looking_at_accounts_needs_the_scope(service: Service) -> None:
    account = await service.has()
    nobody = Principal(account=account, session_id=None, scopes=frozenset({Scope.ACCOUNT_READ}))
    with pytest.raises(InsufficientScope):
        await service.gatepost.administration.list_accounts(actor=nobody)
    with pytest.raises(InsufficientScope):
        await service.gatepost.administration.show(actor=nobody, login="ada")
    with pytest.raises(InsufficientScope):
        await service.gatepost.administration.show.by_id(actor=nobody, account_id=account.id)
    assert ADMIN not in account.roles


async def test_an_account_is_shown_by_its_id_unless_it_is_a_placeholder(service: Service) -> None:
    account = await service.has()
    await service.register("eve", "ada@example.com")
    show = service.gatepost.administration.show.by_id
    assert await show(actor=OPERATOR, account_id=account.id) == account
    for account_id in (service.account("eve").id, AccountId(new_id())):
        with pytest.raises(NotFound):
            await show(actor=OPERATOR, account_id=account_id)
