import json
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from gatepost.application.ports.delivery import JobName
from tests.unit.entrypoints.http.service import PASSWORD, PUBLIC_URL, Service, assert_problem

PATH = "/v1/users/me/exports"


async def ask(service: Service, headers: dict[str, str], **more: str) -> httpx2.Response:
    body = {"password": PASSWORD}
    return await service.http.post(PATH, json=body, headers={**headers, **more})


async def asked(service: Service, headers: dict[str, str]) -> dict[str, Any]:
    answer = await ask(service, headers)
    assert answer.status_code == 202
    found: dict[str, Any] = answer.json()
    return found


async def test_an_export_is_asked_for_read_and_downloaded(service: Service) -> None:
    ada = await service.bearer("ada")
    export = await asked(service, ada)
    assert set(export) == {"id", "status"}
    assert export["status"] == "pending"
    path = f"{PATH}/{export['id']}"
    before = (await service.http.get(path, headers=ada)).json()
    fields = {"id", "status", "progress", "created_at", "expires_at", "download_url"}
    assert set(before) == fields
    assert before["progress"] == 0
    assert (before["status"], before["expires_at"], before["download_url"]) == (
        "pending",
        None,
        None,
    )
    early = await service.http.get(f"{path}/download", headers=ada)
    assert_problem(early, 404, "not_found")
    await service.work()
    ready = (await service.http.get(path, headers=ada)).json()
    assert (ready["status"], ready["progress"]) == ("ready", 100)
    assert ready["expires_at"].endswith("Z")
    assert ready["download_url"] == f"{PUBLIC_URL}{path}/download"
    answer = await service.http.get(ready["download_url"], headers=ada)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    day = before["created_at"][:10]
    disposition = f'attachment; filename="gatepost-export-{day}.json"'
    assert answer.headers["content-disposition"] == disposition
    assert answer.headers["content-length"] == str(len(answer.content))
    assert json.loads(answer.content)["account"]["username"] == "ada"


async def test_the_address_alone_opens_nothing(service: Service) -> None:
    export = await asked(service, await service.bearer("ada"))
    await service.work()
    path = f"{PATH}/{export['id']}/download"
    assert_problem(await service.http.get(path), 401, "unauthenticated")
    grace = await service.bearer("grace")
    assert_problem(await service.http.get(path, headers=grace), 404, "not_found")
    status = await service.http.get(f"{PATH}/{export['id']}", headers=grace)
    assert_problem(status, 404, "not_found")


@pytest.mark.parametrize("end", ["", "/download"])
async def test_ids_are_checked(service: Service, end: str) -> None:
    ada = await service.bearer("ada")
    answer = await service.http.get(f"{PATH}/not-an-id{end}", headers=ada)
    assert_problem(answer, 422, "validation_failed")
    answer = await service.http.get(f"{PATH}/{uuid4()}{end}", headers=ada)
    assert_problem(answer, 404, "not_found")


async def test_a_wrong_password_is_refused(service: Service) -> None:
    ada = await service.bearer("ada")
    answer = await service.http.post(PATH, json={"password": "another"}, headers=ada)
    assert_problem(answer, 403, "wrong_password")


async def test_in_25_a_request_that_is_repeated_is_answered_again(service: Service) -> None:
    ada = await service.bearer("ada")
    key = {"Idempotency-Key": "k-1"}
    first = await ask(service, ada, **key)
    await service.work()
    again = await ask(service, ada, **key)
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.content) == (202, first.content)
    other = await service.http.post(PATH, json={"password": "x"}, headers={**ada, **key})
    assert_problem(other, 422, "idempotency_key_reused")
    assert JobName.BUILD_EXPORT not in {job.name for job in service.ports.storage.queued}
    grace = await service.bearer("grace")
    assert "idempotency-replayed" not in (await ask(service, grace, **key)).headers
