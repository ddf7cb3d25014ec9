from datetime import timedelta
from uuid import uuid4

import httpx2
import pytest

from gatepost.entrypoints.http.app import HttpOptions
from tests.unit.entrypoints.http.service import (
    COOKIE,
    FRONTEND,
    OWN_SCRIPT,
    PARTNER,
    PASSWORD,
    PUBLIC_URL,
    Service,
    assert_problem,
    bearing,
    open_service,
)

REFRESH = "/v1/sessions/refresh"
CURRENT = "/v1/sessions/current"


async def test_sign_in_gives_both_tokens(service: Service) -> None:
    await service.member("ada")
    answer = await service.http.post(
        "/v1/sessions",
        json={"login": "ada@example.com", "password": PASSWORD, "device_name": "Büro"},
    )
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {
        "access_token",
        "token_type",
        "expires_in",
        "refresh_token",
        "refresh_expires_in",
        "scope",
        "session_id",
    }
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    assert body["refresh_expires_in"] == 30 * 86_400
    assert body["scope"] == "account:read account:write"
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers


async def test_en_01_unknown_login_and_wrong_password_look_alike(service: Service) -> None:
    await service.member("ada")
    answers = [
        await service.http.post("/v1/sessions", json={"login": login, "password": "wrong one"})
        for login in ("ada", "nobody", "ada@example.com", "no@example.com", "\u202e", "")
    ]
    for answer in answers:
        body = assert_problem(answer, 401, "invalid_credentials")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert body["detail"] == answers[0].json()["detail"]
        assert set(answer.headers) == set(answers[0].headers)


async def test_em_05_unproven_address_is_told_after_the_right_password(service: Service) -> None:
    await service.registered("ada")
    right = {"login": "ada", "password": PASSWORD}
    assert_problem(await service.http.post("/v1/sessions", json=right), 403, "email_not_verified")
    wrong = right | {"password": "wrong one"}
    assert_problem(await service.http.post("/v1/sessions", json=wrong), 401, "invalid_credentials")


@pytest.mark.parametrize("name", ["a\r\nb", "x" * 101, "\u0000", "\u007f", 5, []])
async def test_em_03_device_names_are_one_short_line(shared: Service, name: object) -> None:
    body = {"login": "ada", "password": PASSWORD, "device_name": name}
    answer = await shared.http.post("/v1/sessions", json=body)
    assert (
        assert_problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == "/device_name"
    )


async def test_delivery_is_one_of_two(shared: Service) -> None:
    body = {"login": "ada", "password": PASSWORD, "delivery": "pigeon"}
    answer = await shared.http.post("/v1/sessions", json=body)
    error = assert_problem(answer, 422, "validation_failed")["errors"][0]
    assert (error["pointer"], error["code"]) == ("/delivery", "not_allowed")


async def test_se_01_refresh_rotates(service: Service) -> None:
    await service.member("ada")
    old = await service.sign_in("ada")
    first = await service.http.post(REFRESH, json={"refresh_token": old["refresh_token"]})
    assert first.status_code == 200
    again = await service.http.post(REFRESH, json={"refresh_token": old["refresh_token"]})
    assert again.json()["refresh_token"] == first.json()["refresh_token"]
    assert first.json()["session_id"] == old["session_id"]


@pytest.mark.parametrize("token", ["", "gpr_00", "not one", "é", "x" * 1024])
async def test_every_bad_refresh_token_is_one_refusal(shared: Service, token: str) -> None:
    answer = await shared.http.post(REFRESH, json={"refresh_token": token})
    assert_problem(answer, 400, "invalid_grant")
    assert "set-cookie" not in answer.headers


EMPTY = [b"{}", b'{"refresh_token": null}']


