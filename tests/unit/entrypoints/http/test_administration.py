from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from gatepost.application.ports.delivery import MailTemplate
from gatepost.domain.errors import UsernameTaken
from gatepost.domain.roles import ADMIN
from gatepost.entrypoints.http.preconditions import etag, versions_of
from gatepost.testing.builders import new_id
from tests.unit.entrypoints.http.service import (
    PASSWORD,
    PUBLIC_URL,
    Service,
    api_routes,
    assert_problem,
    bearing,
    method_of,
)
from tests.unit.entrypoints.http.staff import EVE, admin, holds, made
from tests.unit.entrypoints.http.test_accounts import USER_FIELDS

VALIDATION = "validation_failed"
ADMINISTRATION = ("/v1/users", "/v1/roles", "/v1/audit-events", "/v1/clients")


def operations(service: Service) -> list[tuple[str, str]]:
    return [
        (method_of(route), route.path_format)
        for route in api_routes(service.app)
        if route.path_format.startswith(ADMINISTRATION)
        and not route.path_format.startswith("/v1/users/me")
    ]


async def test_az_01_every_operation_refuses_nobody_and_ordinary_people(
    service: Service,
) -> None:
    bearer = await service.bearer("ada")
    found = operations(service)
    assert len(found) >= 15
    for method, path in found:
        path = path.replace("{id}", str(new_id())).replace("{name}", "support")
        anonymous = await service.http.request(method, path)
        assert_problem(anonymous, 401, "unauthenticated")
        assert_problem(
            await service.http.request(method, path, headers=bearer), 403, "insufficient_scope"
        )


async def test_an_account_is_created_and_found_where_the_answer_says(service: Service) -> None:
    headers = await admin(service)
    path, answer = await made(service, headers, bio="Counts.", locale="de")
    body = answer.json()
    assert set(body) == USER_FIELDS
    assert (body["email_verified"], body["roles"], body["locale"]) == (False, ["user"], "de")
    assert answer.headers["location"] == path
    again = await service.http.get(path, headers=headers)
    assert (again.status_code, again.json()) == (200, body)
    assert again.headers["etag"] == answer.headers["etag"]
    assert await service.mailed_token("eve@example.com", MailTemplate.SET_PASSWORD)


async def test_creation_happens_once_for_a_key(service: Service) -> None:
    headers = await admin(service) | {"Idempotency-Key": "first-try"}
    _, first = await made(service, headers)
    _, second = await made(service, headers)
    assert second.content == first.content
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["idempotency-replayed"] == "true"


async def test_pw_15_a_password_can_be_given_at_creation_alone(service: Service) -> None:
    headers = await admin(service)
    path, answer = await made(service, headers, password=PASSWORD)
    login = {"login": "eve", "password": PASSWORD}
    refused = await service.http.post("/v1/sessions", json=login)
    assert refused.json()["code"] == "password_change_required"
    match = headers | {"If-Match": answer.headers["etag"]}
    change = await service.http.patch(path, json={"password": "another one"}, headers=match)
    body = assert_problem(change, 422, "validation_failed")
    assert body["errors"][0]["code"] == "unknown_field"
    reset = await service.http.post(f"{path}/password-reset", headers=headers)
    assert reset.status_code == 202
    assert await service.mailed_token("eve@example.com", MailTemplate.RESET_PASSWORD)


@pytest.mark.parametrize("field", ["id", "is_admin", "email_verified", "status", "scopes"])
async def test_az_03_fields_that_are_nobodys_to_set(service: Service, field: str) -> None:
    headers = await admin(service)
    answer = await service.http.post("/v1/users", json=EVE | {field: "x"}, headers=headers)
    body = assert_problem(answer, 422, "validation_failed")
    assert body["errors"][0]["pointer"] == f"/{field}"


async def test_a_new_account_conflicts_and_breaks_rules_like_any_other(service: Service) -> None:
    headers = await admin(service)
    await made(service, headers)
    post = service.http.post
    taken = await post("/v1/users", json=EVE | {"email": "e@example.com"}, headers=headers)
    assert_problem(taken, 409, UsernameTaken.code)
    taken = await post("/v1/users", json=EVE | {"username": "eva"}, headers=headers)
    assert_problem(taken, 409, "email_taken")
    unknown = {"username": "zoe", "email": "zoe@example.com", "roles": ["unknown"]}
    body = assert_problem(await post("/v1/users", json=unknown, headers=headers), 422, VALIDATION)
    assert body["errors"][0]["pointer"] == "/roles"


