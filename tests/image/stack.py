"""What compose runs, and how tests reach it."""

import json
import re
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.service import PASSWORD

FOLDER = Path(__file__).parents[2]
URL = "https://127.0.0.1:8443"
MAILS = "http://127.0.0.1:8025/"
LINK = re.compile(rf"^{re.escape(URL)}/verify-email#token=(\S+)", re.MULTILINE)


def run(*command: str, told: str | None = None, said_on: str = "stdout") -> str:
    done = subprocess.run(
        command, cwd=FOLDER, input=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    said: str = getattr(done, said_on)
    return said


def compose(*command: str) -> str:
    return run("docker", "compose", *command)


def inspected(name: str) -> Any:
    (found,) = json.loads(run("docker", "inspect", name))
    return found


def trusting() -> ssl.SSLContext:
    """Trust the certificate that was made, and nothing else."""
    made = compose("exec", "-T", "proxy", "cat", "/tls/tls.crt")
    return ssl.create_default_context(cadata=made)


def mailed_token(address: str) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for name in re.findall(r'href="([^"]+\.eml)"', httpx2.get(MAILS).text):
            mail = httpx2.get(f"{MAILS}{name}")
            assert mail.headers["content-type"] == "text/plain; charset=utf-8"
            if f"To: {address}" in mail.text and (link := LINK.search(mail.text)):
                return link[1]
        time.sleep(0.2)
    raise AssertionError(f"no mail to {address}")


def signed_in(client: httpx2.Client, name: str) -> dict[str, str]:
    address = f"{name}@example.com"
    body = {"username": name, "email": address, "password": PASSWORD}
    assert client.post("/v1/register", json=body).status_code == 202
    proof = {"token": mailed_token(address), "password": PASSWORD}
    assert client.post("/v1/email-verifications/confirm", json=proof).status_code == 200
    answer = client.post("/v1/sessions", json={"login": name, "password": PASSWORD})
    assert answer.status_code == 201
    tokens: dict[str, str] = answer.json()
    return tokens
