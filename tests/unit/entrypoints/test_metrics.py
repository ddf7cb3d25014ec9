import asyncio
import re
import socket
from pathlib import Path

import pytest

from gatepost.adapters.prometheus import PrometheusMetrics
from gatepost.application.ports.delivery import Backlog, BacklogReader
from gatepost.domain.errors import Unavailable
from gatepost.entrypoints.metrics import (
    FOLDER,
    Exposition,
    forget,
    shared_folder,
    worker_metrics,
)
from gatepost.entrypoints.settings import SettingsError, load


class Queue(BacklogReader):
    def __init__(self) -> None:
        self.asked = 0
        self.hangs = self.is_down = self.is_not_migrated = False
        self.over = asyncio.Event()

    async def read(self) -> Backlog:
        self.asked += 1
        if self.hangs:
            await self.over.wait()
        if self.is_down:
            raise Unavailable
        if self.is_not_migrated:
            raise LookupError
        return Backlog(self.asked, 0, 0.0)


async def test_the_queue_is_looked_at_once_in_five_seconds() -> None:
    queue, now = Queue(), 0.0
    exposition = Exposition(PrometheusMetrics("9.9"), queue, lambda: now)
    await asyncio.gather(*(exposition() for _ in range(5)))
    assert queue.asked == 1
    now = 5.1
    assert b"gatepost_outbox_pending 2.0" in await exposition()


async def test_re_24_a_database_that_hangs_or_is_down_holds_no_scrape_up() -> None:
    for fault in ("hangs", "is_down", "is_not_migrated"):
        queue = Queue()
        setattr(queue, fault, True)
        exposition = Exposition(PrometheusMetrics("9.9"), queue)
        async with asyncio.timeout(5):
            rendered = await exposition()
        assert b"gatepost_build_info" in rendered
        assert not re.search(rb"gatepost_(outbox_(pending|oldest|failed)|signing)", rendered)


async def test_a_look_that_takes_long_is_not_begun_anew_at_each_scrape() -> None:
    """To connect may take longer than a scrape waits; the next scrape has the connection."""
    queue, now = Queue(), 0.0
    queue.hangs = True
    exposition = Exposition(PrometheusMetrics("9.9"), queue, lambda: now)
    for now in (0.0, 5.1, 10.2):  # noqa: B007
        assert b"gatepost_database_up 0.0" in await exposition()
    assert queue.asked == 1
    queue.hangs = False
    queue.over.set()
    now = 15.3
    assert b"gatepost_database_up 1.0" in await exposition()


def test_a_worker_shows_what_it_counts_where_a_port_is_set_and_free() -> None:
    assert worker_metrics(load()) is None
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = load(jobs={"metrics_port": port})
        with pytest.raises(SettingsError, match=r"JOBS__METRICS_PORT: .*in use"):
            worker_metrics(settings)
    assert worker_metrics(settings) is not None


async def test_alone_nothing_is_sampled_between_scrapes() -> None:
    async with asyncio.timeout(1):
        await Exposition(PrometheusMetrics("9.9"), Queue()).keep_sampling()


async def test_beside_others_levels_are_sampled_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gatepost.entrypoints.metrics._SAMPLE_SECONDS", 0.0)
    sampled = asyncio.Event()
    metrics = PrometheusMetrics("9.9", "/shared")
    monkeypatch.setattr(metrics, "sample", sampled.set)
    task = asyncio.create_task(Exposition(metrics, Queue()).keep_sampling())
    async with asyncio.timeout(5):
        await sampled.wait()
    task.cancel()


def test_one_process_needs_no_folder() -> None:
    with shared_folder(1) as folder:
        assert folder is None
    forget(None, 1)


def test_a_folder_is_made_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    with shared_folder(2) as folder:
        assert folder is not None
        assert folder.is_dir()
    assert not folder.exists()


def test_a_given_folder_is_emptied_of_former_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    (tmp_path / "counter_7.db").touch()
    (tmp_path / "other.txt").touch()
    with shared_folder(2) as folder:
        assert folder == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_of_a_dead_process_only_its_levels_go(tmp_path: Path) -> None:
    for name in ("gauge_livesum_7.db", "gauge_livesum_77.db", "counter_7.db"):
        (tmp_path / name).touch()
    forget(tmp_path, 7)
    assert {path.name for path in tmp_path.iterdir()} == {"gauge_livesum_77.db", "counter_7.db"}
