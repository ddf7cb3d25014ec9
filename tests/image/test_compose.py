"""The image and everything around it, from scratch: built, started, used, removed."""

import json
import re
from pathlib import Path

import httpx2

from tests.image.stack import FOLDER, URL, compose, inspected, run, signed_in
from tests.image.watch import becomes_true, instances_up
from tests.service import PASSWORD

CAUGHT = "docker compose exec -T mail sh -c 'cat *.eml'"


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
    assert "pip" not in told
    for name in compose("ps", "--format", "{{.Name}}", "server", "worker").split():
        host = inspected(name)["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]


def test_the_catcher_of_mails_is_in_no_image_that_runs_elsewhere(stack: None) -> None:
    look = "import importlib.util, os;"
    look += "print(importlib.util.find_spec('aiosmtpd'), os.path.exists('/mail.py'))"
    told = run("docker", "run", "--rm", "--entrypoint", "python", "gatepost:latest", "-c", look)
    assert told == "None False\n"


def test_every_volume_has_a_name_so_that_all_are_removed(stack: None) -> None:
    """One that an image declares is nameless, and is left behind by a container made anew."""
    for name in compose("ps", "--all", "--format", "{{.Name}}").split():
        mounts = inspected(name)["Mounts"]
        volumes = [one["Name"] for one in mounts if one["Type"] == "volume"]
        assert all(volume.startswith("gatepost_") for volume in volumes), name


def test_prometheus_scrapes_both_servers_and_the_worker(stack: None) -> None:
    assert becomes_true(lambda: instances_up() == ["1", "1", "1"])
