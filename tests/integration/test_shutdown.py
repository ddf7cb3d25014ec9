"""How the processes end, and what they do when a part of them does."""

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from tests.service import Service, free_port, running


@pytest.mark.parametrize("workers", ["1", "2"])
def test_re_09_a_sigterm_under_load_fails_no_request(
    tmp_path: Path, own_url: str, workers: str
) -> None:
    """Clients behave like a proxy: they leave when `/readyz` says so, and lose nothing."""
    settings = {
        "DATABASE_URL": own_url,
        "GATEPOST_HTTP__WORKERS": workers,
        "GATEPOST_HTTP__SHUTDOWN_DELAY": "2s",
    }
    with running(tmp_path / "loaded", **settings) as service:
        outcomes, code = asyncio.run(_terminated_under_load(service))
        assert code == 0
        assert set(outcomes) == {200}, outcomes
        assert outcomes[200] > 100
        assert service.members() == []


async def _terminated_under_load(service: Service) -> tuple[Counter[int], int]:
    outcomes: Counter[int] = Counter()
    draining = asyncio.Event()

    async def ask(kept: int) -> None:
        limits = httpx2.Limits(max_keepalive_connections=kept)
        async with httpx2.AsyncClient(base_url=service.url, limits=limits, timeout=30) as client:
            while not draining.is_set():
                outcomes[(await client.get("/livez")).status_code] += 1

    async def probe() -> None:
        async with httpx2.AsyncClient(base_url=service.url, timeout=30) as client:
            while not draining.is_set():
                await asyncio.sleep(0.1)
                if (await client.get("/readyz")).status_code != 200:
                    draining.set()

    clients = [asyncio.create_task(ask(number % 2)) for number in range(8)]
    prober = asyncio.create_task(probe())
    # However slow the machine, the load is there before the signal.
    while outcomes.total() <= 100 and not any(one.done() for one in clients):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    stopped = asyncio.create_task(asyncio.to_thread(service.stop))
    await asyncio.gather(prober, *clients)
    return outcomes, await stopped


def test_a_service_whose_database_server_is_killed_ends_and_says_so(tmp_path: Path) -> None:
    with running(tmp_path / "orphaned") as service:
        pid_file = service.folder / "postgres" / "cluster" / "postmaster.pid"
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
        assert service.process is not None
        assert service.process.stdout is not None
        assert service.process.wait(timeout=30) == 1
        service.process.stdout.close()
        assert "the database server has ended" in service.log()
        deadline = time.monotonic() + 10
        while service.members() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert service.members() == []


def test_a_second_service_on_one_data_folder_is_refused(service: Service) -> None:
    second = Service(service.folder, free_port())
    with pytest.raises(AssertionError):
        second.start()
    assert second.process is not None
    assert second.process.stdout is not None
    assert second.process.wait(timeout=30) == 1
    second.process.stdout.close()
    assert "gatepost: embedded_database: " in service.log()
    assert httpx2.get(f"{service.url}/readyz").status_code == 200


def test_a_database_url_from_a_file_reaches_every_process(tmp_path: Path, own_url: str) -> None:
    (tmp_path / "url").write_text(own_url)
    with running(tmp_path / "filed", DATABASE_URL_FILE=str(tmp_path / "url")) as service:
        assert httpx2.get(f"{service.url}/readyz").status_code == 200
        assert not (service.folder / "postgres").exists()
        assert service.stop() == 0
