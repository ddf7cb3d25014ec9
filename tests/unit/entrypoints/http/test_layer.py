import json
from collections.abc import AsyncIterator
from ipaddress import ip_network
from uuid import UUID

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Message

from gatepost.domain import errors as domain
from gatepost.domain.audit import ClientContext
from gatepost.domain.errors import Kind, Unavailable
from gatepost.entrypoints.http.client_address import clean_user_agent, client_ip, client_of
from gatepost.entrypoints.http.errors import STATUS, catalogue
from gatepost.entrypoints.http.options import HttpOptions, origin_of
from tests.unit.entrypoints.http.service import (
    FRONTEND,
    PARTNER,
    PUBLIC_URL,
    Service,
    api_routes,
    assert_problem,
    open_service,
)

PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_every_kind_has_a_status() -> None:
    assert set(STATUS) == set(Kind)


def test_the_catalogue_holds_every_domain_error_once() -> None:
    codes = [
        error.code
        for error in vars(domain).values()
        if isinstance(error, type)
        and issubclass(error, domain.GatepostError)
        and error is not domain.GatepostError
    ]
    assert len(set(codes)) == len(codes)
    assert set(codes) < set(catalogue())


@pytest.mark.parametrize("given", ["abc-1._Z", "x" * 128])
async def test_a_sane_request_id_is_kept(shared: Service, given: str) -> None:
    answer = await shared.http.get("/livez", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\tb", "ä", "<script>", "a/b"])
async def test_any_other_request_id_is_replaced(shared: Service, given: str) -> None:
    headers = [(b"X-Request-ID", given.encode())]
    answer = await shared.http.get("/livez", headers=headers)
    assert UUID(answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/livez"),
        ("GET", "/nope"),
        ("PUT", "/v1/sessions"),
        ("POST", "/v1/register"),
        ("GET", "/v1/users/me"),
        ("GET", "/docs"),
        ("GET", "/.well-known/change-password"),
        ("GET", "/.well-known/jwks.json"),
        ("OPTIONS", "/v1/register"),
    ],
)
async def test_in_11_headers_of_every_answer(shared: Service, method: str, path: str) -> None:
    headers = (await shared.http.request(method, path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-request-id"]
    assert "server" not in headers
    assert "x-powered-by" not in headers
    assert headers["vary"] == "Origin"
    if path.startswith("/v1"):
        assert headers["cache-control"] == "no-store"


def test_an_answer_without_a_body_names_no_type_of_one(shared: Service) -> None:
    empty = [route for route in api_routes(shared.app) if route.status_code == 204]
    assert len(empty) >= 11
    for route in empty:
        made = route.response_class
        assert isinstance(made, type)
        assert "content-type" not in made(status_code=204).headers


@pytest.fixture(scope="module")
async def faulty() -> Service:
    service = await open_service()
    add_faults(service.app)
    return service


@pytest.mark.parametrize("origin", [FRONTEND, PUBLIC_URL, PARTNER])
@pytest.mark.parametrize("path", ["/livez", "/nope", "/v1/users/me", "/boom"])
async def test_allowed_origins_may_read_errors_too(
    faulty: Service, origin: str, path: str
) -> None:
    answer = await faulty.http.get(path, headers={"Origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert exposed >= {"Retry-After", "X-Request-ID", "WWW-Authenticate", "ETag", "Link"}


@pytest.mark.parametrize(
    "origin",
    ["null", "*", "https://evil.example", f"{FRONTEND}.evil.example", FRONTEND.upper(), "\xe4"],
)
async def test_other_origins_get_no_permission(shared: Service, origin: str) -> None:
    headers = [(b"Origin", origin.encode("latin-1"))]
    answer = await shared.http.get("/livez", headers=headers)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = [*headers, (b"Access-Control-Request-Method", b"POST")]
    answer = await shared.http.options("/v1/sessions", headers=preflight)
    assert_problem(answer, 403, "origin_not_allowed")
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_preflight(shared: Service) -> None:
    answer = await shared.http.options(
        "/v1/sessions",
        headers={
            "Origin": FRONTEND,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-requested-with",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == FRONTEND
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert "X-Requested-With" in answer.headers["access-control-allow-headers"]


def add_faults(app: FastAPI) -> None:
    async def boom(request: Request) -> PlainTextResponse:
        raise RuntimeError("secret of the house")

    async def late(request: Request) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"some"
            raise RuntimeError("too late")

        return StreamingResponse(body())

    async def away(request: Request) -> PlainTextResponse:
        raise Unavailable

    for path, endpoint in {"/boom": boom, "/late": late, "/away": away}.items():
        app.router.add_route(path, endpoint)


async def test_in_18_unknown_exceptions_are_answered_and_go_no_further(
    faulty: Service, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await faulty.http.get("/boom")
    assert_problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert "unhandled" in caplog.text


async def test_head_is_answered_wherever_get_is(shared: Service) -> None:
    got = await shared.http.get("/.well-known/jwks.json")
    head = await shared.http.head("/.well-known/jwks.json")
    assert head.status_code == 200
    for name in ("content-type", "content-length", "cache-control"):
        assert head.headers[name] == got.headers[name]
    assert (await shared.http.head("/v1/users/me")).status_code == 401
    refused = await shared.http.head("/v1/register")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert not any("head" in path for path in shared.app.openapi()["paths"].values())


async def test_in_18_after_the_start_only_a_broken_connection_tells(faulty: Service) -> None:
    with pytest.raises(RuntimeError, match="too late"):
        await faulty.http.get("/late")


async def test_outages_say_when_to_come_back(faulty: Service) -> None:
    answer = await faulty.http.get("/away")
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"


def ip_of(peer: str | None, forwarded: str | None, trusted: bool = True) -> str | None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    scope = {"client": (peer, 1) if peer else None, "headers": headers}
    return client_ip(scope, PROXIES if trusted else ())


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.1, rubbish", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1, rubbish, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::1", "[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:10.0.0.1", "198.51.100.1:8080", "198.51.100.1"),
        ("fe80::1%eth0", None, "fe80::1"),
        ("testclient", None, None),
        (None, "198.51.100.1", None),
    ],
)
def test_forwarded_addresses_count_only_behind_trusted_proxies(
    peer: str | None, forwarded: str | None, expected: str | None
) -> None:
    assert ip_of(peer, forwarded) == expected


def test_nobody_is_trusted_by_default() -> None:
    assert ip_of("127.0.0.1", "198.51.100.1", trusted=False) == "127.0.0.1"
    assert HttpOptions().trusted_proxies == ()


def test_several_header_lines_are_one_list() -> None:
    lines = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"198.51.100.1")]
    scope = {"client": ("10.0.0.1", 1), "headers": lines}
    assert client_ip(scope, PROXIES) == "198.51.100.1"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, None),
        (b"", None),
        (b"curl/8", "curl/8"),
        (b"a\r\n\x00\x1b[31mb", "a[31mb"),
        (b"\x01", None),
        (b"x" * 600, "x" * 512),
    ],
)
def test_user_agents_are_cut_and_cleaned(raw: bytes | None, expected: str | None) -> None:
    assert clean_user_agent(raw) == expected


