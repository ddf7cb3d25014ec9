import pytest

from gatepost import assemble
from gatepost.application.ports.delivery import MailTemplate
from gatepost.domain.accounts import AccountPolicy, Username
from gatepost.entrypoints.http.language import preferred_locale
from tests.unit.entrypoints.http.service import (
    PASSWORD,
    Service,
    assert_problem,
    client_of,
    policies_for,
    ports_for,
    served,
)

ADA = {"username": "ada", "email": "ada@example.com", "password": PASSWORD}
USER_FIELDS = {
    "id",
    "username",
    "email",
    "email_verified",
    "bio",
    "locale",
    "status",
    "roles",
    "created_at",
    "updated_at",
}


async def test_registration_is_one_neutral_answer(service: Service) -> None:
    answer = await service.http.post("/v1/register", json=ADA)
    assert answer.status_code == 202
    assert answer.json() == {"message": "Registration successful"}


async def test_en_05_a_taken_address_is_answered_like_a_free_one(service: Service) -> None:
    first = await service.http.post("/v1/register", json=ADA)
    second = await service.http.post("/v1/register", json=ADA | {"username": "eve"})
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert set(second.headers) == set(first.headers)
    other = {"username": "eve", "email": "e@example.com", "password": "quite another one"}
    assert_problem(await service.http.post("/v1/register", json=other), 409, "username_taken")


async def test_registration_tells_all_faults_at_once(shared: Service) -> None:
    answer = await shared.http.post(
        "/v1/register", json={"username": "a", "email": "no", "password": "short"}
    )
    body = assert_problem(answer, 422, "validation_failed")
    assert {(each["pointer"], each["code"]) for each in body["errors"]} == {
        ("/username", "invalid_username"),
        ("/email", "invalid_email"),
        ("/password", "too_short"),
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("role", "admin"), ("is_admin", True), ("id", "1"), ("email_verified", True), ("roles", [])],
)
async def test_az_03_foreign_fields_are_refused_and_named(
    shared: Service, name: str, value: object
) -> None:
    answer = await shared.http.post("/v1/register", json={**ADA, name: value})
    body = assert_problem(answer, 422, "validation_failed")
    assert body["errors"] == [
        {
            "pointer": f"/{name}",
            "code": "unknown_field",
            "message": "There is no such field here.",
        }
    ]


@pytest.mark.parametrize("field", ["username", "email"])
@pytest.mark.parametrize("char", ["\r", "\n", "\0", "\u2028"])
async def test_em_03_line_breaks_and_nul_in_address_and_name(
    shared: Service, field: str, char: str
) -> None:
    answer = await shared.http.post("/v1/register", json={**ADA, field: f"a{char}b@example.com"})
    assert_problem(answer, 422, "validation_failed")
    assert not shared.ports.storage.queued


@pytest.mark.parametrize("accept", [None, "de-AT;q=0.7, fr;q=0.9, *;q=0.1"])
async def test_locale_comes_from_accept_language(service: Service, accept: str | None) -> None:
    headers = {"Accept-Language": accept} if accept else {"Accept-Language": ""}
    await service.http.post("/v1/register", json=ADA, headers=headers)
    async with service.ports.uow() as tx:
        account = await tx.accounts.find_by_username(Username("ada"))
    assert account is not None
    assert account.locale == ("fr" if accept else "en")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("*", None),
        ("de", "de"),
        ("de;q=0", None),
        ("de;q=x, en;q=0.2", "en"),
        ("de;q=nan, en;q=0.2", "en"),
        ("\x00, ,;;q=1,pt-BR", "pt-BR"),
        ("a" * 100_000, None),
    ],
)
def test_preferred_locale_skips_what_is_wrong(header: str | None, expected: str | None) -> None:
    assert preferred_locale(header) == expected


async def test_registration_without_proof_of_the_address() -> None:
    open_policy = policies_for(accounts=AccountPolicy(require_verified_email=False))
    http = client_of(served(assemble(ports_for(), open_policy)))
    answer = await http.post("/v1/register", json=ADA)
    assert answer.status_code == 201
    assert set(answer.json()) == USER_FIELDS
    taken = await http.post("/v1/register", json=ADA | {"username": "eve"})
    assert_problem(taken, 409, "email_taken")


