"""The TypeScript client: built, checked, driven against a service (`make test-client`)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.service import PASSWORD, Service, free_port, running, signed_in

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "typescript"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def run(*command: str, **settings: str) -> None:
    subprocess.run(command, cwd=CLIENT, env=os.environ | settings, check=True)


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    for program in ("node", "npm"):
        assert shutil.which(program), f"{program} is missing: install Node 20 or newer, with npm."
    version = subprocess.check_output(["node", "--version"], text=True)
    major = int(version.removeprefix("v").partition(".")[0])
    assert major >= 20, f"Node is {version.strip()}; it must be 20 or newer."
    run("npm", "ci")
    run("npm", "run", "--silent", "build")
    run("npm", "run", "--silent", "check")


@pytest.fixture(scope="session")
def frontend_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, frontend_port: int) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("client") / "service"
    frontend = f"http://127.0.0.1:{frontend_port}"
    with running(folder, GATEPOST_FRONTEND__URL=frontend) as service:
        yield service


def test_what_is_generated_is_what_the_contract_gives() -> None:
    run("node", "generate.mjs", "--check")


def test_it_does_what_its_own_tests_say() -> None:
    run("node", "--test", "out/test/session.test.js")


def test_the_package_holds_what_it_exports() -> None:
    packed = subprocess.check_output(["npm", "pack", "--dry-run", "--json"], cwd=CLIENT, text=True)
    for name in ("README.md", "dist/index.js", "dist/index.d.ts"):
        assert f'"{name}"' in packed


def test_the_tutorial_shows_the_tested_example() -> None:
    page = (ROOT / "docs" / "tutorials" / "frontend.md").read_text()
    for name in ("app.ts", "index.html"):
        assert (CLIENT / "example" / name).read_text() in page


def test_it_walks_the_contract(service: Service) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "gatepost", "admin", "create", "--username", "walking"),
            *("--email", "walking@example.com", "--password-stdin"),
        ],
        input=PASSWORD,
        env=os.environ | {"GATEPOST_DATA_DIR": str(service.folder)},
        text=True,
        check=True,
    )
    run("node", "out/test/walk.js", service.url, str(service.folder / "mail"), "walking")


def test_two_tabs_of_a_browser_share_a_session(service: Service, frontend_port: int) -> None:
    assert CHROMIUM, "chromium is missing: install it, or put it on the PATH."
    with httpx2.Client(base_url=service.url) as http:
        signed_in(http, service, "tabby")
    run(
        *("node", "--test", "--test-concurrency=1", "out/browser/tabs.test.js"),
        CHROMIUM=CHROMIUM,
        GATEPOST=service.url,
        FRONTEND_PORT=str(frontend_port),
        LOGIN="tabby",
        PASSWORD=PASSWORD,
    )
