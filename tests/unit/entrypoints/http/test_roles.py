import pytest

from tests.unit.entrypoints.http.service import Service, assert_problem
from tests.unit.entrypoints.http.staff import admin, holds

SUPPORT = {"scopes": ["users:read", "sessions:read"]}
ROLE = {"name": "support", "scopes": ["sessions:read", "users:read"], "built_in": False}


async def test_a_role_is_made_changed_listed_and_deleted(service: Service) -> None:
    headers, http = await admin(service), service.http
    first = await http.put("/v1/roles/support", json=SUPPORT, headers=headers)
    assert (first.status_code, first.json()) == (201, ROLE)
    again = await http.put("/v1/roles/support", json=SUPPORT, headers=headers)
    assert (again.status_code, again.json()) == (200, ROLE)
    items = (await http.get("/v1/roles", headers=headers)).json()["items"]
    assert [(role["name"], role["built_in"]) for role in items] == [
        ("admin", True),
        ("support", False),
        ("user", True),
    ]
    assert items[1] == ROLE
    deleted = await http.delete("/v1/roles/support", headers=headers)
    assert (deleted.status_code, deleted.content) == (204, b"")
    gone = await http.delete("/v1/roles/support", headers=headers)
    assert_problem(gone, 404, "not_found")


async def test_built_in_roles_and_those_in_use_stay(service: Service) -> None:
    headers, http = await admin(service), service.http
    for name in ("admin", "user"):
        changed = await http.put(f"/v1/roles/{name}", json=SUPPORT, headers=headers)
        assert_problem(changed, 409, "role_built_in")
        deleted = await http.delete(f"/v1/roles/{name}", headers=headers)
        assert_problem(deleted, 409, "role_built_in")
    await http.put("/v1/roles/support", json=SUPPORT, headers=headers)
    await holds(service, "ada", "support")
    deleted = await http.delete("/v1/roles/support", headers=headers)
    assert_problem(deleted, 409, "role_in_use")


async def test_az_06_nobody_makes_a_role_above_himself(service: Service) -> None:
    headers, http = await admin(service), service.http
    keeper = {"scopes": ["roles:read", "roles:write"]}
    await http.put("/v1/roles/keeper", json=keeper, headers=headers)
    lower = await holds(service, "ada", "keeper")
    higher = await http.put("/v1/roles/support", json=SUPPORT, headers=lower)
    assert_problem(higher, 403, "permission_denied")
    same = await http.put("/v1/roles/other", json=keeper, headers=lower)
    assert same.status_code == 201


@pytest.mark.parametrize("name", ["Support", "1", "a" * 51, "a.b", "a%0A"])
async def test_a_bad_name_is_a_fault_of_the_path(service: Service, name: str) -> None:
    headers = await admin(service)
    for answer in (
        await service.http.put(f"/v1/roles/{name}", json=SUPPORT, headers=headers),
        await service.http.delete(f"/v1/roles/{name}", headers=headers),
    ):
        body = assert_problem(answer, 422, "validation_failed")
        assert body["errors"][0]["parameter"] == "name"


@pytest.mark.parametrize("scopes", [["users:*"], ["nonsense"], None, ["x" * 2000], [""]])
async def test_unknown_scopes_are_faults_of_the_body(
    service: Service, scopes: list[str] | None
) -> None:
    headers = await admin(service)
    answer = await service.http.put("/v1/roles/support", json={"scopes": scopes}, headers=headers)
    body = assert_problem(answer, 422, "validation_failed")
    assert body["errors"][0]["pointer"].startswith("/scopes")
