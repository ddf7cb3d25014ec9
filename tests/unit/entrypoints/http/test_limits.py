"""Rate limits as clients meet them."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest

from gatepost.adapters.memory import MemoryPorts
from gatepost.application.ports.delivery import MailTemplate
from gatepost.domain.limits import LimitPolicy, Rate, Rule
from tests.unit.entrypoints.http.service import (
    OPTIONS,
    PASSWORD,
    Service,
    assert_problem,
    bearing,
    client_of,
    open_service,
    ports_for,
)

ON = LimitPolicy()
WRONG = "not the right phrase"
DEVICE = "__Host-gatepost_device"


@pytest.fixture
async def limited() -> Service:
    return await open_service(limits=ON)


def rates(**changed: str) -> LimitPolicy:
    given = {Rule(name): Rate.parse(text) for name, text in changed.items()}
    return LimitPolicy(rates={**LimitPolicy().rates, **given})


async def guess(http: httpx2.AsyncClient, login: str = "ada", **more: Any) -> httpx2.Response:
    body = {"login": login, "password": WRONG}
    return await http.post("/v1/sessions", json=body, **more)


async def lock(service: Service, login: str = "ada") -> httpx2.Response:
    for _ in range(10):
        assert (await guess(service.http, login)).status_code == 401
    return await guess(service.http, login)


async def test_rl_01_rl_10_guessing_stops_after_ten_tries(limited: Service) -> None:
    await limited.member("ada")
    refused = await lock(limited)
    assert_problem(refused, 429, "rate_limited")
    assert int(refused.headers["retry-after"]) == 30
    assert '"login";q=10;w=300' in refused.headers["ratelimit-policy"]
    assert '"login";r=0;t=30' in refused.headers["ratelimit"]
    assert limited.ports.metrics.counts["limited", "login"] == 1
    hashes = limited.ports.hasher.work
    assert (await guess(limited.http, "ADA")).status_code == 429
    assert limited.ports.hasher.work == hashes


async def test_rl_04_the_owner_keeps_his_session_and_comes_back(limited: Service) -> None:
    await limited.member("ada")
    open_session = bearing(await limited.sign_in("ada"))
    await lock(limited)
    answer = await limited.http.get("/v1/users/me", headers=open_session)
    assert answer.status_code == 200
    limited.ports.now.advance(timedelta(minutes=15))
    await limited.sign_in("ada")


async def test_a_refused_login_does_not_tell_whether_it_is_known(limited: Service) -> None:
    await limited.member("ada")
    known = await lock(limited)
    limited.ports.now.advance(timedelta(minutes=1))
    unknown = await lock(limited, "bob")
    ours = {"instance", "request_id"}
    assert {k: v for k, v in known.json().items() if k not in ours} == {
        k: v for k, v in unknown.json().items() if k not in ours
    }
    assert set(known.headers) == set(unknown.headers)


async def test_right_passwords_use_nothing_up() -> None:
    service = await open_service(limits=rates(login_address="99/1m"))
    await service.member("ada")
    for _ in range(25):
        await service.sign_in("ada")


async def test_a_known_browser_gets_in_while_strangers_guess(limited: Service) -> None:
    await limited.member("ada")
    body = {"login": "ada", "password": PASSWORD, "delivery": "cookie"}
    answer = await limited.http.post("/v1/sessions", json=body)
    cookies = answer.headers.get_list("set-cookie")
    assert [one.partition("=")[0] for one in cookies] == ["__Host-gatepost_refresh", DEVICE]
    attributes = "Max-Age=31536000; Path=/; HttpOnly; SameSite=Strict; Secure"
    assert cookies[1].endswith(f"; {attributes}")
    limited.http.cookies.clear()
    assert (await lock(limited)).status_code == 429
    limited.ports.now.advance(timedelta(seconds=20))
    bearer = {"Cookie": cookies[1].partition(";")[0]}
    assert (await guess(limited.http, headers=bearer)).status_code == 401
    again = await limited.http.post("/v1/sessions", json=body, headers=bearer)
    assert again.status_code == 201
    limited.http.cookies.clear()
    assert (await guess(limited.http)).status_code == 429


async def test_rl_07_one_address_gets_three_mails_and_one_answer() -> None:
    service = await open_service(limits=rates(mail_address="101/1h"))
    await service.member("ada")
    answers = [
        await service.http.post("/v1/password-resets", json={"email": "ada@example.com"})
        for _ in range(100)
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, answers[0].text)}
    assert len({frozenset(answer.headers) for answer in answers}) == 1
    await service.work()
    sent = [mail.template for mail in service.ports.mailer.sent_to("ada@example.com")]
    assert sent.count(MailTemplate.RESET_PASSWORD) == 3
    assert_problem(
        [
            await service.http.post("/v1/password-resets", json={"email": f"x{n}@example.com"})
            for n in range(2)
        ][-1],
        429,
        "rate_limited",
    )


async def test_rl_13_registrations_stop_before_they_hash(limited: Service) -> None:
    statuses = []
    for n in range(200):
        body = {"username": f"user{n}", "email": f"u{n}@example.com", "password": PASSWORD}
        statuses.append((await limited.http.post("/v1/register", json=body)).status_code)
    assert statuses == [202] * 10 + [429] * 190
    assert limited.ports.hasher.work == 10


PROXY = replace(OPTIONS, trusted_proxies=(ip_network("10.0.0.0/8"),))


async def test_rl_12_one_ipv6_network_counts_as_one_client() -> None:
    service = await open_service(PROXY, limits=rates(public="2/1m"))
    proxied = client_of(service.serve, "10.1.1.1")

    async def undo(ip: str) -> int:
        headers = {"X-Forwarded-For": ip}
        url, body = "/v1/email-changes/undo", {"token": "nothing"}
        return (await proxied.post(url, json=body, headers=headers)).status_code

    assert [await undo(f"2001:db8::{n}") for n in range(3)] == [400, 400, 429]
    assert await undo("2001:db8:0:1::1") == 400


async def test_forged_addresses_change_nothing() -> None:
    service = await open_service(PROXY, limits=rates(public="2/1m"))
    statuses = [
        (
            await service.http.post(
                "/v1/email-changes/undo",
                json={"token": "nothing"},
                headers={"X-Forwarded-For": f"192.0.2.{n}"},
            )
        ).status_code
        for n in range(3)
    ]
    assert statuses == [400, 400, 429]


TIGHT = rates(public="1/1h", user="1/1h", mail_address="1/1h", login_address="1/1h")
PUBLIC: list[tuple[str, str, dict[str, str]]] = [
    ("POST", "/v1/email-changes/undo", {"token": "x"}),
    ("POST", "/v1/email-verifications/confirm", {"token": "x", "password": PASSWORD}),
    ("POST", "/v1/password-resets/confirm", {"token": "x", "new_password": PASSWORD}),
    ("POST", "/v1/email-verifications", {"email": "x@example.com"}),
    ("POST", "/v1/password-resets", {"email": "x@example.com"}),
    ("POST", "/v1/sessions", {"login": "x", "password": PASSWORD}),
    ("POST", "/v1/sessions/refresh", {"refresh_token": "x"}),
]


@pytest.mark.parametrize(("method", "path", "body"), PUBLIC)
async def test_rl_10_every_public_call_says_when_to_come_back(
    method: str, path: str, body: dict[str, str]
) -> None:
    service = await open_service(limits=TIGHT)
    await service.http.request(method, path, json=body)
    refused = await service.http.request(method, path, json=body)
    assert_problem(refused, 429, "rate_limited")
    assert refused.headers["ratelimit"].endswith(f"r=0;t={refused.headers['retry-after']}")


@pytest.mark.parametrize("path", ["token", "revoke"])
async def test_rl_10_oauth_refuses_in_its_own_words(path: str) -> None:
    service = await open_service(limits=TIGHT)
    form = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}
    await service.http.post(f"/oauth2/{path}", data=form)
    refused = await service.http.post(f"/oauth2/{path}", data=form)
    assert (refused.status_code, refused.json()["error"]) == (429, "temporarily_unavailable")
    assert int(refused.headers["retry-after"]) > 0


async def test_calls_of_a_user_count_and_probes_do_not() -> None:
    service = await open_service(limits=rates(user="1/1h"))
    bearer = await service.bearer("ada")
    first = await service.http.get("/v1/users/me", headers=bearer)
    assert first.headers["ratelimit"] == '"user";r=0;t=3600'
    refused = await service.http.get("/v1/users/me", headers=bearer)
    assert_problem(refused, 429, "rate_limited")
    for path in ("/livez", "/readyz", "/health", "/.well-known/jwks.json"):
        answer = await service.http.get(path)
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers


async def test_without_a_store_guesses_wait_and_the_rest_goes_on(limited: Service) -> None:
    bearer = await limited.bearer("ada")
    ports: MemoryPorts = limited.ports
    ports.limiter.is_down = True
    assert_problem(await guess(limited.http), 503, "unavailable")
    assert (await limited.http.get("/v1/users/me", headers=bearer)).status_code == 200


async def test_switched_off_nothing_is_asked() -> None:
    ports = ports_for()
    ports.limiter.is_down = True
    service = await open_service(ports=ports)
    await service.bearer("ada")
