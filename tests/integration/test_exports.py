"""An export on the real way: asked for over HTTP, built by the worker, fetched from its file."""

import stat
import time
from pathlib import Path

import httpx2

from tests.service import MAILS_WITHIN, PASSWORD, Service, signed_in

PATH = "/v1/users/me/exports"


def ready(client: httpx2.Client, path: str) -> dict[str, str]:
    deadline = time.monotonic() + MAILS_WITHIN
    while time.monotonic() < deadline:
        found: dict[str, str] = client.get(path).json()
        if found["status"] == "ready":
            return found
        time.sleep(0.1)
    raise AssertionError("the export is not ready")


def emptied(folder: Path) -> bool:
    deadline = time.monotonic() + MAILS_WITHIN
    while time.monotonic() < deadline:
        if not list(folder.iterdir()):
            return True
        time.sleep(0.1)
    return False


def test_an_export_is_built_by_the_worker_and_goes_with_the_account(service: Service) -> None:
    with httpx2.Client(base_url=service.url, timeout=30) as client:
        tokens = signed_in(client, service, "exported")
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        asked = client.post(PATH, json={"password": PASSWORD})
        assert asked.status_code == 202
        found = ready(client, f"{PATH}/{asked.json()['id']}")
        service.mail_to("exported@example.com", 2)
        document = client.get(found["download_url"]).json()
        assert document["account"]["email"] == "exported@example.com"
        assert len(document["sessions"]) == 1
        types = {event["type"] for event in document["audit_events"]}
        assert {"account.registered", "account.export_requested"} <= types

        folder = service.folder / "exports"
        (file,) = folder.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert b"exported@example.com" not in file.read_bytes()
        deleted = client.post("/v1/users/me/deletion", json={"password": PASSWORD})
        assert deleted.status_code == 204
        assert client.get(found["download_url"]).status_code == 401
        assert emptied(folder)
