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
CAUGHT = "docker compose exec -T mail sh -c 'cat *.eml'"
MAILS = "http://127.0.0.1:8025/"
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


def test_the_tour_of_the_readme_works_through_the_proxy_over_tls(
    client: httpx2.Client, tmp_path: Path
) -> None:
    (tmp_path / "tls.crt").write_text(compose("exec", "-T", "proxy", "cat", "/tls/tls.crt"))
    readme = (FOLDER / "README.md").read_text()
    _, _, tour = readme.partition("## Two minutes with curl\n")
    tour, _, _ = tour.partition("The whole API is at")
    lines = [line for line in tour.splitlines() if line.startswith("    ")]
    script = "\n".join(lines).replace("http://127.0.0.1:8000", URL)
    # As README says of compose; and with patience, for this machine does all of it at once.
    script = script.replace("cat .gatepost/mail/*.eml", CAUGHT)
    script = script.replace("sleep 2", "sleep 10")
    script = script.replace("/tmp/", f"{tmp_path}/")  # noqa: S108
    trusting = f'set -eu; curl() {{ command curl -sS --cacert "{tmp_path}/tls.crt" "$@"; }}'
    told = run("bash", "-c", f"{trusting}\n{script}")
    assert re.match(r"HTTP/\S+ 202", told), told
    assert '"username":"ada"' in told
    assert "access_token" in told
    assert re.search(r"HTTP/\S+ 204", told), told


def test_more_than_the_tour_works_through_the_proxy(client: httpx2.Client) -> None:
    plain = httpx2.get("http://127.0.0.1:8080/livez")
    assert (plain.status_code, plain.headers["location"]) == (308, f"{URL}/livez")
    tokens = signed_in(client, "adam")
    me = client.get("/v1/users/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert me.json()["username"] == "adam"
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


def test_the_catcher_of_mails_is_in_no_image_that_runs_elsewhere(stack: None) -> None:
    look = "import importlib.util, os;"
    look += "print(importlib.util.find_spec('aiosmtpd'), os.path.exists('/mail.py'))"
    told = run("docker", "run", "--rm", "--entrypoint", "python", "gatepost:latest", "-c", look)
    assert told == "None False\n"


def test_prometheus_scrapes_both_servers_and_the_worker(stack: None) -> None:
    deadline = time.monotonic() + 60
    up: list[str] = []
    while time.monotonic() < deadline and up != ["1", "1", "1"]:
        answer = httpx2.get(f"{PROMETHEUS}/api/v1/query", params={"query": "up"}).json()
        up = [one["value"][1] for one in answer["data"]["result"]]
        time.sleep(1)
    assert up == ["1", "1", "1"]


def test_re_09_replacing_the_servers_one_by_one_loses_no_request(client: httpx2.Client) -> None:
    """And a restart of the database, with another server replaced, costs refusals alone."""
    tokens = signed_in(client, "bea")
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    replaced, broken, afterwards = asyncio.run(_under_load(headers))
    sys.stdout.write(f"\nWhile the servers were replaced: {dict(replaced)}\n")
    sys.stdout.write(f"While the database restarted, and a server: {dict(broken)}\n")
    sys.stdout.write(f"Afterwards: {dict(afterwards)}\n")
    assert replaced.total() > 500
    assert set(replaced) == set(afterwards) == {200}
    assert set(broken) <= {200, 503}
    assert broken[503] < broken[200]


async def _under_load(headers: dict[str, str]) -> list[Counter[int | str]]:
    phases: list[Counter[int | str]] = [Counter() for _ in range(3)]
    told = phases[0]
    over = asyncio.Event()
    async with httpx2.AsyncClient(base_url=URL, verify=trusting(), timeout=30) as http:

        async def ask() -> None:
            # Most of them without a limit: 600 a minute may be asked of a user's own routes.
            for path in cycle(["/v1/users/me"] + ["/.well-known/jwks.json"] * 19):
                if over.is_set():
                    break
                phase = told
                try:
                    phase[(await http.get(path, headers=headers)).status_code] += 1
                except httpx2.HTTPError as failed:
                    phase[type(failed).__name__] += 1
                await asyncio.sleep(0.05)

        asking = [asyncio.create_task(ask()) for _ in range(8)]
        await asyncio.to_thread(_replace, *_servers())
        told = phases[1]
        # Those that began before count as before, and must have ended.
        await asyncio.sleep(2)
        await asyncio.to_thread(run, "docker", "compose", "restart", "postgres")
        await asyncio.to_thread(_replace, _servers()[0])
        await asyncio.to_thread(_until_ready)
        told = phases[2]
        await asyncio.sleep(5)
        over.set()
        await asyncio.gather(*asking)
    return phases


def _servers() -> list[str]:
    return compose("ps", "--format", "{{.Name}}", "server").split()


def _replace(*names: str) -> None:
    for name in names:
        run("docker", "restart", "--time", "40", name)
        deadline = time.monotonic() + 60
        while run("docker", "inspect", "-f", HEALTH, name).strip() != "healthy":
            assert time.monotonic() < deadline, f"{name} is not healthy"
            time.sleep(0.5)


def _until_ready() -> None:
    """Wait for both servers: whoever has a database answers every time."""
    with httpx2.Client(base_url=URL, verify=trusting(), timeout=30) as client:
        deadline = time.monotonic() + 60
        while any(client.get("/readyz").status_code != 200 for _ in range(20)):
            assert time.monotonic() < deadline
            time.sleep(0.5)
