import json
import re
from dataclasses import replace

import pytest

from gatepost.adapters.memory import PlainPasswordHasher, memory_ports
from gatepost.domain.errors import Overloaded
from gatepost.domain.roles import Principal, Scope
from tests.unit.entrypoints.http.service import (
    Service,
    api_routes,
    assert_problem,
    client_of,
    open_service,
    served,
)

GUARDED = [
    ("GET", "/v1/users/me", Scope.ACCOUNT_READ),
    ("PATCH", "/v1/users/me", Scope.ACCOUNT_WRITE),
    ("POST", "/v1/users/me/password", Scope.ACCOUNT_WRITE),
    ("POST", "/v1/users/me/email", Scope.ACCOUNT_WRITE),
    ("POST", "/v1/users/me/deletion", Scope.ACCOUNT_WRITE),
    ("POST", "/v1/users/me/exports", Scope.ACCOUNT_WRITE),
    ("GET", "/v1/users/me/exports/not-an-id", Scope.ACCOUNT_READ),
    ("GET", "/v1/users/me/exports/not-an-id/download", Scope.ACCOUNT_READ),
    ("GET", "/v1/sessions", Scope.ACCOUNT_READ),
    ("DELETE", "/v1/sessions/not-an-id", Scope.ACCOUNT_WRITE),
    ("DELETE", "/v1/sessions", Scope.ACCOUNT_WRITE),
    ("GET", "/v1/users", Scope.USERS_READ),
    ("POST", "/v1/users", Scope.USERS_WRITE),
    ("GET", "/v1/users/not-an-id", Scope.USERS_READ),
    ("PATCH", "/v1/users/not-an-id", Scope.USERS_WRITE),
    ("DELETE", "/v1/users/not-an-id", Scope.USERS_WRITE),
    ("POST", "/v1/users/not-an-id/suspend", Scope.USERS_WRITE),
    ("POST", "/v1/users/not-an-id/reactivate", Scope.USERS_WRITE),
    ("POST", "/v1/users/not-an-id/password-reset", Scope.USERS_WRITE),
    ("PUT", "/v1/users/not-an-id/roles", Scope.ROLES_WRITE),
    ("GET", "/v1/users/not-an-id/sessions", Scope.SESSIONS_READ),
    ("DELETE", "/v1/users/not-an-id/sessions", Scope.SESSIONS_WRITE),
    ("GET", "/v1/roles", Scope.ROLES_READ),
    ("PUT", "/v1/roles/not-an-id", Scope.ROLES_WRITE),
    ("DELETE", "/v1/roles/not-an-id", Scope.ROLES_WRITE),
    ("GET", "/v1/audit-events", Scope.AUDIT_READ),
    ("GET", "/v1/clients", Scope.CLIENTS_READ),
    ("POST", "/v1/clients", Scope.CLIENTS_WRITE),
    ("GET", "/v1/clients/not-an-id", Scope.CLIENTS_READ),
    ("PATCH", "/v1/clients/not-an-id", Scope.CLIENTS_WRITE),
    ("DELETE", "/v1/clients/not-an-id", Scope.CLIENTS_WRITE),
    ("POST", "/v1/clients/not-an-id/secrets", Scope.CLIENTS_WRITE),
    ("DELETE", "/v1/clients/not-an-id/secrets/not-an-id", Scope.CLIENTS_WRITE),
]
BAD_BODIES = [
    (b"{", "application/json"),
    (b"x" * 70_000, "application/json"),
    (b"{}", "text/plain"),
    (b'{"no": 1}', "application/json"),
]


class FullHasher(PlainPasswordHasher):
    def demand_room(self) -> None:
        raise Overloaded


async def test_every_route_with_a_padlock_is_listed_here(shared: Service) -> None:
    paths = shared.app.openapi()["paths"]
    locked = {
        (method.upper(), re.sub(r"{\w+}", "not-an-id", path))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if any("bearer" in way for way in operation.get("security", ()))
    }
    # These take other proofs as well, and have tests of their own.
    locked -= {("DELETE", "/v1/sessions/current"), ("POST", "/oauth2/introspect")}
    assert locked == {(m, p) for m, p, _ in GUARDED}