async def test_an_account_is_changed_only_as_it_was_seen(service: Service) -> None:
    headers = await admin(service)
    path, answer = await made(service, headers)
    change = {"username": "eva", "bio": "Reads."}
    blind = await service.http.patch(path, json=change, headers=headers)
    assert_problem(blind, 428, "precondition_required")
    seen = headers | {"If-Match": answer.headers["etag"]}
    changed = await service.http.patch(path, json=change, headers=seen)
    assert changed.status_code == 200
    assert (changed.json()["username"], changed.json()["bio"]) == ("eva", "Reads.")
    assert changed.headers["etag"] != answer.headers["etag"]
    stale = await service.http.patch(path, json=change, headers=seen)
    assert_problem(stale, 412, "version_conflict")
    several = headers | {"If-Match": f'"1", {changed.headers["etag"]}'}
    emptied = await service.http.patch(path, json={"bio": None}, headers=several)
    assert (emptied.status_code, emptied.json()["bio"]) == (200, None)
    any_version = headers | {"If-Match": "*"}
    moved = await service.http.patch(path, json={"locale": "de"}, headers=any_version)
    assert moved.json()["locale"] == "de"
    weak = headers | {"If-Match": f"W/{moved.headers['etag']}"}
    assert_problem(await service.http.delete(path, headers=weak), 412, "version_conflict")


def test_versions_are_read_from_strong_tags_alone() -> None:
    now = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    assert etag(now) == '"1772366400123456"'
    assert versions_of(f'"1","x" ,{etag(now)}') == frozenset(
        {now, datetime(1970, 1, 1, 0, 0, 0, 1, UTC)}
    )
    assert versions_of(f"W/{etag(now)}") == frozenset()
    assert versions_of("nonsense") == frozenset()
    assert versions_of(f'"{"9" * 17}"') == frozenset()
    assert versions_of(" * ") is None
    assert versions_of(None) is None


async def test_a_new_address_is_unverified(service: Service) -> None:
    headers = await admin(service)
    await service.member("ada")
    found = await service.http.get("/v1/users?q=ada", headers=headers)
    path = f"/v1/users/{found.json()['items'][0]['id']}"
    changed = await service.http.patch(
        path, json={"email": "ada@example.org"}, headers=headers | {"If-Match": "*"}
    )
    assert changed.json()["email_verified"] is False
    assert await service.mailed_token("ada@example.org", MailTemplate.VERIFY_EMAIL)


async def test_a_deleted_account_is_gone(service: Service) -> None:
    headers = await admin(service)
    path, answer = await made(service, headers)
    assert_problem(await service.http.delete(path, headers=headers), 428, "precondition_required")
    seen = headers | {"If-Match": answer.headers["etag"]}
    assert (await service.http.delete(path, headers=seen)).status_code == 204
    assert_problem(await service.http.get(path, headers=headers), 404, "not_found")
    assert_problem(await service.http.delete(path, headers=seen), 404, "not_found")


async def test_se_13_suspension_shuts_out_and_reactivation_lets_in(service: Service) -> None:
    headers = await admin(service)
    tokens = await service.bearer("ada")
    path = f"/v1/users/{(await service.http.get('/v1/users/me', headers=tokens)).json()['id']}"
    suspended = await service.http.post(f"{path}/suspend", headers=headers)
    assert (suspended.status_code, suspended.json()["status"]) == (200, "suspended")
    mine = await service.http.get("/v1/users/me", headers=tokens)
    assert_problem(mine, 401, "access_token_invalid")
    let_in = await service.http.post(f"{path}/reactivate", headers=headers)
    assert (let_in.status_code, let_in.json()["status"]) == (200, "active")
    assert await service.sign_in("ada")


async def test_az_11_a_suspended_administrators_token_is_refused(service: Service) -> None:
    first, second = await admin(service), await admin(service, "second")
    me = (await service.http.get("/v1/users/me", headers=second)).json()["id"]
    assert (await service.http.post(f"/v1/users/{me}/suspend", headers=first)).status_code == 200
    refused = await service.http.get("/v1/users", headers=second)
    assert_problem(refused, 401, "access_token_invalid")


