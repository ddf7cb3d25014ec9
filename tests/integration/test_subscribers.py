"""Subscribers of an embedder: whoever changes something is here, his worker is a process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gatepost import DomainEvent
from gatepost.domain.audit import ClientContext
from gatepost.entrypoints.container import open_gatepost
from gatepost.entrypoints.settings import load
from tests.children import IMPORTING, becomes_true

WORKER = """
import asyncio, sys
from gatepost.domain.events import AccountRegistered
from gatepost.entrypoints.settings import load
from gatepost.entrypoints.worker import work

tries = []

async def tell(event):
    assert isinstance(event, AccountRegistered)
    with open(sys.argv[1], "a") as told:
        print(event.id, event.account_id, file=told)
    tries.append(event)
    if len(tries) == 1:
        raise OSError

asyncio.run(work(load(), subscribers=[tell]))
"""


def work_until(count: int, told: Path) -> list[str]:
    """Let a worker run until it told so many times, and return what."""
    told.touch()
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(told)], env={**os.environ, **IMPORTING}
    )
    try:
        assert becomes_true(lambda: len(told.read_text().splitlines()) >= count, 30)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    return told.read_text().splitlines()


async def ignore(event: DomainEvent) -> None:
    raise AssertionError("Only workers tell.")


async def test_a_worker_tells_what_another_process_committed(
    own_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", own_url)
    async with open_gatepost(load(), subscribers=[ignore]) as gatepost:
        await gatepost.accounts.register(
            username="ada",
            email="ada@example.com",
            password="a quiet sea of numbers",
            client=ClientContext(),
        )
    told = work_until(2, tmp_path / "told")
    assert len(told) == 2
    assert len(set(told)) == 1