@pytest.mark.parametrize(
    ("sent", "code", "challenge"),
    [
        ({}, "unauthenticated", "Bearer"),
        ({"Authorization": "Basic YTpi"}, "unauthenticated", "Bearer"),
        ({"Authorization": "Bearer"}, "unauthenticated", "Bearer"),
        ({"Authorization": "Bearer  "}, "unauthenticated", "Bearer"),
        (
            {"Authorization": "Bearer x.y.z"},
            "access_token_invalid",
            'Bearer error="invalid_token"',
        ),
        ({"Authorization": "bEARER é"}, "access_token_invalid", 'Bearer error="invalid_token"'),
    ],
)
async def test_az_01_nobody_is_told_anything_but_to_sign_in(
    shared: Service, sent: dict[str, str], code: str, challenge: str
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    for method, path, _ in GUARDED:
        answers = [await shared.http.request(method, path, headers=raw)]
        if method in ("POST", "PATCH"):
            answers += [
                await shared.http.request(
                    method, path, content=body, headers=[*raw, (b"Content-Type", media.encode())]
                )
                for body, media in BAD_BODIES
            ]
        for answer in answers:
            assert_problem(answer, 401, code)
            assert answer.headers["www-authenticate"] == challenge, path


async def test_a_missing_scope_is_named_before_the_body_is_read(shared: Service) -> None:
    async def without_scopes(*, access_token: str) -> Principal:
        return replace(Principal.operator(), scopes=frozenset())

    sessions = replace(shared.gatepost.sessions, authenticate=without_scopes)  # type: ignore[arg-type]
    http = client_of(served(replace(shared.gatepost, sessions=sessions)))
    for method, path, scope in GUARDED:
        headers = {"Authorization": "Bearer some"}
        answer = await http.request(method, path, content=b"{", headers=headers)
        body = assert_problem(answer, 403, "insufficient_scope")
        assert scope in body["detail"]
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
        assert answer.headers["www-authenticate"] == challenge


async def test_se_18_a_token_in_the_query_string_is_none(service: Service) -> None:
    token = (await service.bearer("ada"))["Authorization"].removeprefix("Bearer ")
    answer = await service.http.get(f"/v1/users/me?access_token={token}")
    assert_problem(answer, 401, "unauthenticated")
    assert token not in answer.text


async def test_two_authorization_headers_are_refused(service: Service) -> None:
    value = (await service.bearer("ada"))["Authorization"].encode()
    twice = [(b"Authorization", value), (b"Authorization", value)]
    answer = await service.http.get("/v1/users/me", headers=twice)
    assert_problem(answer, 401, "access_token_invalid")


async def test_se_11_a_refresh_token_is_no_access_token(service: Service) -> None:
    await service.member("ada")
    tokens = await service.sign_in("ada")
    headers = {"Authorization": f"Bearer {tokens['refresh_token']}"}
    assert_problem(
        await service.http.get("/v1/users/me", headers=headers), 401, "access_token_invalid"
    )
    answer = await service.http.post(
        "/v1/sessions/refresh", json={"refresh_token": tokens["access_token"][:1024]}
    )
    assert_problem(answer, 400, "invalid_grant")


async def test_the_description_is_complete() -> None:
    service = await open_service()
    description = service.app.openapi()
    text = json.dumps(description)
    names = [
        route.operation_id or "" for route in api_routes(service.app) if route.include_in_schema
    ]
    assert all(name.isalpha() and name[0].islower() for name in names)
    assert len(set(names)) == len(names)
    assert "HTTPValidationError" not in text
    assert "Problem" in description["components"]["schemas"]
    for operations in description["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["tags"]
            if "x-www-form-urlencoded" in str(operation):
                assert {"400", "401", "413", "415", "503"} <= set(operation["responses"])
            elif "requestBody" in operation:
                assert {"400", "413", "415", "422"} <= set(operation["responses"])
            if operation.get("security") == [{"bearer": [Scope.ACCOUNT_READ]}]:
                assert {"401", "403"} <= set(operation["responses"])


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/register"])
async def test_re_11_what_hashes_for_anybody_is_refused_unread_while_hashing_is_full(
    path: str,
) -> None:
    ports = replace(memory_ports(), hasher=FullHasher())
    service = await open_service(ports=ports)
    for body, kind in BAD_BODIES:
        answer = await service.http.post(path, content=body, headers={"Content-Type": kind})
        assert_problem(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"
    assert_problem(await service.http.get("/v1/users/me"), 401, "unauthenticated")


def test_the_description_names_the_headers_of_answers(shared: Service) -> None:
    description = shared.app.openapi()
    known = set(description["components"]["headers"])

    def headers(path: str, method: str, status: str) -> set[str]:
        found = description["paths"][path][method]["responses"][status]["headers"]
        assert set(found) & known
        return set(found)

    everywhere, limited = {"X-Request-ID"}, {"X-Request-ID", "RateLimit", "RateLimit-Policy"}
    assert headers("/livez", "get", "200") == everywhere
    assert headers("/v1/users", "get", "200") == limited | {"Link"}
    assert headers("/v1/clients", "get", "200") == limited | {"Link"}
    assert headers("/v1/register", "post", "202") == limited | {"Idempotency-Replayed"}
    made = limited | {"ETag", "Location"}
    assert headers("/v1/users", "post", "201") == made | {"Idempotency-Replayed"}
    assert headers("/v1/clients", "post", "201") == made
    for path in ("/v1/users/{id}", "/v1/clients/{id}"):
        for method, status in (("get", "200"), ("get", "304"), ("patch", "200")):
            assert headers(path, method, status) == limited | {"ETag"}
    assert headers("/v1/users/me", "get", "401") == limited | {"WWW-Authenticate"}
    assert headers("/v1/users/me", "get", "429") == limited | {"Retry-After"}