async def test_az_05_the_last_administrator_stays_and_nobody_promotes_himself(
    service: Service,
) -> None:
    headers = await admin(service)
    me = (await service.http.get("/v1/users/me", headers=headers)).json()["id"]
    path = f"/v1/users/{me}"
    anything = headers | {"If-Match": "*"}
    for refused in (
        await service.http.post(f"{path}/suspend", headers=headers),
        await service.http.put(f"{path}/roles", json={"roles": []}, headers=headers),
        await service.http.delete(path, headers=anything),
    ):
        assert_problem(refused, 409, "last_admin")
    put = {"scopes": ["roles:write", "users:write"]}
    assert (
        await service.http.put("/v1/roles/granter", json=put, headers=headers)
    ).status_code == 201
    granter = await holds(service, "ada", "granter")
    own = (await service.http.get("/v1/users/me", headers=granter)).json()["id"]
    promoted = await service.http.put(
        f"/v1/users/{own}/roles", json={"roles": [ADMIN]}, headers=granter
    )
    assert_problem(promoted, 403, "permission_denied")
    higher = await service.http.post(f"{path}/password-reset", headers=granter)
    assert_problem(higher, 403, "permission_denied")
    elevated = EVE | {"roles": [ADMIN]}
    created = await service.http.post("/v1/users", json=elevated, headers=granter)
    assert_problem(created, 403, "permission_denied")


async def test_se_14_roles_reach_tokens_at_the_next_refresh(service: Service) -> None:
    headers = await admin(service)
    await service.http.put("/v1/roles/support", json={"scopes": ["users:read"]}, headers=headers)
    await service.member("ada")
    tokens = await service.sign_in("ada")
    me = (await service.http.get("/v1/users/me", headers=bearing(tokens))).json()["id"]
    for roles, scope in (
        (["support"], "account:read account:write users:read"),
        ([], "account:read account:write"),
    ):
        answer = await service.http.put(
            f"/v1/users/{me}/roles", json={"roles": roles}, headers=headers
        )
        assert answer.json()["roles"] == sorted([*roles, "user"])
        refresh = {"refresh_token": tokens["refresh_token"]}
        tokens = (await service.http.post("/v1/sessions/refresh", json=refresh)).json()
        assert tokens["scope"] == scope
    stale = headers | {"If-Match": '"1"'}
    refused = await service.http.put(f"/v1/users/{me}/roles", json={"roles": []}, headers=stale)
    assert_problem(refused, 412, "version_conflict")


async def test_sessions_of_another_are_listed_and_ended(service: Service) -> None:
    headers = await admin(service)
    tokens = await service.bearer("ada")
    me = (await service.http.get("/v1/users/me", headers=tokens)).json()["id"]
    path = f"/v1/users/{me}/sessions"
    listed = await service.http.get(path, headers=headers)
    assert [session["current"] for session in listed.json()["items"]] == [False]
    assert (await service.http.delete(path, headers=headers)).status_code == 204
    assert (await service.http.get(path, headers=headers)).json() == {"items": []}
    nobody = f"/v1/users/{new_id()}/sessions"
    assert_problem(await service.http.get(nobody, headers=headers), 404, "not_found")


async def test_lists_come_in_pages_with_links(service: Service) -> None:
    headers = await admin(service)
    for name in ("ada", "bob"):
        await service.registered(name)
    first = await service.http.get("/v1/users?sort=username&limit=2", headers=headers)
    body = first.json()
    assert [user["username"] for user in body["items"]] == ["ada", "bob"]
    assert set(body["items"][0]) == USER_FIELDS
    link = first.headers["link"]
    assert link.endswith('>; rel="next"')
    url = urlsplit(link[1 : link.index(">")])
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{PUBLIC_URL}/v1/users"
    assert parse_qs(url.query) == {
        "sort": ["username"],
        "limit": ["2"],
        "cursor": [body["next_cursor"]],
    }
    last = await service.http.get(f"{url.path}?{url.query}", headers=headers)
    assert [user["username"] for user in last.json()["items"]] == ["root"]
    assert last.json()["next_cursor"] is None
    assert "link" not in last.headers


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=RO", ["root"]),
        ("q=ada%40example", ["ada"]),
        ("status=suspended", []),
        ("role=admin", ["root"]),
        ("role=unknown", []),
        ("role=user&sort=-email", ["root", "ada"]),
    ],
)
async def test_lists_are_filtered(service: Service, query: str, expected: list[str]) -> None:
    headers = await admin(service)
    await service.registered("ada")
    answer = await service.http.get(f"/v1/users?{query}", headers=headers)
    assert [user["username"] for user in answer.json()["items"]] == expected


