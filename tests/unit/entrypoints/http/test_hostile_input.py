"""Whatever is sent: a refusal of the documented shape, which repeats nothing of it."""

import json
import re
import time
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from gatepost.entrypoints.http.middleware import MAX_BODY
from tests.unit.entrypoints.http.service import (
    Service,
    api_routes,
    assert_problem,
    method_of,
    open_service,
)

MARKER = "mrk7Zq"
JSON = "application/json"
UNSUPPORTED = "unsupported_media_type"
SOME_ID = "01890000-0000-7000-8000-000000000001"
WRONG_VALUES = [1, -1.5, True, None, [MARKER], {"a": MARKER}, [[[MARKER]]], 10**400]


@pytest.fixture(scope="module")
async def signed_in() -> Service:
    service = await open_service()
    service.http.headers.update(await service.admin())
    return service


def fields_of(route: APIRoute) -> list[str]:
    assert route.body_field is not None
    declared = route.body_field.field_info.annotation
    (model,) = {*getattr(declared, "__args__", (declared,))} - {type(None)}
    assert issubclass(model, BaseModel)
    return list(model.model_fields)


def routes_with_body(service: Service) -> list[APIRoute]:
    found = [route for route in api_routes(service.app) if route.body_field is not None]
    assert len(found) >= 9
    return found


async def send(
    service: Service, route: APIRoute, body: bytes, media: str = JSON, **more: str
) -> httpx2.Response:
    method = method_of(route)
    headers = {"Content-Type": media, "If-Match": "*", **more}
    path = re.sub(r"\{\w*id\}", SOME_ID, route.path_format).replace("{name}", "support")
    answer = await service.http.request(method, path, content=body, headers=headers)
    assert 400 <= answer.status_code < 500, (route.path_format, body[:80], answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert MARKER not in answer.text
    assert MARKER not in str(answer.headers)
    return answer


def quoted(text: str) -> str:
    return f'"{MARKER}{text}{MARKER}"'


MALFORMED = {
    "empty": b" ",
    "cut": b'{"email": "' + MARKER.encode(),
    "nan": b'{"email": NaN, "token": "' + MARKER.encode() + b'"}',
    "infinity": b'{"email": -Infinity}',
    "1e400": b'{"email": 1e400}',
    "5000 digits": b'{"email": ' + b"9" * 5000 + b"}",
    "100000 levels": b"[" * 60_000,
    "deep objects": b'{"a":' * 10_000,
    "bad utf-8": b'{"email": "' + MARKER.encode() + b'\xff\xfe"}',
    "overlong": b'{"email": "\xc0\x80"}',
    "raw surrogate": b'{"email": "\xed\xa0\x80"}',
    "utf-16": '{"email": "a"}'.encode("utf-16"),
    "bom": b"\xef\xbb\xbf{}",
    "twice": b'{"email": "' + MARKER.encode() + b'", "email": "b"}',
    "raw line break": b'{"email": "a\nb"}',
    "comment": b"{/* */}",
    "two texts": b"{} {}",
    "form": f"email={MARKER}".encode(),
}


def routes_without_body(service: Service) -> list[APIRoute]:
    found = [route for route in api_routes(service.app) if route.body_field is None]
    changing = [r for r in found if r.path.startswith("/v1/") and method_of(r) != "GET"]
    assert len(changing) >= 11
    return changing


async def test_a_body_that_no_route_reads_is_refused_by_its_fields(signed_in: Service) -> None:
    for route in routes_without_body(signed_in):
        answer = await send(signed_in, route, b'{"reason": "%s", "b": 1}' % MARKER.encode())
        errors = assert_problem(answer, 422, "validation_failed")["errors"]
        assert [(error["pointer"], error["code"]) for error in errors] == [
            ("/reason", "unknown_field"),
            ("/b", "unknown_field"),
        ]
        assert_problem(await send(signed_in, route, b"a=b", "text/plain"), 415, UNSUPPORTED)
        assert_problem(await send(signed_in, route, b"{"), 400, "malformed_request")
        stranger = await send(signed_in, route, b"{", Authorization="Bearer x")
        assert stranger.status_code == (400 if route.path.endswith("/current") else 401)


async def test_a_body_that_says_nothing_is_no_body() -> None:
    service = await open_service()
    root, ada = await service.admin(), await service.bearer("ada")
    me = (await service.http.get("/v1/users/me", headers=ada)).json()["id"]
    for body in (b"", b"{}"):
        for call in ("suspend", "reactivate"):
            headers = root | {"Content-Type": JSON}
            answer = await service.http.post(
                f"/v1/users/{me}/{call}", content=body, headers=headers
            )
            assert answer.status_code == 200
    assert (await service.http.post(f"/v1/users/{me}/suspend", headers=root)).status_code == 200


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_in_05_what_is_no_json_of_ours(signed_in: Service, body: bytes) -> None:
    for route in routes_with_body(signed_in):
        assert_problem(await send(signed_in, route, body), 400, "malformed_request")


@pytest.mark.parametrize("body", ["[]", "null", "1", '"x"', "true", f'["{MARKER}"]'])
async def test_the_body_is_an_object(signed_in: Service, body: str) -> None:
    for route in routes_with_body(signed_in):
        answer = await send(signed_in, route, body.encode())
        errors = assert_problem(answer, 422, "validation_failed")["errors"]
        assert [(each["pointer"], each["code"]) for each in errors] == [("", "wrong_type")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (r"\u0000", "nul_character"),
        (r"\ud800", "invalid_text"),
        (r"\udfff", "invalid_text"),
        (r"\udc00\ud800", "invalid_text"),
    ],
)
async def test_in_01_nul_and_lone_surrogates_in_every_field(
    signed_in: Service, text: str, code: str
) -> None:
    for route in routes_with_body(signed_in):
        for name in fields_of(route):
            answer = await send(signed_in, route, f'{{"{name}": {quoted(text)}}}'.encode())
            errors = assert_problem(answer, 422, "validation_failed")["errors"]
            assert [(each["pointer"], each["code"]) for each in errors] == [(f"/{name}", code)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"email": "a\0b"}',
        b"\0",
        rb'{"x": {"y": ["\u0000"]}}',
        rb'{"\u0000": 1}',
        rb'{"a\ud800": 1}',
    ],
)
async def test_in_01_nul_anywhere_else(signed_in: Service, body: bytes) -> None:
    for route in routes_with_body(signed_in):
        assert_problem(await send(signed_in, route, body), 422, "validation_failed")


