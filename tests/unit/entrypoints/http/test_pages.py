"""The plain pages behind mailed links, where no frontend has any."""

import re
from dataclasses import replace

import httpx2
import pytest

from gatepost.application.ports.delivery import MailTemplate
from gatepost.domain.limits import LimitPolicy
from tests.unit.entrypoints.http.service import (
    OPTIONS,
    PASSWORD,
    PUBLIC_URL,
    Service,
    assert_problem,
    bearing,
    open_service,
)

OLD, NEW = "ada@example.com", "ada@example.org"
PAGES = ["/verify-email", "/confirm-email", "/undo-email", "/reset-password", "/change-password"]


@pytest.fixture
async def own() -> Service:
    """Open a service whose links lead to itself."""
    return await open_service(replace(OPTIONS, frontend_url=PUBLIC_URL))


async def post(service: Service, path: str, token: str = "", typed: str = "") -> httpx2.Response:
    return await service.http.post(path, data={"token": token, "typed": typed})


def said(answer: httpx2.Response, role: str) -> str:
    found = re.search(rf"<p role={role}>([^<]*)</p>", answer.text)
    assert found, answer.text
    return found[1]


async def asked(service: Service) -> dict[str, str]:
    await service.member("ada")
    headers = bearing(await service.sign_in("ada"))
    body = {"new_email": NEW, "password": PASSWORD}
    await service.http.post("/v1/users/me/email", json=body, headers=headers)
    return headers


@pytest.mark.parametrize("path", PAGES)
async def test_rs_11_a_page_is_never_stored_or_referred_and_runs_only_own_scripts(
    own: Service, path: str
) -> None:
    page = await own.http.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<form method=post>" in page.text


@pytest.mark.parametrize("path", PAGES)
async def test_a_bad_token_or_address_is_refused_and_the_form_comes_again(
    own: Service, path: str
) -> None:
    refused = await post(own, path, '"><script>', "<b>")
    assert refused.status_code in (400, 422)
    assert said(refused, "alert")
    assert "<form method=post>" in refused.text
    assert "<script>" not in refused.text
    assert "<b>" not in refused.text


async def test_em_12_looking_at_a_link_spends_nothing(own: Service) -> None:
    await own.registered("ada")
    token = await own.mailed_token(OLD, MailTemplate.WELCOME)
    for method in ("GET", "HEAD"):
        await own.http.request(method, f"/verify-email?token={token}")
    done = await post(own, "/verify-email", token, PASSWORD)
    assert (done.status_code, said(done, "status")[:23]) == (200, "Your address is confirm")


async def test_em_12_looking_at_the_links_of_a_change_spends_nothing(own: Service) -> None:
    await asked(own)
    token = await own.mailed_token(NEW, MailTemplate.CONFIRM_EMAIL)
    undo = await own.mailed_token(OLD, MailTemplate.EMAIL_CHANGE_REQUESTED)
    for method in ("GET", "HEAD"):
        for path, each in (("/confirm-email", token), ("/undo-email", undo)):
            await own.http.request(method, f"{path}?token={each}")
    wrong = await post(own, "/confirm-email", token, "wrong")
    assert (wrong.status_code, said(wrong, "alert")) == (403, "The password is wrong.")
    assert token in wrong.text
    assert (await post(own, "/confirm-email", token, PASSWORD)).status_code == 200
    assert (await post(own, "/undo-email", undo)).status_code == 200


async def test_em_09_an_address_is_confirmed_on_its_page(own: Service) -> None:
    headers = await asked(own)
    token = await own.mailed_token(NEW, MailTemplate.CONFIRM_EMAIL)
    done = await post(own, "/confirm-email", token, PASSWORD)
    assert said(done, "status") == "This is your address now."
    me = await own.http.get("/v1/users/me", headers=headers)
    assert me.json()["email"] == NEW


async def test_a_change_is_undone_with_one_button(own: Service) -> None:
    headers = await asked(own)
    undo = await own.mailed_token(OLD, MailTemplate.EMAIL_CHANGE_REQUESTED)
    page = await own.http.get("/undo-email")
    assert "name=typed" not in page.text
    assert "<button>It was not me</button>" in page.text
    done = await post(own, "/undo-email", undo)
    assert said(done, "status").startswith("The change is undone")
    assert (await own.http.get("/v1/users/me", headers=headers)).status_code == 401
    again = await post(own, "/undo-email", undo)
    assert (again.status_code, said(again, "alert")) == (400, "The link is not valid any more.")


async def test_a_password_is_set_on_the_page_that_password_managers_find(own: Service) -> None:
    await own.member("ada")
    found = await own.http.get("/.well-known/change-password")
    page = await own.http.get(found.headers["location"])
    assert "type=email required autocomplete=email" in page.text
    answers = [await post(own, "/change-password", typed=f"{name}@example.com") for name in "xy"]
    answers.append(await post(own, "/change-password", typed=OLD))
    assert len({answer.text for answer in answers}) == 1
    token = await own.mailed_token(OLD, MailTemplate.RESET_PASSWORD)
    short = await post(own, "/reset-password", token, "short")
    assert short.status_code == 422
    assert "characters" in said(short, "alert")
    done = await post(own, "/reset-password", token, "another quiet sea")
    assert said(done, "status").startswith("Your password is set")


async def test_pages_bring_their_own_style_and_script_and_nothing_else(own: Service) -> None:
    for name, media in (("style.css", "text/css"), ("fragment.js", "text/javascript")):
        asset = await own.http.get(f"/pages/{name}")
        assert asset.headers["content-type"].startswith(media)
    assert_problem(await own.http.get("/pages/page.html"), 404, "not_found")


async def test_a_form_says_when_to_come_back() -> None:
    options = replace(OPTIONS, frontend_url=PUBLIC_URL)
    limited = await open_service(options, limits=LimitPolicy())
    for number in range(21):
        answer = await post(limited, "/change-password", typed=f"nobody{number}@example.com")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "<form method=post>" in answer.text


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_speaks_the_language_of_who_looks(own: Service, path: str) -> None:
    english = await own.http.get(path)
    for asked in ("de", "de-AT,en;q=0.5", "fr, de;q=0.8, en;q=0.3"):
        german = await own.http.get(path, headers={"Accept-Language": asked})
        assert german.headers["content-language"] == "de"
        assert "Accept-Language" in german.headers["vary"]
        assert '<html lang="de">' in german.text
        for written in (r"<h1>(.*?)</h1>", r"<button>(.*?)</button>", r"<label.*?>(.*?)</label>"):
            assert not set(re.findall(written, english.text)) & set(
                re.findall(written, german.text)
            )
    for asked in ("en-US,de;q=0.5", "fr", "xx;q=y", "*", "de;q=0"):
        page = await own.http.get(path, headers={"Accept-Language": asked})
        assert (page.text, page.headers["content-language"]) == (english.text, "en")


async def test_a_refusal_and_an_end_are_told_in_the_language_of_who_looks(own: Service) -> None:
    await own.member("ada")
    own.http.headers["Accept-Language"] = "de"
    assert said(await post(own, "/undo-email", "no token"), "alert") == (
        "Der Link ist nicht mehr gültig."
    )
    sent = await post(own, "/change-password", typed=OLD)
    assert said(sent, "status").startswith("Wenn es ein Konto")
    token = await own.mailed_token(OLD, MailTemplate.RESET_PASSWORD)
    for typed, told in (("short", "Zu kurz"), ("password123", "Eines der"), (OLD, "Der Name")):
        assert said(await post(own, "/reset-password", token, typed), "alert").startswith(told)
