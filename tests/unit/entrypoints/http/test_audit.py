from typing import Any
from urllib.parse import parse_qsl, urlsplit

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

MEMBERS = {
    "id",
    "created_at",
    "type",
    "result",
    "reason",
    "actor",
    "subject",
    "session_id",
    "client_id",
    "ip",
    "user_agent",
    "request_id",
}


@pytest.fixture
async def reader(service: Service) -> dict[str, str]:
    await service.gatepost.administration.create_administrator(
        actor=Principal.operator(),
        username="root",
        email="root@example.com",
        password=PASSWORD,
        client=ClientContext(),
    )
    return bearing(await service.sign_in("root"))


async def read(service: Service, reader: dict[str, str], **query: Any) -> httpx2.Response:
    return await service.http.get("/v1/audit-events", params=query, headers=reader)


async def test_az_09_a_reader_sees_who_did_what_when_and_from_where(
    service: Service, reader: dict[str, str]
) -> None:
    answer = await read(service, reader, type="session.created")
    assert answer.status_code == 200
    assert "link" not in answer.headers
    (event,) = answer.json()["items"]
    assert answer.json()["next_cursor"] is None
    assert set(event) == MEMBERS
    assert event["actor"] == event["subject"]
    assert (event["result"], event["ip"]) == ("success", "203.0.113.9")
    assert event["created_at"] == "2026-03-01T12:00:00Z"


async def test_az_09_every_change_of_a_life_tells_who_whom_when_and_from_where(
    service: Service, reader: dict[str, str]
) -> None:
    ada = await service.bearer("ada")
    http = service.http
    me = (await http.get("/v1/users/me", headers=ada)).json()["id"]
    root = (await http.get("/v1/users/me", headers=reader)).json()["id"]
    new = "quite another phrase"
    passwords = {"current_password": PASSWORD, "new_password": new}
    await http.patch("/v1/users/me", json={"bio": "x"}, headers=ada)
    await http.post("/v1/users/me/password", json=passwords, headers=ada)
    await http.delete("/v1/sessions", headers=ada)
    await http.delete("/v1/sessions/current", headers=ada)
    await http.post("/v1/sessions", json={"login": "ada", "password": "wrong"})
    await http.put(f"/v1/users/{me}/roles", json={"roles": ["admin"]}, headers=reader)
    await http.post(f"/v1/users/{me}/suspend", headers=reader)
    await http.post(f"/v1/users/{me}/reactivate", headers=reader)
    events = (await read(service, reader, subject=me)).json()["items"]
    nobody = None
    assert [(event["type"], event["actor"]) for event in reversed(events)] == [
        ("account.registered", nobody),
        ("account.email_verified", me),
        ("session.created", me),
        ("account.changed", me),
        ("account.password_changed", me),
        ("session.others_ended", me),
        ("session.ended", me),
        ("session.refused", nobody),
        ("account.roles_changed", root),
        ("account.suspended", root),
        ("account.reactivated", root),
    ]
    for event in events:
        assert event["ip"] == "203.0.113.9"
        assert event["user_agent"].startswith("python-httpx")
        assert event["request_id"]
        assert event["created_at"]
    for secret in (PASSWORD, new, "wrong", "ada@example.com", ada["Authorization"][7:]):
        assert secret not in str(events)


async def test_az_09_whoever_acts_signed_in_is_noted_with_his_session(
    service: Service, reader: dict[str, str]
) -> None:
    http = service.http
    ada = await service.bearer("ada")
    me = (await http.get("/v1/users/me", headers=ada)).json()["id"]
    root = (await http.get("/v1/users/me", headers=reader)).json()["id"]
    (own,) = (await http.get("/v1/sessions", headers=ada)).json()["items"]
    (his,) = (await http.get("/v1/sessions", headers=reader)).json()["items"]
    await http.patch("/v1/users/me", json={"bio": "x"}, headers=ada)
    body = {"name": "report", "scopes": ["users:read"]}
    await http.post("/v1/clients", json=body, headers=reader)
    await http.put("/v1/roles/aide", json={"scopes": ["users:read"]}, headers=reader)
    fred = {"username": "fred", "email": "fred@example.com"}
    await http.post("/v1/users", json=fred, headers=reader)
    await http.put(f"/v1/users/{me}/roles", json={"roles": ["aide"]}, headers=reader)
    await http.post(f"/v1/users/{root}/suspend", headers=reader)
    await http.delete(f"/v1/users/{me}/sessions", headers=reader)
    events = (await read(service, reader)).json()["items"]
    done = {event["type"]: event["session_id"] for event in events if event["actor"] == root}
    assert done.pop("session.created") == his["id"]
    assert done == dict.fromkeys(
        [
            *("client.created", "role.changed", "account.created", "account.roles_changed"),
            *("account.suspended", "session.others_ended"),
        ],
        his["id"],
    )
    changed = [event for event in events if event["type"] == "account.changed"]
    assert [event["session_id"] for event in changed] == [own["id"]]


async def test_pages_are_linked_and_meet_no_entry_twice(
    service: Service, reader: dict[str, str]
) -> None:
    whole = (await read(service, reader)).json()["items"]
    seen, query = [], {"limit": "2", "until": "2027-01-01T00:00:00Z"}
    while True:
        answer = await read(service, reader, **query)
        seen += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            break
        link, _, rel = answer.headers["link"].partition("; ")
        assert rel == 'rel="next"'
        assert link.startswith(f"<{PUBLIC_URL}/v1/audit-events?")
        query = dict(parse_qsl(urlsplit(link.strip("<>")).query))
        assert query["cursor"] == cursor
    assert seen == whole
    assert len(whole) > 2


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("actr", "x", "unknown_field"),
        ("limit", "0", "out_of_range"),
        ("limit", "201", "out_of_range"),
        ("limit", "x", "wrong_type"),
        ("actor", "ada", "invalid_id"),
        ("subject", "\0", "invalid_id"),
        ("type", "no.such", "not_allowed"),
        ("since", "yesterday", "wrong_type"),
        ("since", "2026-03-01T12:00:00", "invalid"),
        ("until", "1e400", "wrong_type"),
        ("cursor", "x", "invalid_cursor"),
        ("cursor", "ё", "invalid_cursor"),
    ],
)
async def test_bad_filters_and_cursors_are_named(
    service: Service, reader: dict[str, str], name: str, value: str, code: str
) -> None:
    refused = await read(service, reader, **{name: value})
    body = assert_problem(refused, 422, "validation_failed")
    assert [(e["parameter"], e["code"]) for e in body["errors"]] == [(name, code)]


async def test_times_at_the_ends_of_the_calendar_are_no_failure(
    service: Service, reader: dict[str, str]
) -> None:
    until = await read(service, reader, until="0001-01-01T00:00:00+14:00")
    assert until.json()["items"] == []
    since = await read(
        service, reader, since="0001-01-01T00:00:00+14:00", until="9999-12-31T23:59:59-14:00"
    )
    assert since.json() == (await read(service, reader)).json()


async def test_a_filter_with_a_name_not_worth_repeating_is_refused_unnamed(
    service: Service, reader: dict[str, str]
) -> None:
    refused = await read(service, reader, **{"<script>": "1"})
    body = assert_problem(refused, 422, "validation_failed")
    assert [error["parameter"] for error in body["errors"]] == [""]


async def test_a_member_may_not_read_the_trail(service: Service) -> None:
    refused = await read(service, await service.bearer("ada"))
    assert_problem(refused, 403, "insufficient_scope")