async def test_in_05_wrong_types_in_every_field(signed_in: Service) -> None:
    for route in routes_with_body(signed_in):
        for name in fields_of(route):
            for value in WRONG_VALUES:
                if value is None and name in ("bio", "refresh_token", "expires_at"):
                    continue
                if value == [MARKER] and name in ("roles", "scopes"):
                    continue
                answer = await send(signed_in, route, json.dumps({name: value}).encode())
                errors = assert_problem(answer, 422, "validation_failed")["errors"]
                nullable = (
                    "locale",
                    "device_name",
                    *["password"] * (route.path_format == "/v1/users"),
                )
                if not (value is None and name in nullable):
                    assert any(each["pointer"].startswith(f"/{name}") for each in errors)


async def test_unknown_fields_are_named_but_no_values_or_odd_names(signed_in: Service) -> None:
    for route in routes_with_body(signed_in):
        known = await send(signed_in, route, json.dumps({"Is_Admin": MARKER}).encode())
        errors = assert_problem(known, 422, "validation_failed")["errors"]
        assert ("/Is_Admin", "unknown_field") in {(e["pointer"], e["code"]) for e in errors}
        odd = await send(signed_in, route, json.dumps({f"<{MARKER}>": 1}).encode())
        assert_problem(odd, 422, "validation_failed")


async def test_pw_10_huge_values_in_every_field_are_refused_cheaply(signed_in: Service) -> None:
    work, started = signed_in.ports.hasher.work, time.process_time()
    for route in routes_with_body(signed_in):
        for name in fields_of(route):
            body = {
                "login": "ada",
                "token": "x",
                "username": "nobody",
                "email": "a@example.com",
                "password": "some good phrase",
                "current_password": "some good phrase",
                "new_password": "some good phrase",
                name: MARKER + "ä" * 25_000,
            }
            body = {key: value for key, value in body.items() if key in fields_of(route)}
            await send(signed_in, route, json.dumps(body, ensure_ascii=False).encode())
    assert signed_in.ports.hasher.work == work
    assert time.process_time() - started < 2


async def test_in_17_a_great_many_keys(signed_in: Service) -> None:
    body = json.dumps({f"{number:x}": 0 for number in range(7000)}).encode()
    for route in routes_with_body(signed_in):
        answer = await send(signed_in, route, body)
        assert len(answer.content) < 8192


@pytest.mark.parametrize(
    ("media", "more"),
    [
        ("text/plain", {}),
        ("", {}),
        ("application/x-www-form-urlencoded", {}),
        ("multipart/form-data; boundary=x", {}),
        ("application/json; charset=utf-16", {}),
        ("application/json, text/plain", {}),
        ("application/problem+json", {}),
        ("application/jsonp", {}),
        (JSON, {"Content-Encoding": "gzip"}),
        (JSON, {"Content-Encoding": "br, identity"}),
    ],
)
async def test_in_07_one_media_type(signed_in: Service, media: str, more: dict[str, str]) -> None:
    for route in routes_with_body(signed_in):
        answer = await send(signed_in, route, b"{}", media, **more)
        assert_problem(answer, 415, "unsupported_media_type")


async def test_json_in_utf_8_may_say_so(signed_in: Service) -> None:
    for media in ("application/json; charset=UTF-8", 'Application/JSON;charset="utf-8"'):
        for route in routes_with_body(signed_in):
            if route.path_format != "/v1/users/me":
                answer = await send(signed_in, route, b"{}", media)
                assert answer.json()["code"] in ("validation_failed", "not_found")


async def test_in_03_a_body_over_the_limit(signed_in: Service) -> None:
    for route in routes_with_body(signed_in):
        body = b'{"email": "' + b"a" * (MAX_BODY - 12) + b'"}'
        assert len(body) == MAX_BODY + 1
        assert_problem(await send(signed_in, route, body), 413, "body_too_large")
        await send(signed_in, route, body[:-3] + b'"}')


async def test_in_03_a_stream_is_counted_and_not_kept(signed_in: Service) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 64 * 1024 * 1024:
            taken += 16_384
            yield b" " * 16_384

    for route in routes_with_body(signed_in):
        taken = 0
        method = method_of(route)
        answer = await signed_in.http.request(
            method, route.path_format, content=endless(), headers={"Content-Type": JSON}
        )
        assert_problem(answer, 413, "body_too_large")
        assert taken <= 2 * MAX_BODY


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/register/", "/V1/register", "/%00", "/v1//me"])
async def test_in_07_unknown_paths(signed_in: Service, path: str) -> None:
    answer = await signed_in.http.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


async def test_in_07_wrong_methods_tell_the_right_ones(signed_in: Service) -> None:
    answer = await signed_in.http.put("/v1/sessions")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, POST"
    for route in routes_with_body(signed_in):
        answer = await signed_in.http.request("TRACE", route.path_format)
        assert_problem(answer, 405, "method_not_allowed")
        assert method_of(route) in set(answer.headers["allow"].split(", "))
