"""A running service, as tests outside the process see it."""

import email
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path

import httpx2

from tests import leaks

PASSWORD = "a quiet sea of numbers"
MAILS_WITHIN = 40.0


class Service:
    """A running `gatepost run` on a data folder of its own."""

    def __init__(self, folder: Path, port: int, **settings: str) -> None:
        self.folder, self.port, self.settings = folder, port, settings
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[str] | None = None
        self._read: dict[Path, EmailMessage] = {}

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
        environment |= self.settings
        leaks.folders.add(self.folder.parent)
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
        for file in files:
            # A file that is there is complete; tests look again and again.
            if file not in self._read:
                read = email.message_from_bytes(file.read_bytes(), policy=policy.default)
                self._read[file] = read
        return [self._read[file] for file in files]

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
    return leaks.secret(str(links[0]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Service]:
    """Start a service with tests' settings, and end it in any case."""
    folder.mkdir()
    service = Service(folder / "data", free_port(), **settings)
    service.start()
    try:
        yield service
    finally:
        if service.process and service.process.poll() is None:
            service.stop(signal.SIGKILL)


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
