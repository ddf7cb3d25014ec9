"""The whole service as its users meet it: processes, sockets, mails, signals."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from gatepost import load_settings, open_gatepost
from gatepost.adapters.embedded import running as running_database
from tests import leaks
from tests.behaviour.driver import Driver
from tests.behaviour.drivers import OverHttp, make_admin, tokens_in_folder
from tests.behaviour.suite import Behaviour
from tests.service import PASSWORD, Service, register, running, signed_in, token_in


@pytest.fixture
def client(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, timeout=30) as opened:
        yield opened


@pytest.fixture(scope="module")
async def driver(service: Service) -> AsyncIterator[Driver]:
    url = running_database(service.folder / "postgres")
    assert url is not None
    settings = load_settings(database_url=url, data_dir=service.folder)
    async with open_gatepost(settings) as gatepost:
        await make_admin(gatepost)
    async with httpx2.AsyncClient(base_url=service.url, timeout=30) as http:
        yield OverHttp(http, tokens_in_folder(service.folder / "mail"))


class TestOverHttp(Behaviour):
    """The behaviour suite, as a client of the running service."""


def test_somebody_registers_verifies_signs_in_refreshes_and_leaves(
    service: Service, client: httpx2.Client
) -> None:
    refused = client.post("/v1/sessions", json={"login": "ada", "password": PASSWORD})
    assert refused.status_code == 401
    tokens = signed_in(client, service, "ada")
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    me = client.get("/v1/users/me", headers=bearer)
    assert me.json()["email"] == "ada@example.com"
    refreshed = client.post(
        "/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]}
    )
    assert refreshed.status_code == 200
    assert client.delete("/v1/sessions/current", headers=bearer).status_code == 204
    assert client.get("/v1/users/me", headers=bearer).status_code == 401
    again = {"refresh_token": refreshed.json()["refresh_token"]}
    assert client.post("/v1/sessions/refresh", json=again).status_code == 400


def test_a_forgotten_password_is_reset_by_mail(service: Service, client: httpx2.Client) -> None:
    tokens = signed_in(client, service, "grace")
    asked = client.post("/v1/password-resets", json={"email": "Grace@Example.com"})
    assert asked.status_code == 202
    token = token_in(service.mail_to("grace@example.com", 2))
    body = {"token": token, "new_password": "another quiet sea"}
    assert client.post("/v1/password-resets/confirm", json=body).status_code == 204
    old = {"refresh_token": tokens["refresh_token"]}
    assert client.post("/v1/sessions/refresh", json=old).status_code == 400
    login = {"login": "grace@example.com", "password": "another quiet sea"}
    assert client.post("/v1/sessions", json=login).status_code == 201
    assert "password" in service.mail_to("grace@example.com", 3)["Subject"].lower()


async def test_se_01_forty_refreshes_at_once_give_one_successor(
    service: Service, client: httpx2.Client
) -> None:
    tokens = signed_in(client, service, "forty")
    body = {"refresh_token": tokens["refresh_token"]}
    limits = httpx2.Limits(max_connections=40)
    async with httpx2.AsyncClient(base_url=service.url, limits=limits, timeout=30) as many:
        answers = await asyncio.gather(
            *(many.post("/v1/sessions/refresh", json=body) for _ in range(40))
        )
    assert Counter(answer.status_code for answer in answers) == {200: 40}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_twenty_registrations_of_one_address_make_one_account_and_one_mail(
    service: Service, client: httpx2.Client
) -> None:
    async with httpx2.AsyncClient(base_url=service.url, timeout=30) as many:
        answers = await asyncio.gather(
            *(
                many.post(
                    "/v1/register",
                    json={
                        "username": f"twenty{number}",
                        "email": "twenty@example.com",
                        "password": PASSWORD,
                    },
                )
                for number in range(20)
            )
        )
    assert Counter(answer.status_code for answer in answers) == {202: 20}
    assert len({answer.text for answer in answers}) == 1
    service.mail_to("twenty@example.com")
    signed_in(client, service, "later")  # by now the other jobs have been done too
    assert len([mail for mail in service.mails() if mail["To"] == "twenty@example.com"]) == 1


def test_in_20_the_log_holds_nothing_secret(service: Service, client: httpx2.Client) -> None:
    tokens = signed_in(client, service, "logged")
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    client.get("/v1/users/me?token=in-the-query", headers=bearer)
    client.post("/v1/sessions", json={"login": "logged", "password": "a wrong one of mine"})
    log = service.log()
    assert "job done" in log
    # All logs are searched at the end, for whatever went over HTTP: this is among it.
    assert {PASSWORD, "a wrong one of mine", tokens["refresh_token"]} <= leaks.secrets
    assert service.folder.parent in leaks.folders
    assert list(leaks.secrets_in(service.folder)), "master keys, and the database's password"
    assert list(leaks.logs_in(service.folder.parent)) != []
    for secret in (PASSWORD, "a wrong one of mine", "gpr_", "eyJ", "in-the-query", "@example"):
        assert secret not in log
    mailed = [token_in(mail) for mail in service.mails() if "#token=" in mail.as_string()]
    assert not [token for token in mailed if token in log]


def test_two_services_on_one_port_the_second_says_so(service: Service) -> None:
    environment = os.environ | {"GATEPOST_DATA_DIR": str(service.folder.parent / "other")}
    second = subprocess.run(
        [sys.executable, "-m", "gatepost", "run"],
        env=environment | {"PORT": str(service.port)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert second.stderr.startswith("gatepost: settings_invalid: PORT: ")


def test_re_01_a_killed_service_has_lost_no_acknowledged_account_and_no_mail(
    tmp_path: Path,
) -> None:
    """kill -9 of every process in the middle of 200 registrations; then it is started again."""
    with running(tmp_path / "killed") as service:
        acknowledged = asyncio.run(_register_until_killed(service))
        assert 0 < len(acknowledged) < 200
        deadline = time.monotonic() + 10
        while service.members() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert service.members() == []
        service.start()
        with httpx2.Client(base_url=service.url, timeout=30) as client:
            for name in acknowledged:
                assert register(client, name).status_code == 202, "the same password: the same"
            for name in acknowledged:
                service.mail_to(f"{name}@example.com")
        repeated = Counter(mail["To"] for mail in service.mails())
        ids = {(mail["To"], mail["Message-ID"]) for mail in service.mails()}
        assert len(ids) == len(repeated), "a repeated mail bears the same Message-ID"
        assert service.stop() == 0


async def _register_until_killed(service: Service) -> list[str]:
    acknowledged: list[str] = []
    async with httpx2.AsyncClient(base_url=service.url, timeout=30) as client:

        async def one(number: int) -> None:
            name = f"killed{number}"
            body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
            try:
                answer = await client.post("/v1/register", json=body)
            except httpx2.HTTPError:
                return
            if answer.status_code == 202:
                acknowledged.append(name)
            if len(acknowledged) == 60:
                for pid in service.members():
                    os.kill(pid, signal.SIGKILL)

        await asyncio.gather(*(one(number) for number in range(200)))
    assert service.process is not None
    assert service.process.stdout is not None
    service.process.wait(timeout=10)
    service.process.stdout.close()
    return acknowledged
