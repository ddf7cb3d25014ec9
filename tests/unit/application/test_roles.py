from typing import cast

import pytest

from gatepost.application.ports.storage import Transaction
from gatepost.application.roles import own_roles
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.errors import (
    InsufficientScope,
    NotFound,
    PermissionDenied,
    RoleBuiltIn,
    RoleInUse,
    ValidationFailed,
)
from gatepost.domain.roles import ADMIN, USER, Scope
from tests.unit.application.service import CLIENT, Service
from tests.unit.application.staff import OPERATOR, clerk, has_admin, puts_role, sets_roles

KEEPER = clerk(Scope.ROLES_READ, Scope.ROLES_WRITE, Scope.USERS_READ)


async def scopes_of(service: Service, token: str) -> set[str]:
    return set((await service.refresh(token)).scope.split())


async def test_roles_are_listed_with_the_built_in_ones_by_name(service: Service) -> None:
    assert await puts_role(service, "support", "users:read")
    assert not await puts_role(service, "support", "users:read", "sessions:read")
    found = await service.gatepost.roles.list_all(actor=KEEPER)
    assert [(role.name, role.is_built_in) for role in found] == [
        (ADMIN, True),
        ("support", False),
        (USER, True),
    ]
    assert found[1].scopes == {Scope.USERS_READ, Scope.SESSIONS_READ}


@pytest.mark.parametrize("name", ["", "Support", "1st", "a b", "a" * 51, "sup\n"])
async def test_a_role_needs_a_proper_name(service: Service, name: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await puts_role(service, name)
    assert refused.value.errors[0].code == "invalid_role_name"


async def test_a_role_has_only_scopes_that_there_are(service: Service) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await puts_role(service, "support", "users:read", "users:*")
    assert (refused.value.errors[0].field, refused.value.errors[0].code) == (
        "scopes",
        "unknown_scope",
    )


@pytest.mark.parametrize("name", [ADMIN, USER])
async def test_built_in_roles_stay_as_they_are(service: Service, name: str) -> None:
    with pytest.raises(RoleBuiltIn):
        await puts_role(service, name)
    with pytest.raises(RoleBuiltIn):
        await service.gatepost.roles.delete(actor=OPERATOR, name=name, client=CLIENT)


async def test_roles_need_their_scopes(service: Service) -> None:
    reader, writer = clerk(Scope.ROLES_READ), clerk(Scope.ROLES_WRITE)
    with pytest.raises(InsufficientScope):
        await service.gatepost.roles.list_all(actor=writer)
    with pytest.raises(InsufficientScope):
        await puts_role(service, "support", actor=reader)
    with pytest.raises(InsufficientScope):
        await service.gatepost.roles.delete(actor=reader, name="support", client=CLIENT)


async def test_az_06_nobody_puts_scopes_into_a_role_that_he_lacks(service: Service) -> None:
    assert await puts_role(service, "support", "users:read", "account:read", actor=KEEPER)
    with pytest.raises(PermissionDenied):
        await puts_role(service, "support", "users:write", actor=KEEPER)
    entry = service.last_entry()
    assert (entry.type, entry.result, entry.reason) == (
        AuditType.ROLE_CHANGED,
        AuditResult.FAILURE,
        "permission_denied",
    )


async def test_az_06_nobody_takes_scopes_from_a_role_that_he_lacks(service: Service) -> None:
    await puts_role(service, "boss", "users:write")
    with pytest.raises(PermissionDenied):
        await puts_role(service, "boss", actor=KEEPER)
    with pytest.raises(PermissionDenied):
        await service.gatepost.roles.delete(actor=KEEPER, name="boss", client=CLIENT)
    assert service.last_entry().reason == "permission_denied"


async def test_a_role_is_deleted_when_nobody_holds_it(service: Service) -> None:
    account = await service.has()
    await puts_role(service, "support", "users:read")
    await sets_roles(service, account, "support")
    delete = service.gatepost.roles.delete
    with pytest.raises(RoleInUse):
        await delete(actor=KEEPER, name="support", client=CLIENT)
    await sets_roles(service, account)
    await delete(actor=KEEPER, name="support", client=CLIENT)
    entry = service.last_entry()
    assert (entry.type, entry.reason) == (AuditType.ROLE_DELETED, "support")
    with pytest.raises(NotFound):
        await delete(actor=KEEPER, name="support", client=CLIENT)


async def test_tokens_carry_the_scopes_of_own_roles_from_the_next_refresh(
    service: Service,
) -> None:
    account = await service.has()
    signed_in = await service.log_in()
    await puts_role(service, "support", "users:read")
    await sets_roles(service, account, "support")
    refreshed = await service.refresh(signed_in.refresh_token)
    basic = {"account:read", "account:write"}
    assert set(refreshed.scope.split()) == basic | {"users:read"}
    await puts_role(service, "support", "users:read", "audit:read")
    again = await service.refresh(refreshed.refresh_token)
    assert set(again.scope.split()) == basic | {"users:read", "audit:read"}
    assert set((await service.log_in()).scope.split()) == set(again.scope.split())


async def test_se_14_a_role_taken_away_is_not_in_the_next_token(service: Service) -> None:
    await has_admin(service)
    account = await service.has()
    await sets_roles(service, account, ADMIN)
    signed_in = await service.log_in()
    assert set(signed_in.scope.split()) == set(Scope)
    await sets_roles(service, account)
    scopes = await scopes_of(service, signed_in.refresh_token)
    assert scopes == {"account:read", "account:write"}


async def test_a_role_name_without_a_role_gives_nothing(service: Service) -> None:
    account = await service.has()
    account.roles = ("long-gone",)
    service.put(account)
    assert set((await service.log_in()).scope.split()) == {"account:read", "account:write"}


async def test_who_has_no_own_role_costs_no_read() -> None:
    no_storage = cast(Transaction, None)
    for named in ((), (ADMIN,), (ADMIN, USER)):
        assert list(await own_roles(no_storage, named)) == []