async def test_routes_learn_who_called(service: Service) -> None:
    seen: list[ClientContext] = []

    async def look(request: Request) -> PlainTextResponse:
        seen.append(client_of(request.scope))
        return PlainTextResponse("")

    service.app.router.add_route("/look", look)
    headers = {"User-Agent": "probe/1", "X-Request-ID": "r-1"}
    await service.http.get("/look", headers=headers)
    assert seen == [ClientContext(ip="203.0.113.9", user_agent="probe/1", request_id="r-1")]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://id.example.com/path/", "https://id.example.com"),
        ("https://ID.example.com:443", "https://id.example.com"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_origins(url: str, origin: str) -> None:
    assert origin_of(url) == origin


async def test_a_client_that_leaves_is_no_fault(
    shared: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def nowhere(message: Message) -> None:
        raise AssertionError(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"9")]
    scope = {"type": "http", "method": "POST", "path": "/v1/register", "headers": headers}
    await shared.serve(scope | {"query_string": b"", "client": None}, gone, nowhere)
    assert not caplog.records


async def test_in_03_a_length_that_is_announced_too_large_is_not_read(shared: Service) -> None:
    sent: list[Message] = []

    async def never() -> Message:
        raise AssertionError("read")

    async def keep(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"65537")]
    scope = {"type": "http", "method": "POST", "path": "/v1/register", "headers": headers}
    await shared.serve(scope | {"query_string": b"", "client": None}, never, keep)
    assert sent[0]["status"] == 413


@pytest.mark.parametrize(
    ("version", "headers", "status"),
    [
        ("1.1", [], 400),
        ("1.1", [(b"host", b"id.example.com")], 200),
        ("1.0", [], 200),
        ("2", [], 200),
    ],
)
async def test_http_1_1_needs_a_host(
    shared: Service, version: str, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    sent: list[Message] = []

    async def nothing() -> Message:
        return {"type": "http.request"}

    async def keep(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/livez", "headers": headers}
    more = {"http_version": version, "query_string": b"", "client": None}
    await shared.app(scope | more, nothing, keep)
    assert sent[0]["status"] == status
    if status == 400:
        assert json.loads(sent[1]["body"])["code"] == "malformed_request"
