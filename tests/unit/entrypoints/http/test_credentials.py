from gatepost.application.ports.delivery import MailTemplate
from tests.unit.entrypoints.http.service import (
    PASSWORD,
    Service,
    assert_problem,
    bearing,
)

NEW = "quite another phrase"
CONFIRM = "/v1/password-resets/confirm"


async def test_en_03_reset_is_answered_alike_for_every_address(service: Service) -> None:
    await service.member("ada")
    answers = [
        await service.http.post("/v1/password-resets", json={"email": f"{name}@example.com"})
        for name in ("ada", "nobody")
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].content == answers[1].content
    assert set(answers[0].headers) == set(answers[1].headers)


async def test_rs_01_a_mailed_token_sets_a_password_once(service: Service) -> None:
    headers = await service.bearer("ada")
    await service.http.post("/v1/password-resets", json={"email": "ada@example.com"})
    token = await service.mailed_token("ada@example.com", MailTemplate.RESET_PASSWORD)
    short = await service.http.post(CONFIRM, json={"token": token, "new_password": "short"})
    body = assert_problem(short, 422, "validation_failed")
    assert body["errors"][0]["pointer"] == "/new_password"
    answer = await service.http.post(CONFIRM, json={"token": token, "new_password": NEW})
    assert (answer.status_code, answer.content) == (204, b"")
    again = await service.http.post(CONFIRM, json={"token": token, "new_password": NEW})
    assert_problem(again, 400, "token_invalid")
    assert_problem(
        await service.http.get("/v1/users/me", headers=headers), 401, "access_token_invalid"
    )


async def test_rs_07_links_come_from_configuration_alone(service: Service) -> None:
    await service.member("ada")
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Origin": "https://evil"}
    await service.http.post("/v1/password-resets", json={"email": "ada@example.com"}, headers=evil)
    await service.work()
    assert "evil" not in str(service.ports.mailer.sent[-1].link)


async def test_rs_11_answers_are_never_stored_or_referred(service: Service) -> None:
    answer = await service.http.post(CONFIRM, json={"token": "x", "new_password": NEW})
    assert_problem(answer, 400, "token_invalid")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_pw_12_change_keeps_this_session_alone(service: Service) -> None:
    await service.member("ada")
    here, there = bearing(await service.sign_in("ada")), bearing(await service.sign_in("ada"))
    path, body = "/v1/users/me/password", {"current_password": "wrong", "new_password": NEW}
    wrong = await service.http.post(path, json=body, headers=here)
    assert_problem(wrong, 403, "wrong_password")
    body["current_password"] = PASSWORD
    changed = await service.http.post(path, json=body, headers=here)
    assert (changed.status_code, changed.content) == (204, b"")
    assert (await service.http.get("/v1/users/me", headers=here)).status_code == 200
    ended = await service.http.get("/v1/users/me", headers=there)
    assert_problem(ended, 401, "access_token_invalid")
