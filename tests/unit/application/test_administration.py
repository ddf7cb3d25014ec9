from dataclasses import replace

import pytest

from gatepost.domain.accounts import Account
from gatepost.domain.audit import AuditType
from gatepost.domain.errors import (
    EmailTaken,
    InsufficientScope,
    NotFound,
    UsernameTaken,
    ValidationFailed,
)
from gatepost.domain.roles import ADMIN, Principal, Scope
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
    listing = service.gatepost.administration.list_accounts
    assert [row.username.value for row in await listing(actor=OPERATOR)] == ["bob", "ada"]
    assert [row.username.value for row in await listing(actor=OPERATOR, limit=1)] == ["bob"]


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
    assert ADMIN not in account.roles
