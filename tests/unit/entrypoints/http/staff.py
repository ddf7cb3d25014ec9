"""Administrators and others with roles, as clients of the application."""

from typing import Any

import httpx2

from gatepost.domain.audit import ClientContext
from gatepost.domain.roles import Principal
from tests.unit.entrypoints.http.service import PASSWORD, Service, bearing

EVE = {"username": "eve", "email": "eve@example.com"}


async def admin(service: Service, username: str = "root") -> dict[str, str]:
    """Make an administrator, sign in, and return the header that shows it."""
    await service.gatepost.administration.create_administrator(
        actor=Principal.operator(),
        username=username,
        email=f"{username}@example.com",
        password=PASSWORD,
        client=ClientContext(),
    )
    return bearing(await service.sign_in(username))


async def made(
    service: Service, headers: dict[str, str], **more: Any
) -> tuple[str, httpx2.Response]:
    """Create an account; returns its path and the answer."""
    answer = await service.http.post("/v1/users", json=EVE | more, headers=headers)
    assert answer.status_code == 201, answer.text
    return f"/v1/users/{answer.json()['id']}", answer


async def holds(service: Service, username: str, *roles: str) -> dict[str, str]:
    """Give a member roles, sign in, and return the header that shows it."""
    await service.member(username)
    account = await service.gatepost.administration.show(
        actor=Principal.operator(), login=username
    )
    await service.gatepost.administration.set_roles(
        actor=Principal.operator(), account_id=account.id, roles=roles, client=ClientContext()
    )
    return bearing(await service.sign_in(username))
