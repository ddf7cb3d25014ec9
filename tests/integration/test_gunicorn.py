"""Gunicorn with its ASGI worker keeps the promises that our own supervisor makes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.service import PASSWORD, free_port, register

COMMAND = [sys.executable, "-m", "gunicorn", "-c", "python:gatepost.entrypoints.gunicorn"]


class Gunicorn:
    """A running Gunicorn: two workers, and a port for operators."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.port, self.management_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.management = f"http://127.0.0.1:{self.management_port}"
        self._log, self.counts = folder / "log", folder / "counts"
        kept = {name: value for name, value in os.environ.items() if "GATEPOST" not in name}
        self.environment = kept | {
            "DATABASE_URL": database_url,
            "GATEPOST_DATA_DIR": str(folder),
            "GATEPOST_HTTP__MANAGEMENT_PORT": str(self.management_port),
            "GATEPOST_HTTP__SHUTDOWN_DELAY": "2s",
            "GATEPOST_HTTP__WORKERS": "2",
            "GATEPOST_LOG__FORMAT": "json",
            "GATEPOST_PASSWORD__MEMORY_KIB": "1024",
            "PORT": str(self.port),
            "PROMETHEUS_MULTIPROC_DIR": str(self.counts),
        }
        with self._log.open("w") as log:
            self.process = subprocess.Popen(COMMAND, env=self.environment, stderr=log)

    def log(self) -> str:
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                ready = httpx2.get(f"{self.url}/readyz").is_success
                if ready and len(self.workers()) == 2:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.log())

    def workers(self) -> set[int]:
        """List the processes that have answered, by the files in which they count."""
        files = self.counts.glob("gauge_livesum_*.db")
        return {int(file.stem.rpartition("_")[2]) for file in files}

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=60)


@pytest.fixture
def gunicorn(tmp_path: Path, own_url: str) -> Iterator[Gunicorn]:
    started = Gunicorn(tmp_path, own_url)
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def answered(gunicorn: Gunicorn) -> float:
    text = httpx2.get(f"{gunicorn.management}/metrics", timeout=30).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "http_server_request_duration_seconds_count"
        and sample.labels["route"] == "/.well-known/jwks.json"
    )


async def terminated_under_load(gunicorn: Gunicorn) -> tuple[Counter[int], int]:
    outcomes: Counter[int] = Counter()
    draining = asyncio.Event()

    async def ask(kept: int) -> None:
        limits = httpx2.Limits(max_keepalive_connections=kept)
        async with httpx2.AsyncClient(limits=limits, timeout=30) as client:
            while not draining.is_set():
                outcomes[(await client.get(f"{gunicorn.url}/livez")).status_code] += 1

    async def probe() -> None:
        async with httpx2.AsyncClient(timeout=30) as client:
            while not draining.is_set():
                await asyncio.sleep(0.05)
                if (await client.get(f"{gunicorn.url}/readyz")).status_code == 503:
                    draining.set()

    asking = [asyncio.create_task(ask(number % 2)) for number in range(4)]
    probing = asyncio.create_task(probe())
    await asyncio.sleep(0.5)
    stopped = asyncio.create_task(asyncio.to_thread(gunicorn.stop))
    async with asyncio.timeout(30):
        await asyncio.gather(probing, *asking)
    return outcomes, await stopped


def test_a_dead_worker_is_replaced_and_a_sigterm_fails_no_request(gunicorn: Gunicorn) -> None:
    assert httpx2.get(f"{gunicorn.url}/metrics").status_code == 404
    health = httpx2.get(f"{gunicorn.management}/health").json()
    assert health["checks"]["database"]["status"] == "healthy"
    with httpx2.Client(base_url=gunicorn.url, timeout=30) as client:
        assert register(client, "ada").status_code == 202
        login = client.post("/v1/sessions", json={"login": "nobody", "password": PASSWORD})
        assert login.status_code == 401

    for _ in range(20):
        assert httpx2.get(f"{gunicorn.url}/.well-known/jwks.json").status_code == 200
    before = answered(gunicorn)
    killed = min(gunicorn.workers())
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while killed in gunicorn.workers() or len(gunicorn.workers()) < 2:
        assert time.monotonic() < deadline, gunicorn.log()
        time.sleep(0.1)
    assert answered(gunicorn) == before == 20

    outcomes, code = asyncio.run(terminated_under_load(gunicorn))
    assert (set(outcomes), code) == ({200}, 0), gunicorn.log()
    assert all(line.startswith("{") for line in gunicorn.log().splitlines())


def test_wrong_settings_are_named_and_end_it() -> None:
    environment = {"PATH": os.environ["PATH"], "GATEPOST_HTTP__WORKERS": "none"}
    ended = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("gatepost: settings_invalid: GATEPOST_HTTP__WORKERS: ")