@pytest.mark.parametrize("body", EMPTY)
async def test_refresh_without_any_token(shared: Service, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await shared.http.post(REFRESH, content=body, headers=headers)
    error = assert_problem(answer, 422, "validation_failed")["errors"][0]
    assert (error["pointer"], error["code"]) == ("/refresh_token", "missing")


async def test_a_refresh_that_relies_on_a_cookie_that_is_not_there(shared: Service) -> None:
    assert_problem(await shared.http.post(REFRESH), 400, "invalid_grant")
    for body in (b"", *EMPTY):
        headers = OWN_SCRIPT | ({"Content-Type": "application/json"} if body else {})
        answer = await shared.http.post(REFRESH, content=body, headers=headers)
        assert_problem(answer, 400, "invalid_grant")


def cookie_of(answer: httpx2.Response) -> tuple[str, str, set[str]]:
    """Take a Set-Cookie apart into name, value and attributes."""
    pair, *attributes = answer.headers.get_list("set-cookie")[0].split("; ")
    name, _, value = pair.partition("=")
    return name, value, set(attributes)


async def signed_in_by_cookie(service: Service) -> httpx2.Response:
    await service.member("ada")
    body = {"login": "ada", "password": PASSWORD, "delivery": "cookie"}
    answer = await service.http.post("/v1/sessions", json=body)
    service.http.cookies.clear()
    return answer


async def test_se_16_the_cookie_is_as_strict_as_cookies_get(service: Service) -> None:
    answer = await signed_in_by_cookie(service)
    name, value, attributes = cookie_of(answer)
    assert name == COOKIE
    assert value.startswith("gpr_")
    assert attributes == {"Max-Age=2592000", "Path=/", "HttpOnly", "SameSite=Strict", "Secure"}
    assert answer.json()["refresh_token"] is None
    assert value not in answer.text


@pytest.mark.parametrize(
    ("url", "secure"),
    [
        ("http://127.0.0.1:8000", False),
        ("http://localhost:8000", False),
        ("http://[::1]:8000", False),
        ("http://id.example.com", True),
        ("https://localhost", True),
    ],
)
async def test_se_16_only_loopback_without_tls_goes_without_secure(url: str, secure: bool) -> None:
    service = await open_service(HttpOptions(public_url=url, frontend_url="https://a.example"))
    name, _, attributes = cookie_of(await signed_in_by_cookie(service))
    assert name == (COOKIE if secure else "gatepost_refresh")
    assert ("Secure" in attributes) is secure


@pytest.mark.parametrize("origin", [FRONTEND, PUBLIC_URL, PARTNER])
async def test_the_cookie_refreshes_and_is_replaced(service: Service, origin: str) -> None:
    _, value, _ = cookie_of(await signed_in_by_cookie(service))
    headers = {**OWN_SCRIPT, "Origin": origin, "Cookie": f"{COOKIE}={value}"}
    answer = await service.http.post(REFRESH, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["refresh_token"] is None
    name, successor, _ = cookie_of(answer)
    assert name == COOKIE
    assert successor != value


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://app.example.com.evil.example"},
    {"Origin": "http://app.example.com"},
    {"Origin": ""},
    {"X-Requested-With": "XMLHttpRequest"},
    {"X-Requested-With": ""},
]


async def test_se_17_cookie_borne_calls_from_elsewhere(service: Service) -> None:
    _, value, _ = cookie_of(await signed_in_by_cookie(service))
    own = {**OWN_SCRIPT, "Cookie": f"{COOKIE}={value}"}
    for changed in FOREIGN:
        sent = {name: text for name, text in {**own, **changed}.items() if text}
        refreshed = await service.http.post(REFRESH, headers=sent)
        assert_problem(refreshed, 403, "origin_not_allowed")
        assert_problem(await service.http.delete(CURRENT, headers=sent), 403, "origin_not_allowed")
    # Nothing happened: the cookie still works from where it belongs.
    assert (await service.http.post(REFRESH, headers=own)).status_code == 200


async def test_se_17_a_foreign_page_is_given_no_cookie(service: Service) -> None:
    await service.member("ada")
    body = {"login": "ada", "password": PASSWORD, "delivery": "cookie"}
    for origin in ("http://evil.example", "null", "", PUBLIC_URL.replace("https", "http")):
        answer = await service.http.post("/v1/sessions", json=body, headers={"Origin": origin})
        assert_problem(answer, 403, "origin_not_allowed")
        assert "set-cookie" not in answer.headers
    own = await service.sign_in("ada")
    listed = await service.http.get("/v1/sessions", headers=bearing(own))
    assert len(listed.json()["items"]) == 1
    for origin in (PUBLIC_URL, FRONTEND, PARTNER):
        answer = await service.http.post("/v1/sessions", json=body, headers={"Origin": origin})
        assert answer.status_code == 201
        assert "set-cookie" in answer.headers
    by_body = await service.http.post(
        "/v1/sessions", json=body | {"delivery": "body"}, headers={"Origin": "null"}
    )
    assert by_body.status_code == 201


async def test_se_17_a_plain_form_post_is_no_json(shared: Service) -> None:
    headers = {**OWN_SCRIPT, "Content-Type": "text/plain", "Cookie": f"{COOKIE}=gpr_00"}
    answer = await shared.http.post(REFRESH, content=b"{}", headers=headers)
    assert_problem(answer, 415, "unsupported_media_type")


async def test_a_refused_cookie_is_cleared(shared: Service) -> None:
    headers = {**OWN_SCRIPT, "Cookie": f"{COOKIE}=gpr_00"}
    answer = await shared.http.post(REFRESH, headers=headers)
    assert_problem(answer, 400, "invalid_grant")
    name, value, attributes = cookie_of(answer)
    assert (name, value) == (COOKIE, "")
    # Browsers match by name and path, and keep the prefix rule for clearing too.
    assert attributes == {"Max-Age=0", "Path=/", "HttpOnly", "SameSite=Strict", "Secure"}


async def test_own_sessions_are_listed(service: Service) -> None:
    await service.member("ada")
    await service.sign_in("ada", device_name="Laptop")
    service.ports.now.advance(timedelta(seconds=1))
    second = await service.sign_in("ada")
    answer = await service.http.get("/v1/sessions", headers=bearing(second))
    assert answer.status_code == 200
    newest, oldest = answer.json()["items"]
    assert (newest["id"], newest["current"]) == (second["session_id"], True)
    assert (oldest["device_name"], oldest["current"]) == ("Laptop", False)
    assert set(newest) == {
        "id",
        "created_at",
        "last_used_at",
        "device_name",
        "user_agent",
        "ip",
        "current",
    }
    assert (newest["device_name"], newest["ip"]) == (None, "203.0.113.9")


async def test_se_08_signing_out_ends_at_once_and_again_is_no_error(service: Service) -> None:
    await service.member("ada")
    tokens = await service.sign_in("ada")
    for _ in range(2):
        answer = await service.http.delete(CURRENT, headers=bearing(tokens))
        assert (answer.status_code, answer.content) == (204, b"")
        assert cookie_of(answer)[:2] == (COOKIE, "")
    me = await service.http.get("/v1/users/me", headers=bearing(tokens))
    assert_problem(me, 401, "access_token_invalid")


async def test_signing_out_needs_no_fresh_token(service: Service) -> None:
    await service.member("ada")
    tokens = await service.sign_in("ada")
    service.ports.now.advance(timedelta(hours=1))
    assert (await service.http.delete(CURRENT, headers=bearing(tokens))).status_code == 204
    body = {"refresh_token": tokens["refresh_token"]}
    assert_problem(await service.http.post(REFRESH, json=body), 400, "invalid_grant")


async def test_signing_out_by_cookie(service: Service) -> None:
    _, value, _ = cookie_of(await signed_in_by_cookie(service))
    headers = {**OWN_SCRIPT, "Cookie": f"{COOKIE}={value}"}
    for _ in range(2):
        answer = await service.http.delete(CURRENT, headers=headers)
        assert answer.status_code == 204
        assert cookie_of(answer)[:2] == (COOKIE, "")
    assert_problem(await service.http.post(REFRESH, headers=headers), 400, "invalid_grant")


async def test_signing_out_with_nothing_or_rubbish(shared: Service) -> None:
    assert_problem(await shared.http.delete(CURRENT), 401, "unauthenticated")
    rubbish = {"Authorization": "Bearer x"}
    answer = await shared.http.delete(CURRENT, headers=rubbish)
    assert_problem(answer, 401, "access_token_invalid")


async def test_se_09_one_own_session_is_ended_and_no_other(service: Service) -> None:
    stranger = await service.bearer("eve")
    await service.member("ada")
    here, there = await service.sign_in("ada"), await service.sign_in("ada")
    path = f"/v1/sessions/{there['session_id']}"
    assert_problem(await service.http.delete(path, headers=stranger), 404, "not_found")
    assert (await service.http.delete(path, headers=bearing(here))).status_code == 204
    assert_problem(await service.http.delete(path, headers=bearing(here)), 404, "not_found")


async def test_in_24_malformed_ids(service: Service) -> None:
    headers = await service.bearer("ada")
    for session_id in ("1", "x" * 3000, "%00", "%F0%9F", "' OR 1=1", "null", "0" * 33):
        answer = await service.http.delete(f"/v1/sessions/{session_id}", headers=headers)
        assert_problem(answer, 404, "not_found")
    for path in ("/v1/sessions/refresh", "/v1/sessions/current"):
        answer = await service.http.put(path, headers=headers)
        assert_problem(answer, 405, "method_not_allowed")
    assert (await service.http.delete("/v1/sessions/refresh")).headers["Allow"] == "POST"
    answer = await service.http.delete("/v1/sessions/..%2F1", headers=headers)
    assert answer.status_code == 404


async def test_an_unknown_id_is_not_found(service: Service) -> None:
    headers = await service.bearer("ada")
    answer = await service.http.delete(f"/v1/sessions/{uuid4()}", headers=headers)
    assert_problem(answer, 404, "not_found")


async def test_all_but_the_current_session_are_ended(service: Service) -> None:
    await service.member("ada")
    here, there = bearing(await service.sign_in("ada")), bearing(await service.sign_in("ada"))
    ended = await service.http.delete("/v1/sessions", headers=here)
    assert (ended.status_code, ended.content) == (204, b"")
    assert "content-type" not in ended.headers
    assert (await service.http.get("/v1/users/me", headers=here)).status_code == 200
    answer = await service.http.get("/v1/users/me", headers=there)
    assert_problem(answer, 401, "access_token_invalid")


async def test_se_15_every_sign_in_makes_a_session_of_its_own(service: Service) -> None:
    await service.member("ada")
    first = await service.sign_in("ada")
    answer = await service.http.post(
        "/v1/sessions", json={"login": "ada", "password": PASSWORD}, headers=bearing(first)
    )
    second = answer.json()
    assert first["session_id"] != second["session_id"]
    assert first["refresh_token"] != second["refresh_token"]
