"""The whole service as its users meet it: processes, sockets, mails, signals."""

import asyncio
import email
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path

import httpx2
import pytest

PASSWORD = "a quiet sea of numbers"
MAILS_WITHIN = 40.0


class Service:
    """A running `gatepost run` on a data folder of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GATEPOST_") and name != "DATABASE_URL"
        }
        environment |= {
            "GATEPOST_DATA_DIR": str(self.folder),
            "GATEPOST_LIMITS__ENABLED": "false",
            "GATEPOST_PASSWORD__MEMORY_KIB": "1024",
            "GATEPOST_PASSWORD__QUEUE": "500",
            "GATEPOST_LOG__FORMAT": "json",
            "PORT": str(self.port),
        }
        log = (self.folder.parent / "service.log").open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gatepost", "run"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=self.folder.parent,
        )
        log.close()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(f"Gatepost is ready on {self.url} "), self.log()

    def log(self) -> str:
        return (self.folder.parent / "service.log").read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.process.stdout.close()
        return code

    def members(self) -> list[int]:
        """List the live processes of the tree, by the data folder in their environment."""
        mark = f"GATEPOST_DATA_DIR={self.folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def mails(self) -> list[EmailMessage]:
        files = sorted((self.folder / "mail").glob("*.eml"))
        return [
            email.message_from_bytes(file.read_bytes(), policy=policy.default) for file in files
        ]

    def mail_to(self, address: str, number: int = 1) -> EmailMessage:
        """Wait for the n-th mail to an address."""
        deadline = time.monotonic() + MAILS_WITHIN
        while time.monotonic() < deadline:
            found = [mail for mail in self.mails() if mail["To"] == address]
            if len(found) >= number:
                return found[number - 1]
            time.sleep(0.05)
        raise AssertionError(f"no mail {number} to {address}")


def token_in(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    links = re.findall(r"^http\S+#token=(\S+)\r?$", body.get_content(), re.MULTILINE)
    assert len(links) == 1
    return str(links[0])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(folder: Path) -> Iterator[Service]:
    folder.mkdir()
    service = Service(folder / "data", free_port())
    service.start()
    try:
        yield service
    finally:
        if service.process and service.process.poll() is None:
            service.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service") / "one") as started:
        yield started
        assert started.stop() == 0
        assert started.members() == []


@pytest.fixture
def client(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, timeout=30) as opened:
        yield opened


def register(client: httpx2.Client, name: str) -> httpx2.Response:
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    return client.post("/v1/register", json=body)


def signed_in(client: httpx2.Client, service: Service, name: str) -> dict[str, str]:
    assert register(client, name).status_code == 202
    token = token_in(service.mail_to(f"{name}@example.com"))
    confirmed = client.post(
        "/v1/email-verifications/confirm", json={"token": token, "password": PASSWORD}
    )
    assert confirmed.status_code == 200
    answer = client.post("/v1/sessions", json={"login": name, "password": PASSWORD})
    assert answer.status_code == 201
    tokens: dict[str, str] = answer.json()
    return tokens


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


def test_two_services_on_one_port_the_second_says_so(service: Service) -> None:
    environment = os.environ | {"GATEPOST_DATA_DIR": str(service.folder.parent / "other")}
    second = subprocess.run(
        [sys.executable, "-m", "gatepost", "run"],
        env=environment | {"PORT": str(service.port)},
        capture_output=True,
        text=True,
        timeout=30,
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
