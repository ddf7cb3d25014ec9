"""Every route for every kind of caller, in one table; a new route without a row fails."""

from dataclasses import dataclass
from uuid import uuid4

import httpx2
import pytest

from gatepost.application.ports.delivery import MailTemplate
from gatepost.domain.audit import ClientContext
from gatepost.domain.roles import Principal, Scope
from tests.unit.entrypoints.http.service import (
    PASSWORD,
    Service,
    api_routes,
    assert_problem,
    bearing,
    method_of,
    open_service,
)

PUBLIC = None
ACCESS: dict[tuple[str, str], Scope | None] = {
    ("POST", "/v1/register"): PUBLIC,
    ("POST", "/v1/email-verifications"): PUBLIC,
    ("POST", "/v1/email-verifications/confirm"): PUBLIC,
    ("POST", "/v1/password-resets"): PUBLIC,
    ("POST", "/v1/password-resets/confirm"): PUBLIC,
    ("POST", "/v1/email-changes/undo"): PUBLIC,
    ("POST", "/v1/sessions"): PUBLIC,
    ("POST", "/v1/sessions/refresh"): PUBLIC,
    ("GET", "/v1/sessions"): Scope.ACCOUNT_READ,
    ("DELETE", "/v1/sessions/{id}"): Scope.ACCOUNT_WRITE,
    ("DELETE", "/v1/sessions"): Scope.ACCOUNT_WRITE,
    ("GET", "/v1/users/me"): Scope.ACCOUNT_READ,
    ("PATCH", "/v1/users/me"): Scope.ACCOUNT_WRITE,
    ("POST", "/v1/users/me/password"): Scope.ACCOUNT_WRITE,
    ("POST", "/v1/users/me/email"): Scope.ACCOUNT_WRITE,
    ("POST", "/v1/users/me/deletion"): Scope.ACCOUNT_WRITE,
    ("POST", "/v1/users/me/exports"): Scope.ACCOUNT_WRITE,
    ("GET", "/v1/users/me/exports/{id}"): Scope.ACCOUNT_READ,
    ("GET", "/v1/users/me/exports/{id}/download"): Scope.ACCOUNT_READ,
    ("GET", "/v1/users"): Scope.USERS_READ,
    ("POST", "/v1/users"): Scope.USERS_WRITE,
    ("GET", "/v1/users/{id}"): Scope.USERS_READ,
    ("PATCH", "/v1/users/{id}"): Scope.USERS_WRITE,
    ("DELETE", "/v1/users/{id}"): Scope.USERS_WRITE,
    ("POST", "/v1/users/{id}/suspend"): Scope.USERS_WRITE,
    ("POST", "/v1/users/{id}/reactivate"): Scope.USERS_WRITE,
    ("POST", "/v1/users/{id}/password-reset"): Scope.USERS_WRITE,
    ("PUT", "/v1/users/{id}/roles"): Scope.ROLES_WRITE,
    ("GET", "/v1/users/{id}/sessions"): Scope.SESSIONS_READ,
    ("DELETE", "/v1/users/{id}/sessions"): Scope.SESSIONS_WRITE,
    ("GET", "/v1/roles"): Scope.ROLES_READ,
    ("PUT", "/v1/roles/{name}"): Scope.ROLES_WRITE,
    ("DELETE", "/v1/roles/{name}"): Scope.ROLES_WRITE,
    ("GET", "/v1/audit-events"): Scope.AUDIT_READ,
    ("GET", "/v1/clients"): Scope.CLIENTS_READ,
    ("POST", "/v1/clients"): Scope.CLIENTS_WRITE,
    ("GET", "/v1/clients/{id}"): Scope.CLIENTS_READ,
    ("PATCH", "/v1/clients/{id}"): Scope.CLIENTS_WRITE,
    ("DELETE", "/v1/clients/{id}"): Scope.CLIENTS_WRITE,
    ("POST", "/v1/clients/{id}/secrets"): Scope.CLIENTS_WRITE,
    ("DELETE", "/v1/clients/{id}/secrets/{secret_id}"): Scope.CLIENTS_WRITE,
    ("GET", "/health"): PUBLIC,
    ("GET", "/livez"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/.well-known/jwks.json"): PUBLIC,
    ("GET", "/.well-known/change-password"): PUBLIC,
    ("GET", "/.well-known/oauth-authorization-server"): PUBLIC,
    ("GET", "/problems/{code}"): PUBLIC,
    ("GET", "/docs"): PUBLIC,
    ("GET", "/docs/start.js"): PUBLIC,
    ("GET", "/redoc"): PUBLIC,
}
# These check their callers by more than a bearer token, and have tests of their own.
ELSEWHERE = {
    ("DELETE", "/v1/sessions/current"),
    ("POST", "/oauth2/token"),
    ("POST", "/oauth2/revoke"),
    ("POST", "/oauth2/introspect"),
}

OWN = {Scope.ACCOUNT_READ, Scope.ACCOUNT_WRITE}
HELD: dict[str, set[Scope]] = {
    "user": OWN,
    "admin": set(Scope),
    "reader": OWN | {Scope.USERS_READ},
    "machine": {Scope.USERS_READ},
}
REFUSED_ALIKE = {
    "nobody": (401, "unauthenticated"),
    "suspended": (401, "access_token_invalid"),
}


@dataclass(frozen=True)
class Callers:
    service: Service
    headers: dict[str, dict[str, str]]


async def _administrator(service: Service) -> dict[str, str]:
    await service.gatepost.administration.create_administrator(
        actor=Principal.operator(),
        username="root",
        email="root@example.com",
        password=PASSWORD,
        client=ClientContext(),
    )
    return bearing(await service.sign_in("root"))


async def _reader(service: Service, admin: dict[str, str]) -> dict[str, str]:
    role = {"scopes": ["users:read"]}
    made = await service.http.put("/v1/roles/reader", json=role, headers=admin)
    assert made.status_code == 201
    body = {"username": "reader", "email": "reader@example.com", "roles": ["reader"]}
    assert (await service.http.post("/v1/users", json=body, headers=admin)).status_code == 201
    token = await service.mailed_token("reader@example.com", MailTemplate.SET_PASSWORD)
    chosen = {"token": token, "new_password": PASSWORD}
    answer = await service.http.post("/v1/password-resets/confirm", json=chosen)
    assert answer.status_code == 204
    return bearing(await service.sign_in("reader"))


async def _machine(service: Service, admin: dict[str, str]) -> dict[str, str]:
    body = {"name": "reports", "scopes": ["users:read"]}
    client_id = (await service.http.post("/v1/clients", json=body, headers=admin)).json()["id"]
    made = await service.http.post(f"/v1/clients/{client_id}/secrets", json={}, headers=admin)
    form = {"grant_type": "client_credentials"}
    answer = await service.http.post(
        "/oauth2/token", data=form, auth=(client_id, made.json()["client_secret"])
    )
    assert answer.status_code == 200, answer.text
    return bearing(answer.json())


async def _suspended(service: Service, admin: dict[str, str]) -> dict[str, str]:
    headers = await service.bearer("suspended")
    me = (await service.http.get("/v1/users/me", headers=headers)).json()
    path = f"/v1/users/{me['id']}/suspend"
    assert (await service.http.post(path, headers=admin)).status_code == 200
    return headers


@pytest.fixture(scope="module")
async def callers() -> Callers:
    service = await open_service()
    admin = await _administrator(service)
    return Callers(
        service,
        {
            "nobody": {},
            "user": await service.bearer("ada"),
            "admin": admin,
            "reader": await _reader(service, admin),
            "machine": await _machine(service, admin),
            "suspended": await _suspended(service, admin),
        },
    )


async def called(callers: Callers, who: str, method: str, path: str) -> httpx2.Response:
    filled = path.replace("{name}", "no-such-role").replace("{code}", "not_found")
    filled = filled.replace("{id}", str(uuid4())).replace("{secret_id}", str(uuid4()))
    # Without any field, so that nothing happens to whom is let through.
    body: dict[str, str] | None = {} if method in ("POST", "PUT", "PATCH") else None
    return await callers.service.http.request(
        method, filled, json=body, headers=callers.headers[who]
    )


async def test_every_route_has_a_row(callers: Callers) -> None:
    routes = {(method_of(route), route.path_format) for route in api_routes(callers.service.app)}
    assert routes == set(ACCESS) | ELSEWHERE


def expected(who: str, scope: Scope | None) -> tuple[int, str] | None:
    """The refusal of the caller himself; None: he is let in, whatever becomes of his request."""
    if scope is PUBLIC or scope in HELD.get(who, ()):
        return None
    return REFUSED_ALIKE.get(who, (403, "insufficient_scope"))


@pytest.mark.parametrize("who", ["nobody", "user", "admin", "reader", "machine", "suspended"])
async def test_az_01_who_may_call_what(callers: Callers, who: str) -> None:
    for route, scope in ACCESS.items():
        answer = await called(callers, who, *route)
        refusal = expected(who, scope)
        if refusal is None:
            assert answer.status_code not in (401, 403), route
            continue
        assert_problem(answer, *refusal)
        if refusal[0] == 403:
            assert f'scope="{scope}"' in answer.headers["WWW-Authenticate"], route


async def test_another_persons_token_opens_only_what_is_his(callers: Callers) -> None:
    http = callers.service.http
    ada, reader = callers.headers["user"], callers.headers["reader"]
    (session,) = (await http.get("/v1/sessions", headers=ada)).json()["items"]
    answer = await http.delete(f"/v1/sessions/{session['id']}", headers=reader)
    assert_problem(answer, 404, "not_found")
    assert (await http.get("/v1/users/me", headers=reader)).json()["username"] == "reader"
    assert (await http.get("/v1/users/me", headers=ada)).status_code == 200
