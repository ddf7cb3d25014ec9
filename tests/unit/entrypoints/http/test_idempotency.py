from typing import Any

import httpx2
import pytest

from gatepost.domain.audit import AuditType, ClientContext
from gatepost.domain.roles import Principal
from tests.unit.entrypoints.http.service import PASSWORD, Service, assert_problem, bearing

ADA = {"username": "ada", "email": "ada@example.com", "password": PASSWORD}


async def register(service: Service, key: str, body: Any = ADA) -> httpx2.Response:
    return await service.http.post("/v1/register", json=body, headers={"Idempotency-Key": key})


async def test_in_25_the_same_key_and_body_get_the_same_answer(service: Service) -> None:
    first = await register(service, "k-1")
    assert (first.status_code, "idempotency-replayed" in first.headers) == (202, False)
    again = await register(service, "k-1")
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    differ = {"x-request-id", "idempotency-replayed"}
    assert {k: v for k, v in again.headers.items() if k not in differ} == {
        k: v for k, v in first.headers.items() if k not in differ
    }
    kinds = [entry.type for entry in service.ports.storage.audit_entries]
    assert kinds.count(AuditType.ACCOUNT_REGISTERED) == 1


async def test_in_25_another_body_is_refused(service: Service) -> None:
    await register(service, "k-1")
    other = await register(service, "k-1", {**ADA, "bio": "Counts things."})
    assert_problem(other, 422, "idempotency_key_reused")


async def test_in_25_refusals_are_not_kept(service: Service) -> None:
    await service.member("ada")
    for _ in range(2):
        refused = await register(service, "k-1")
        assert_problem(refused, 409, "username_taken")
        assert "idempotency-replayed" not in refused.headers


async def test_another_key_is_another_request(service: Service) -> None:
    await register(service, "k-1")
    assert "idempotency-replayed" not in (await register(service, "k-2")).headers


@pytest.mark.parametrize("key", ["", "x" * 256, "ключ".encode().decode("latin-1")])
async def test_a_key_is_1_to_255_printable_characters(shared: Service, key: str) -> None:
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    refused = await shared.http.post("/v1/register", json=ADA, headers=headers)
    body = assert_problem(refused, 422, "validation_failed")
    assert [error["parameter"] for error in body["errors"]] == ["Idempotency-Key"]


async def test_faults_of_key_and_body_are_told_at_once(shared: Service) -> None:
    refused = await shared.http.post(
        "/v1/register", json={"username": "ada"}, headers={"Idempotency-Key": "x" * 256}
    )
    errors = assert_problem(refused, 422, "validation_failed")["errors"]
    places = [error.get("parameter") or error["pointer"] for error in errors]
    assert places == ["Idempotency-Key", "/email", "/password"]


async def test_calls_that_answer_with_secrets_ignore_the_key(service: Service) -> None:
    await service.member("ada")
    body, headers = {"login": "ada", "password": PASSWORD}, {"Idempotency-Key": "k-1"}
    answers = [
        await service.http.post("/v1/sessions", json=body, headers=headers) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["session_id"] != answers[1].json()["session_id"]


async def administrator(service: Service, username: str) -> dict[str, str]:
    await service.gatepost.administration.create_administrator(
        actor=Principal.operator(),
        username=username,
        email=f"{username}@example.com",
        password=PASSWORD,
        client=ClientContext(),
    )
    return bearing(await service.sign_in(username))


async def test_in_25_an_account_is_created_once_and_told_again_whole(service: Service) -> None:
    caller = {**await administrator(service, "root"), "Idempotency-Key": "k-1"}
    form = {"username": "ada", "email": "ada@example.com"}
    first = await service.http.post("/v1/users", json=form, headers=caller)
    again = await service.http.post("/v1/users", json=form, headers=caller)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"


async def test_in_25_callers_do_not_share_keys(service: Service) -> None:
    form = {"username": "ada", "email": "ada@example.com"}
    for username, status in (("root", 201), ("toor", 409)):
        caller = {**await administrator(service, username), "Idempotency-Key": "k-1"}
        answer = await service.http.post("/v1/users", json=form, headers=caller)
        assert (answer.status_code, "idempotency-replayed" in answer.headers) == (status, False)
