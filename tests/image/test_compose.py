"""The image and everything around it, from scratch: built, started, used, replaced, removed."""

import asyncio
import json
import re
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import httpx2
import pytest

from tests.service import PASSWORD

FOLDER = Path(__file__).parents[2]
URL = "https://127.0.0.1:8443"
PROMETHEUS = "http://127.0.0.1:9090"
HEALTH = "{{.State.Health.Status}}"
LINK = re.compile(rf"^{re.escape(URL)}/verify-email#token=(\S+)", re.MULTILINE)


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def compose(*command: str) -> str:
    return run("docker", "compose", *command)


@pytest.fixture(scope="module")
def stack() -> Iterator[None]:
    run("make", "down")
    run("make", "up")
    yield
    run("make", "down")
    for what in ("container", "network", "volume"):
        left = run(
            "docker",
            what,
            "ls",
            "--quiet",
            "--filter",
            "label=com.docker.compose.project=gatepost",
        )
        assert left == "", what
    assert not (FOLDER / ".gatepost" / "compose").exists()


def trusting() -> ssl.SSLContext:
    """Trust the certificate that was made, and nothing else."""
    made = compose("exec", "-T", "proxy", "cat", "/tls/tls.crt")
    return ssl.create_default_context(cadata=made)


@pytest.fixture(scope="module")
def client(stack: None) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=URL, verify=trusting(), timeout=10) as client:
        yield client


def mailed_token(address: str) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        mails = compose("exec", "-T", "worker", "sh", "-c", "cat mail/*.eml 2>/dev/null || true")
        for mail in mails.split("From: "):
            if f"To: {address}" in mail and (link := LINK.search(mail)):
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


def test_the_tour_works_through_the_proxy_over_tls(client: httpx2.Client) -> None:
    plain = httpx2.get("http://127.0.0.1:8080/livez")
    assert (plain.status_code, plain.headers["location"]) == (308, f"{URL}/livez")
    tokens = signed_in(client, "ada")
    me = client.get("/v1/users/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert me.json()["username"] == "ada"
    refreshed = client.post(
        "/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]}
    )
    assert refreshed.status_code == 200
    assert client.post("/v1/sessions", content=b"x" * 70_000).status_code == 413


def test_the_address_of_the_client_is_the_one_that_the_proxy_saw(client: httpx2.Client) -> None:
    headers = {"X-Forwarded-For": "198.51.100.77", "Forwarded": "for=198.51.100.77"}
    body = {"login": "ada", "password": PASSWORD}
    answer = client.post("/v1/sessions", json=body, headers=headers)
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    sessions = client.get("/v1/sessions", headers=bearer).json()["items"]
    seen = {session["ip"] for session in sessions}
    assert "198.51.100.77" not in seen
    assert None not in seen


def test_only_the_proxy_is_where_addresses_are_believed() -> None:
    services = json.loads(compose("config", "--format", "json"))["services"]
    there = {name for name, one in services.items() if "edge" in (one.get("networks") or {})}
    assert there == {"proxy", "server"}


def test_the_containers_have_no_rights_and_no_tools(stack: None) -> None:
    told = compose(
        "exec", "-T", "worker", "sh", "-c", "id -u; touch /x 2>&1; command -v pip gcc git; true"
    )
    assert told.startswith("10001\n")
    assert "Read-only file system" in told
    assert "/opt/gatepost/bin/pip" not in told
    assert compose("exec", "-T", "worker", "pip", "--version").count("gatepost") == 0
    for name in compose("ps", "--format", "{{.Name}}", "server", "worker").split():
        (found,) = json.loads(run("docker", "inspect", name))
        assert found["HostConfig"]["ReadonlyRootfs"]
        assert found["HostConfig"]["CapDrop"] == ["ALL"]


def test_prometheus_scrapes_both_servers(stack: None) -> None:
    deadline = time.monotonic() + 60
    up: list[str] = []
    while time.monotonic() < deadline and up != ["1", "1"]:
        answer = httpx2.get(f"{PROMETHEUS}/api/v1/query", params={"query": "up"}).json()
        up = [one["value"][1] for one in answer["data"]["result"]]
        time.sleep(1)
    assert up == ["1", "1"]


def test_re_09_replacing_the_servers_one_by_one_loses_no_request(client: httpx2.Client) -> None:
    tokens = signed_in(client, "bea")
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    told = asyncio.run(_replaced_under_load(headers))
    sys.stdout.write(f"\nStatuses while the servers were replaced: {dict(told)}\n")
    assert told.total() > 500
    assert set(told) == {200}


async def _replaced_under_load(headers: dict[str, str]) -> Counter[int | str]:
    told: Counter[int | str] = Counter()
    over = asyncio.Event()
    async with httpx2.AsyncClient(base_url=URL, verify=trusting(), timeout=10) as http:

        async def ask() -> None:
            # Most of them without a limit: 600 a minute may be asked of a user's own routes.
            for path in cycle(["/v1/users/me"] + ["/.well-known/jwks.json"] * 19):
                if over.is_set():
                    break
                try:
                    told[(await http.get(path, headers=headers)).status_code] += 1
                except httpx2.HTTPError as failed:
                    told[type(failed).__name__] += 1
                await asyncio.sleep(0.05)

        asking = [asyncio.create_task(ask()) for _ in range(8)]
        await asyncio.to_thread(_replace_servers)
        over.set()
        await asyncio.gather(*asking)
    return told


def _replace_servers() -> None:
    for name in compose("ps", "--format", "{{.Name}}", "server").split():
        run("docker", "restart", "--time", "40", name)
        deadline = time.monotonic() + 60
        while (
            run("docker", "inspect", "-f", "{{.State.Health.Status}}", name).strip() != "healthy"
        ):
            assert time.monotonic() < deadline, f"{name} is not healthy"
            time.sleep(0.5)