async def test_closed_registration() -> None:
    closed = policies_for(accounts=AccountPolicy(registration_open=False))
    http = client_of(served(assemble(ports_for(), closed)))
    assert_problem(await http.post("/v1/register", json=ADA), 403, "registration_closed")


async def test_verification_proves_the_address_once(service: Service) -> None:
    await service.registered("ada")
    token = await service.mailed_token("ada@example.com", MailTemplate.WELCOME)
    path, body = "/v1/email-verifications/confirm", {"token": token, "password": PASSWORD}
    wrong = await service.http.post(path, json=body | {"password": "not this one"})
    assert_problem(wrong, 403, "wrong_password")
    answer = await service.http.post(path, json=body)
    assert answer.status_code == 200
    assert set(answer.json()) == USER_FIELDS
    assert answer.json()["email_verified"] is True
    assert_problem(await service.http.post(path, json=body), 400, "token_invalid")


async def test_en_08_a_fresh_link_is_answered_alike_for_every_address(service: Service) -> None:
    await service.registered("ada")
    await service.member("bob")
    answers = [
        await service.http.post("/v1/email-verifications", json={"email": f"{name}@example.com"})
        for name in ("ada", "bob", "nobody")
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert len({answer.content for answer in answers}) == 1
    assert await service.mailed_token("ada@example.com", MailTemplate.VERIFY_EMAIL)


async def test_own_account_is_read_with_nulls_and_utc_times(service: Service) -> None:
    answer = await service.http.get("/v1/users/me", headers=await service.bearer("ada"))
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == USER_FIELDS
    assert body["bio"] is None
    assert body["roles"] == ["user"]
    assert body["created_at"] == "2026-03-01T12:00:00Z"
    assert answer.headers["cache-control"] == "no-store"


async def test_own_account_is_changed_in_part(service: Service) -> None:
    headers = await service.bearer("ada")
    path = "/v1/users/me"
    changed = await service.http.patch(path, json={"bio": "Counts."}, headers=headers)
    assert changed.json()["bio"] == "Counts."
    changed = await service.http.patch(
        path, json={"username": "ada.l", "locale": "de-AT"}, headers=headers
    )
    assert changed.status_code == 200
    body = changed.json()
    assert (body["username"], body["bio"], body["locale"]) == ("ada.l", "Counts.", "de-AT")
    emptied = await service.http.patch(path, json={"bio": None}, headers=headers)
    assert emptied.json()["bio"] is None
    assert (await service.http.get(path, headers=headers)).json() == emptied.json()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"username": None}, "wrong_type"),
        ({"username": ""}, "invalid_username"),
        ({"locale": "!"}, "invalid_locale"),
        ({"bio": "x" * 501}, "too_long"),
        ({"email": "a@example.com"}, "unknown_field"),
    ],
)
async def test_bad_changes(service: Service, change: dict[str, str | None], code: str) -> None:
    headers = await service.bearer("ada")
    answer = await service.http.patch("/v1/users/me", json=change, headers=headers)
    body = assert_problem(answer, 422, "validation_failed")
    assert [each["code"] for each in body["errors"]] == [code]


async def test_a_taken_username_conflicts(service: Service) -> None:
    headers = await service.bearer("ada")
    await service.registered("bob")
    answer = await service.http.patch("/v1/users/me", json={"username": "BOB"}, headers=headers)
    assert_problem(answer, 409, "username_taken")


@pytest.mark.parametrize("length", [64, 128])
async def test_pw_02_long_passwords_of_every_printable_character_work_exactly(
    service: Service, length: int
) -> None:
    printable = "".join(map(chr, range(32, 127)))
    password = (printable * 2)[:length]
    form = {"username": "ada", "email": "ada@example.com", "password": password}
    assert (await service.http.post("/v1/register", json=form)).status_code == 202
    proof = {
        "token": await service.mailed_token("ada@example.com", MailTemplate.WELCOME),
        "password": password,
    }
    confirmed = await service.http.post("/v1/email-verifications/confirm", json=proof)
    assert confirmed.status_code == 200
    answers = [
        await service.http.post("/v1/sessions", json={"login": "ada", "password": tried})
        for tried in (password, password[:-1] + "\u00e9", password[:-1], password + " ")
    ]
    assert [answer.status_code for answer in answers] == [201, 401, 401, 401]
