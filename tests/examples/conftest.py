"""One running Gatepost for all examples, with a member and an administrator."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from gatepost.adapters.embedded import running as running_database
from tests.service import PASSWORD, Service, running, signed_in

ROOT = Path(__file__).parents[2]
ADMIN = "root-of-all"


@pytest.fixture(scope="session", autouse=True)
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run it before the examples are imported: they read where it is from the environment."""
    with running(tmp_path_factory.mktemp("examples") / "service") as started:
        os.environ["ISSUER"] = started.url
        os.environ["ORDERS_DATABASE"] = str(started.folder / "orders.sqlite")
        yield started


@pytest.fixture(scope="session")
def settings(service: Service) -> dict[str, str]:
    """What an example that uses the use cases is started with, beside the service."""
    url = running_database(service.folder / "postgres")
    assert url is not None
    return {
        "DATABASE_URL": url,
        "GATEPOST_DATA_DIR": str(service.folder),
        "GATEPOST_PUBLIC_URL": service.url,
        "GATEPOST_LIMITS__ENABLED": "false",
        "GATEPOST_PASSWORD__MEMORY_KIB": "1024",
    }


@pytest.fixture(scope="session")
def http(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def member(service: Service, http: httpx2.Client) -> dict[str, str]:
    """The header of somebody who signed in."""
    return bearing(signed_in(http, service, "member"))


@pytest.fixture(scope="session")
def admin(service: Service, http: httpx2.Client, settings: dict[str, str]) -> dict[str, str]:
    """The header of an administrator."""
    create = ["admin", "create", "--username", ADMIN, "--email", f"{ADMIN}@example.com"]
    subprocess.run(
        [sys.executable, "-m", "gatepost", *create, "--password-stdin"],
        input=PASSWORD,
        env=os.environ | settings,
        text=True,
        check=True,
        capture_output=True,
    )
    answer = http.post("/v1/sessions", json={"login": ADMIN, "password": PASSWORD})
    return bearing(answer.json())


def bearing(tokens: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}
