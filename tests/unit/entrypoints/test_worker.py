"""Jobs done beside what else a process does."""

import asyncio
from typing import Any

import pytest

from gatepost import Gatepost, Policies, assemble, load_settings
from gatepost.adapters.memory import memory_ports
from gatepost.entrypoints import worker

NOWHERE = "postgresql://127.0.0.1:9/nowhere"


def a_gatepost() -> Gatepost:
    return assemble(memory_ports(), Policies())


async def test_a_lost_database_is_waited_for_and_the_end_is_not_late() -> None:
    stop = asyncio.Event()
    settings = load_settings(database_url=NOWHERE)
    working = asyncio.create_task(worker.keep_working(settings, a_gatepost(), stop))
    await asyncio.sleep(0.05)
    assert not working.done()
    stop.set()
    await asyncio.wait_for(working, 10)


async def test_what_nobody_thought_of_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, tried = asyncio.Event(), list[str]()

    async def consume(url: str, run: Any, stop: asyncio.Event, names: Any) -> None:
        tried.append(url)
        if len(tried) == 2:
            stop.set()
            return
        raise RuntimeError("a bug")

    monkeypatch.setattr(worker, "consume", consume)
    monkeypatch.setattr(worker, "_SHORTEST_PAUSE", 0.01)
    settings = load_settings(database_url=NOWHERE)
    await worker.keep_working(settings, a_gatepost(), stop)
    assert tried == [NOWHERE, NOWHERE]
