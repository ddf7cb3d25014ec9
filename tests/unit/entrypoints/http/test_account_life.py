"""Initial passwords, changes of address and deletion, over HTTP."""

from dataclasses import replace

import pytest

from gatepost.application.ports.delivery import MailTemplate
from gatepost.domain.roles import ADMIN
from gatepost.testing.builders import DAY, an_account
from tests.unit.entrypoints.http.service import (
    PASSWORD,
    PUBLIC_URL,
    Service,
    assert_problem,
    bearing,
)

OLD, NEW = "ada@example.com", "ada@example.org"
CONFIRM = "/v1/email-verifications/confirm"
UNDO = "/v1/email-changes/undo"


async def ask(service: Service, headers: dict[str, str], new_email: str = NEW) -> str:
    """Ask for a change of address; returns the answer's text."""
    body = {"new_email": new_email, "password": PASSWORD}
    answer = await service.http.post("/v1/users/me/email", json=body, headers=headers)
    assert answer.status_code == 202
    return answer.text


async def give_initial_password(service: Service) -> None:
    account = an_account(
        username="ada", email=OLD, password_hash=await service.ports.hasher.hash(PASSWORD)
    )
    account.password_expires_at = service.ports.now() + 7 * DAY
    async with service.ports.uow() as tx:
        await tx.accounts.add(account, account.created_at)
        await tx.commit()


async def test_pw_15_an_initial_password_is_answered_with_a_token_to_change_it(
    service: Service,
) -> None:
    await give_initial_password(service)
    answer = await service.http.post("/v1/sessions", json={"login": "ada", "password": PASSWORD})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (403, "password_change_required")
    assert problem["type"] == f"{PUBLIC_URL}/problems/password_change_required"
    assert answer.headers["cache-control"] == "no-store"
    new = {"token": problem["password_change_token"], "new_password": "another quiet sea"}
    changed = await service.http.post("/v1/password-resets/confirm", json=new)
    assert (changed.status_code, changed.content) == (204, b"")
    again = await service.http.post("/v1/password-resets/confirm", json=new)
    assert_problem(again, 400, "token_invalid")
    login = {"login": "ada", "password": new["new_password"]}
    assert (await service.http.post("/v1/sessions", json=login)).status_code == 201


async def test_em_09_an_address_is_changed_by_confirming_it(service: Service) -> None:
    headers = await service.bearer("ada")
    await ask(service, headers)
    me = await service.http.get("/v1/users/me", headers=headers)
    assert me.json()["email"] == OLD
    body = {
        "token": await service.mailed_token(NEW, MailTemplate.CONFIRM_EMAIL),
        "password": "wrong",
    }
    assert_problem(await service.http.post(CONFIRM, json=body), 403, "wrong_password")
    body["password"] = PASSWORD
    changed = await service.http.post(CONFIRM, json=body)
    assert (changed.status_code, changed.json()["email"]) == (200, NEW)
    assert_problem(await service.http.post(CONFIRM, json=body), 400, "token_invalid")
    me = await service.http.get("/v1/users/me", headers=headers)
    assert me.json() == changed.json()


async def test_em_09_a_taken_address_is_answered_like_a_free_one(service: Service) -> None:
    headers = await service.bearer("ada")
    await service.member("grace")
    assert await ask(service, headers, "grace@example.com") == await ask(service, headers)


async def test_em_09_an_address_taken_by_the_time_of_its_confirmation(service: Service) -> None:
    await ask(service, await service.bearer("ada"), "grace@example.com")
    token = await service.mailed_token("grace@example.com", MailTemplate.CONFIRM_EMAIL)
    await service.member("grace")
    answer = await service.http.post(CONFIRM, json={"token": token, "password": PASSWORD})
    assert_problem(answer, 409, "email_taken")


async def test_a_change_of_address_needs_the_password(service: Service) -> None:
    headers, body = await service.bearer("ada"), {"new_email": NEW, "password": "wrong"}
    path = "/v1/users/me/email"
    wrong = await service.http.post(path, json=body, headers=headers)
    assert_problem(wrong, 403, "wrong_password")
    bad = await service.http.post(path, json=body | {"new_email": "no"}, headers=headers)
    problem = assert_problem(bad, 422, "validation_failed")
    assert problem["errors"][0]["pointer"] == "/new_email"
    assert_problem(await service.http.post(path, json=body), 401, "unauthenticated")


async def test_a_change_of_address_is_undone(service: Service) -> None:
    headers = await service.bearer("ada")
    await ask(service, headers)
    body = {"token": await service.mailed_token(OLD, MailTemplate.EMAIL_CHANGE_REQUESTED)}
    undone = await service.http.post(UNDO, json=body)
    assert (undone.status_code, undone.content) == (204, b"")
    assert_problem(await service.http.post(UNDO, json=body), 400, "token_invalid")
    me = await service.http.get("/v1/users/me", headers=headers)
    assert_problem(me, 401, "access_token_invalid")
    assert await service.mailed_token(OLD, MailTemplate.RESET_PASSWORD)


async def test_an_undo_to_an_address_that_somebody_else_proved(service: Service) -> None:
    headers = await service.bearer("ada")
    await ask(service, headers)
    undo = await service.mailed_token(OLD, MailTemplate.EMAIL_CHANGE_REQUESTED)
    token = await service.mailed_token(NEW, MailTemplate.CONFIRM_EMAIL)
    await service.http.post(CONFIRM, json={"token": token, "password": PASSWORD})
    await service.http.post(
        "/v1/register", json={"username": "eve", "email": OLD, "password": PASSWORD}
    )
    token = await service.mailed_token(OLD, MailTemplate.WELCOME)
    await service.http.post(CONFIRM, json={"token": token, "password": PASSWORD})
    answer = await service.http.post(UNDO, json={"token": undo})
    assert_problem(answer, 409, "email_taken")


async def test_az_07_somebody_deletes_his_account(service: Service) -> None:
    headers, path = await service.bearer("ada"), "/v1/users/me/deletion"
    wrong = await service.http.post(path, json={"password": "wrong"}, headers=headers)
    assert_problem(wrong, 403, "wrong_password")
    deleted = await service.http.post(path, json={"password": PASSWORD}, headers=headers)
    assert (deleted.status_code, deleted.content) == (204, b"")
    me = await service.http.get("/v1/users/me", headers=headers)
    assert_problem(me, 401, "access_token_invalid")
    login = {"login": "ada", "password": PASSWORD}
    assert_problem(await service.http.post("/v1/sessions", json=login), 401, "invalid_credentials")
    again = {"username": "Ada", "email": OLD, "password": PASSWORD}
    assert_problem(await service.http.post("/v1/register", json=again), 409, "username_taken")


async def test_az_05_the_last_administrator_cannot_delete_himself(service: Service) -> None:
    await service.member("ada")
    accounts = service.ports.storage.committed.accounts
    (ada,) = accounts.values()
    accounts[ada.id] = replace(ada, roles=(ADMIN,))
    headers = bearing(await service.sign_in("ada"))
    path = "/v1/users/me/deletion"
    answer = await service.http.post(path, json={"password": PASSWORD}, headers=headers)
    assert_problem(answer, 409, "last_admin")


@pytest.mark.parametrize("path", ["/v1/users/me/email", "/v1/users/me/deletion", UNDO])
async def test_the_routes_are_described(shared: Service, path: str) -> None:
    described = (await shared.http.get("/openapi.json")).json()
    post = described["paths"][path]["post"]
    assert post["summary"]
    assert post["description"]
    members = described["components"]["schemas"]["Problem"]["properties"]
    assert "password_change_token" in members
