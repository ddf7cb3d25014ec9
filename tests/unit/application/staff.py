"""Those who administer accounts, and what they do all day."""

from typing import Any
from uuid import UUID

from gatepost.domain.accounts import Account
from gatepost.domain.roles import BUILT_IN_ROLES, USER, Principal, Scope
from tests.unit.application.service import CLIENT, PASSWORD, Service

OPERATOR = Principal.operator()


def clerk(*scopes: Scope, account: Account | None = None) -> Principal:
    """Make a caller who holds these scopes, and those that everybody has."""
    held = frozenset(scopes) | BUILT_IN_ROLES[USER]
    return Principal(account=account, session_id=None, scopes=held)


async def creates(service: Service, username: str = "eve", **more: Any) -> Account:
    """Let the operator, or `actor`, create an account."""
    form: dict[str, Any] = {
        "actor": OPERATOR,
        "email": f"{username}@example.com",
        "client": CLIENT,
    } | more
    return await service.gatepost.administration.create(username=username, **form)


async def has_admin(service: Service, username: str = "root") -> Account:
    return await service.gatepost.administration.create_administrator(
        actor=OPERATOR,
        username=username,
        email=f"{username}@example.com",
        password=PASSWORD,
        client=CLIENT,
    )


async def puts_role(
    service: Service, name: str, *scopes: str, actor: Principal = OPERATOR
) -> bool:
    """Make or change a role; tells whether it is new."""
    _, is_new = await service.gatepost.roles.put(
        actor=actor, name=name, scopes=scopes, client=CLIENT
    )
    return is_new


async def sets_roles(
    service: Service, account: Account, *roles: str, actor: Principal = OPERATOR
) -> Account:
    return await service.gatepost.administration.set_roles(
        actor=actor, account_id=account.id, roles=roles, client=CLIENT
    )


async def suspends(service: Service, account_id: UUID, actor: Principal = OPERATOR) -> Account:
    return await service.gatepost.administration.suspend(
        actor=actor, account_id=account_id, client=CLIENT
    )