@pytest.mark.parametrize(
    ("query", "parameter", "code"),
    [
        ("page=2", "page", "unknown_field"),
        ("limit=0", "limit", "out_of_range"),
        ("limit=201", "limit", "out_of_range"),
        ("limit=x", "limit", "wrong_type"),
        ("sort=bio", "sort", "not_allowed"),
        ("status=gone", "status", "not_allowed"),
        ("role=A", "role", "invalid_text"),
        ("q=", "q", "too_short"),
        ("q=%00", "q", "invalid_text"),
        ("cursor=abc", "cursor", "invalid_cursor"),
        ("cursor=%E4", "cursor", "invalid_cursor"),
    ],
)
async def test_faults_of_a_query_name_the_parameter(
    service: Service, query: str, parameter: str, code: str
) -> None:
    headers = await admin(service)
    answer = await service.http.get(f"/v1/users?{query}", headers=headers)
    body = assert_problem(answer, 422, VALIDATION)
    (fault,) = body["errors"]
    assert (fault["parameter"], fault["code"]) == (parameter, code)
    assert "pointer" not in fault


async def test_in_24_malformed_ids_are_refused(service: Service) -> None:
    headers = await admin(service)
    for path in ("/v1/users/1", "/v1/users/1/suspend", "/v1/users/mei/sessions"):
        method = "POST" if path.endswith("suspend") else "GET"
        answer = await service.http.request(method, path, headers=headers)
        assert assert_problem(answer, 422, VALIDATION)["errors"][0]["parameter"] == "id"
    answer = await service.http.get("/v1/users/me/sessions", headers=headers)
    assert_problem(answer, 404, "not_found")
    answer = await service.http.delete("/v1/users/me", headers=headers)
    assert_problem(answer, 405, "method_not_allowed")


async def test_the_caller_is_checked_before_the_request(service: Service) -> None:
    bearer = await service.bearer("ada")
    answer = await service.http.get("/v1/users?page=2", headers=bearer)
    assert_problem(answer, 403, "insufficient_scope")


async def test_the_longest_search_can_be_paged(service: Service) -> None:
    headers = await admin(service)
    for name in ("ada", "bob"):
        await service.registered(name)
    q = "\N{WAVING HAND SIGN}" * 254
    cursors = service.gatepost.administration.list_accounts.cursors
    asked = {"list": "users", "q": q, "status": None, "role": None, "sort": "email"}
    cursor = cursors.seal(asked, ["a@example.com"])
    query = {"q": q, "sort": "email", "cursor": cursor}
    answer = await service.http.get("/v1/users", params=query, headers=headers)
    assert answer.json() == {"items": [], "next_cursor": None}


async def test_who_has_the_version_that_is_there_is_told_so(service: Service) -> None:
    headers = await admin(service)
    user, _ = await made(service, headers)
    form = {"name": "report", "scopes": ["users:read"]}
    client = (await service.http.post("/v1/clients", json=form, headers=headers)).json()["id"]
    for path in (user, f"/v1/clients/{client}"):
        tag = (await service.http.get(path, headers=headers)).headers["etag"]
        for known in (tag, f"W/{tag}", f'"1", {tag}', "*"):
            sent = headers | {"If-None-Match": known}
            answer = await service.http.get(path, headers=sent)
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == tag
            assert "content-type" not in answer.headers
        for other in ('"1"', tag.strip('"'), ""):
            answer = await service.http.get(path, headers=headers | {"If-None-Match": other})
            assert answer.status_code == 200
    nobody = await service.http.get(user, headers={"If-None-Match": "*"})
    assert_problem(nobody, 401, "unauthenticated")
