"""OAuth from grant to end, over HTTP and on a real PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from gatepost import Gatepost, Policies, assemble
from gatepost.adapters.memory import memory_ports
from gatepost.adapters.postgres.callers import PostgresCallers
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.domain.audit import ClientContext
from gatepost.domain.clients import ClientStatus
from gatepost.domain.limits import LimitPolicy
from gatepost.domain.roles import Principal
from gatepost.entrypoints.http.app import HttpOptions, create_app

PASSWORD = "a quiet sea of numbers"
OPERATOR = Principal.operator()
NOWHERE = ClientContext()


@pytest.fixture
async def gatepost(uow: PostgresUnitOfWork, callers: PostgresCallers) -> Gatepost:
    ports = replace(memory_ports(), uow=uow, callers=callers)
    made = assemble(ports, Policies(limits=LimitPolicy(enabled=False)))
    await made.keys.load()
    await made.administration.create_administrator(
        actor=OPERATOR,
        username="root",
        email="root@example.com",
        password=PASSWORD,
        client=NOWHERE,
    )
    return made


@pytest.fixture
async def http(gatepost: Gatepost) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(gatepost, HttpOptions(password_grant=True))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        yield http


def ok(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


def bearing(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


async def test_oa_16_a_person_signs_in_refreshes_and_revokes(http: httpx2.AsyncClient) -> None:
    form = {"grant_type": "password", "username": "root", "password": PASSWORD}
    first = ok(await http.post("/oauth2/token", data=form))
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    wider = await http.post("/oauth2/token", data={**form, "scope": "users:fly"})
    assert wider.json()["error"] == "invalid_scope"
    second = ok(await http.post("/oauth2/token", data={**form, "scope": "account:read"}))
    assert second["scope"] == "account:read"
    ok(await http.get("/v1/users/me", headers=bearing(second)))
    revoked = await http.post("/oauth2/revoke", data={"token": second["refresh_token"]})
    assert revoked.status_code == 200
    for tokens in (first, second):
        answer = await http.get("/v1/users/me", headers=bearing(tokens))
        assert answer.status_code == 401


async def test_jw_20_a_machine_lives_from_its_creation_to_its_end(
    http: httpx2.AsyncClient, gatepost: Gatepost
) -> None:
    form = {"grant_type": "password", "username": "root", "password": PASSWORD}
    admin = ok(await http.post("/oauth2/token", data=form))
    body = {"name": "robot", "scopes": ["clients:read", "clients:write", "tokens:introspect"]}
    client = ok(await http.post("/v1/clients", json=body, headers=bearing(admin)))
    url = f"/v1/clients/{client['id']}"
    secret = ok(await http.post(f"{url}/secrets", headers=bearing(admin)))
    auth = (client["id"], secret["client_secret"])
    grant = {"grant_type": "client_credentials"}
    own = ok(await http.post("/oauth2/token", data=grant, auth=auth))
    read = await http.get(url, headers=bearing(own))
    assert read.json()["secrets"][0]["last_used_at"] is not None
    asked = {"token": admin["refresh_token"]}
    found = ok(await http.post("/oauth2/introspect", data=asked, auth=auth))
    assert (found["active"], found["username"]) == (True, "root")
    match = {**bearing(admin), "If-Match": read.headers["etag"]}
    disabled = await http.patch(url, json={"status": ClientStatus.DISABLED.value}, headers=match)
    assert disabled.status_code == 200
    assert (await http.get(url, headers=bearing(own))).status_code == 401
    assert (await http.post("/oauth2/token", data=grant, auth=auth)).status_code == 401
    match["If-Match"] = disabled.headers["etag"]
    assert (await http.delete(url, headers=match)).status_code == 204
    assert (await http.get(url, headers=bearing(admin))).status_code == 404
