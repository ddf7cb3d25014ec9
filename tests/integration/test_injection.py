"""What is sent reaches PostgreSQL as values, never as a part of a statement."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gatepost.application.gatepost import Gatepost
from gatepost.domain.audit import ClientContext
from gatepost.domain.roles import Principal
from gatepost.entrypoints.container import open_gatepost
from gatepost.entrypoints.http.app import HttpOptions, create_app
from gatepost.entrypoints.settings import load
from tests.integration.tap import Tap

MARKER = "mrk7Zq"
# None of the examples, or one of them would change it.
PASSWORD = "no horse and no battery"
PAYLOADS = (
    f"{MARKER}' OR '1'='1' -- ",
    f'{MARKER}\\"); DROP TABLE accounts; /* $1 %s :x $$',
)
ID = "01890000-0000-7000-8000-000000000001"
# Headers that are looked at in some way, whatever the route says it takes.
HEADERS = (
    *("User-Agent", "X-Request-ID", "Accept-Language", "X-Forwarded-For", "Origin", "Host"),
    *("If-Match", "If-None-Match", "Idempotency-Key", "Traceparent", "Cookie"),
)
METHODS = ("get", "post", "put", "patch", "delete")
Call = dict[str, Any]


class Scanner:
    """Sends the payloads wherever the description of the API has room for one."""

    def __init__(self, http: httpx2.AsyncClient, description: dict[str, Any]) -> None:
        self.http = http
        self._description = description
        self.sent = 0

    async def sign_in(self) -> dict[str, str]:
        # By the address, as some calls change the username.
        login = {"login": "root@example.com", "password": PASSWORD}
        answer = await self.http.post("/v1/sessions", json=login)
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    async def scan(self, payload: str) -> None:
        for path, operations in self._description["paths"].items():
            for method in METHODS:
                if method in operations:
                    # Some calls end the session, or every other one.
                    bearer = await self.sign_in()
                    for call in self._calls(path, operations[method], payload):
                        await self._send(method, bearer, call)

    async def _send(self, method: str, bearer: dict[str, str], call: Call) -> None:
        call["headers"] = bearer | call["headers"]
        answer = await self.http.request(method.upper(), **call)
        assert answer.status_code < 500, (method, call, answer.text)
        self.sent += 1

    def _calls(self, path: str, operation: Call, payload: str) -> Iterator[Call]:
        declared = operation.get("parameters", ())
        plain = path.replace("{name}", "support")
        for parameter in (each for each in declared if each["in"] == "path"):
            plain = plain.replace(f"{{{parameter['name']}}}", ID)
        body = self._body(operation)
        encoded = payload.replace("%", "%25").replace("/", "%2F").replace("?", "%3F")
        for parameter in (each for each in declared if each["in"] == "path"):
            url = path.replace(f"{{{parameter['name']}}}", encoded)
            for other in declared:
                url = url.replace(f"{{{other['name']}}}", ID)
            yield {"url": url, "headers": {"If-Match": "*"}, **body}
        for parameter in (each for each in declared if each["in"] == "query"):
            query = {parameter["name"]: payload}
            yield {"url": plain, "headers": {}, "params": query, **body}
        yield {"url": plain, "headers": dict.fromkeys(HEADERS, payload), **body}
        for kind, fields in body.items():
            for name in fields:
                yield {"url": plain, "headers": {"If-Match": "*"}, kind: fields | {name: payload}}
            yield {"url": plain, "headers": {}, kind: fields | {payload: "x"}}

    def _body(self, operation: Call) -> Call:
        """Make a body of examples, as JSON or as a form."""
        for media, each in operation.get("requestBody", {}).get("content", {}).items():
            schema = self._resolved(each["schema"])
            names = schema.get("properties", {})
            fields = {name: self._example(of) for name, of in names.items()}
            return {"json" if media.endswith("json") else "data": fields}
        return {}

    def _resolved(self, schema: Call) -> Call:
        schema = next((each for each in schema.get("anyOf", ()) if "$ref" in each), schema)
        if "$ref" not in schema:
            return schema
        name = schema["$ref"].rpartition("/")[2]
        found: Call = self._description["components"]["schemas"][name]
        return found

    def _example(self, schema: Call) -> object:
        return schema.get("examples", [["support"] if schema.get("type") == "array" else "x"])[0]


@pytest.fixture
async def tap(own_url: str) -> AsyncIterator[Tap]:
    async with Tap(own_url).open() as opened:
        yield opened


@pytest.fixture
async def gatepost(
    tap: Tap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gatepost]:
    monkeypatch.setenv("GATEPOST_LIMITS__ENABLED", "false")
    monkeypatch.setenv("GATEPOST_PASSWORD__MEMORY_KIB", "8")
    monkeypatch.setenv("GATEPOST_DATA_DIR", str(tmp_path))
    async with open_gatepost(load(database_url=tap.url)) as opened:
        await opened.administration.create_administrator(
            actor=Principal.operator(),
            username="root",
            email="root@example.com",
            password=PASSWORD,
            client=ClientContext(),
        )
        yield opened


async def test_in_16_no_parameter_header_or_field_becomes_a_part_of_a_statement(
    tap: Tap, gatepost: Gatepost
) -> None:
    app = create_app(gatepost, HttpOptions(password_grant=True))
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 4711))
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
        scanner = Scanner(http, app.openapi())
        for payload in PAYLOADS:
            await scanner.scan(payload)
        bearer = await scanner.sign_in()
        for payload in PAYLOADS:
            # That values arrive, and unaltered, or none of this would show anything.
            changed = await http.patch("/v1/users/me", json={"bio": payload}, headers=bearer)
            assert changed.json()["bio"] == payload
            found = await http.get("/v1/users", params={"q": payload}, headers=bearer)
            assert (found.status_code, found.json()["items"]) == (200, [])
    assert scanner.sent > 300
    assert len(tap.texts) > 50
    assert [text for text in tap.texts if MARKER.encode() in text] == []
