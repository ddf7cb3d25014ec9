from typing import Any

import httpx2
import pytest

from gatepost.domain.audit import ClientContext
from gatepost.domain.roles import Principal
from tests.unit.entrypoints.http.service import (
    PASSWORD,
    PUBLIC_URL,
    Service,
    assert_problem,
    bearing,
)

Headers = dict[str, str]


@pytest.fixture
async def admin(service: Service) -> Headers:
    await service.gatepost.administration.create_administrator(
        actor=Principal.operator(),
        username="root",
        email="root@example.com",
        password=PASSWORD,
        client=ClientContext(),
    )
    return bearing(await service.sign_in("root"))


async def created(service: Service, admin: Headers, *scopes: str) -> httpx2.Response:
    body = {"name": "robot", "scopes": list(scopes)}
    answer = await service.http.post("/v1/clients", json=body, headers=admin)
    assert answer.status_code == 201, answer.text
    return answer


async def secret_of(service: Service, admin: Headers, client_id: str) -> dict[str, Any]:
    answer = await service.http.post(f"/v1/clients/{client_id}/secrets", headers=admin)
    assert answer.status_code == 201, answer.text
    secret: dict[str, Any] = answer.json()
    return secret


async def test_a_client_is_created_read_and_listed(service: Service, admin: Headers) -> None:
    made = await created(service, admin, "users:read")
    client = made.json()
    assert set(client) == {
        "id",
        "name",
        "scopes",
        "status",
        "secrets",
        "created_at",
        "updated_at",
    }
    assert (client["scopes"], client["status"], client["secrets"]) == (
        ["users:read"],
        "active",
        [],
    )
    assert made.headers["location"] == f"/v1/clients/{client['id']}"
    read = await service.http.get(made.headers["location"], headers=admin)
    assert read.json() == client
    assert read.headers["etag"] == made.headers["etag"]
    listed = await service.http.get("/v1/clients", headers=admin)
    assert listed.json() == {"items": [client], "next_cursor": None}


async def test_the_next_page_is_linked(service: Service, admin: Headers) -> None:
    for _ in range(2):
        await created(service, admin)
    first = await service.http.get("/v1/clients?limit=1", headers=admin)
    cursor = first.json()["next_cursor"]
    assert first.headers["link"].startswith(f"<{PUBLIC_URL}/v1/clients?limit=1&cursor=")
    second = await service.http.get(
        "/v1/clients", params={"limit": "1", "cursor": cursor}, headers=admin
    )
    assert second.json()["next_cursor"] is None
    assert second.json()["items"] != first.json()["items"]
    for query in ("cursor=x", "limit=0", "limit=201", "order=name"):
        answer = await service.http.get(f"/v1/clients?{query}", headers=admin)
        assert_problem(answer, 422, "validation_failed")


async def test_scopes_are_known_ones_and_no_account_s(service: Service, admin: Headers) -> None:
    for scope, code in (("users:fly", "unknown_scope"), ("account:read", "not_for_clients")):
        body = {"name": "robot", "scopes": [scope]}
        answer = await service.http.post("/v1/clients", json=body, headers=admin)
        problem = assert_problem(answer, 422, "validation_failed")
        assert [(e["pointer"], e["code"]) for e in problem["errors"]] == [("/scopes", code)]


async def test_a_change_names_the_version_that_it_is_of(service: Service, admin: Headers) -> None:
    made = await created(service, admin, "users:read")
    url, http = made.headers["location"], service.http
    answer = await http.patch(url, json={"name": "drone"}, headers=admin)
    assert_problem(answer, 428, "precondition_required")
    assert_problem(await http.delete(url, headers=admin), 428, "precondition_required")
    match = {**admin, "If-Match": made.headers["etag"]}
    changed = await http.patch(url, json={"name": "drone"}, headers=match)
    assert (changed.status_code, changed.json()["name"]) == (200, "drone")
    assert changed.json()["scopes"] == ["users:read"]
    assert_problem(
        await http.patch(url, json={"name": "x"}, headers=match), 412, "version_conflict"
    )
    assert_problem(await http.delete(url, headers=match), 412, "version_conflict")
    match["If-Match"] = changed.headers["etag"]
    disabled = await http.patch(url, json={"status": "disabled", "scopes": []}, headers=match)
    assert (disabled.json()["status"], disabled.json()["scopes"]) == ("disabled", [])
    match["If-Match"] = disabled.headers["etag"]
    assert (await http.delete(url, headers=match)).status_code == 204
    assert_problem(await http.get(url, headers=admin), 404, "not_found")


async def test_a_secret_is_shown_once(service: Service, admin: Headers) -> None:
    client = (await created(service, admin)).json()
    secret = await secret_of(service, admin, client["id"])
    shown = secret.pop("client_secret")
    assert shown.startswith("gpc_")
    url = f"/v1/clients/{client['id']}"
    read = await service.http.get(url, headers=admin)
    assert read.json()["secrets"] == [secret]
    assert set(secret) == {"id", "created_at", "expires_at", "last_used_at"}
    assert shown not in read.text
    gone = await service.http.delete(f"{url}/secrets/{secret['id']}", headers=admin)
    assert gone.status_code == 204
    again = await service.http.delete(f"{url}/secrets/{secret['id']}", headers=admin)
    assert_problem(again, 404, "not_found")


async def test_two_secrets_are_valid_at_a_time(service: Service, admin: Headers) -> None:
    client = (await created(service, admin)).json()
    url = f"/v1/clients/{client['id']}/secrets"
    soon = {"expires_at": "2026-03-02T12:00:00Z"}
    answer = await service.http.post(url, json=soon, headers=admin)
    assert (answer.status_code, answer.json()["expires_at"]) == (201, "2026-03-02T12:00:00Z")
    await secret_of(service, admin, client["id"])
    problem = assert_problem(await service.http.post(url, headers=admin), 422, "validation_failed")
    assert problem["errors"][0]["code"] == "too_many"


@pytest.mark.parametrize(
    "expires_at",
    ["2026-03-01T12:00:00Z", "2026-03-02T12:00:00", "soon", 4, "9999-12-31T23:59:59-12:00"],
)
async def test_an_expiry_lies_ahead_and_has_a_zone(
    service: Service, admin: Headers, expires_at: object
) -> None:
    client = (await created(service, admin)).json()
    url = f"/v1/clients/{client['id']}/secrets"
    answer = await service.http.post(url, json={"expires_at": expires_at}, headers=admin)
    problem = assert_problem(answer, 422, "validation_failed")
    assert [error["pointer"] for error in problem["errors"]] == ["/expires_at"]


async def test_a_client_administers_with_its_own_token(service: Service, admin: Headers) -> None:
    client = (await created(service, admin, "clients:read", "clients:write")).json()
    secret = await secret_of(service, admin, client["id"])
    answer = await service.http.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(client["id"], secret["client_secret"]),
    )
    own = bearing(answer.json())
    assert (await service.http.get("/v1/clients", headers=own)).status_code == 200
    await created(service, own, "clients:read")
    entry = service.ports.storage.audit_entries[-1]
    assert (str(entry.actor), entry.client_id) == (client["id"], client["id"])
    body = {"name": "spy", "scopes": ["users:read"]}
    assert_problem(
        await service.http.post("/v1/clients", json=body, headers=own), 403, "permission_denied"
    )
    for method, url in (("GET", "/v1/users/me"), ("GET", "/v1/sessions")):
        answer = await service.http.request(method, url, headers=own)
        assert_problem(answer, 403, "insufficient_scope")
