"""Clients that begin something and never end it, by the hundred."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.faults.conftest import Start
from tests.faults.database import Database
from tests.faults.processes import on_linux
from tests.service import Service

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
POST = (
    b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 50\r\n\r\n{"
)
CHUNKED = POST.replace(b"Content-Length: 50", b"Transfer-Encoding: chunked")[:-1]


@pytest.fixture
async def service(serving: Start, database: Database) -> AsyncIterator[Service]:
    async with serving(DATABASE_URL=database.direct_url) as started:
        yield started


def descriptors(service: Service) -> int:
    return sum(
        1
        for pid in service.members()
        for entry in Path(f"/proc/{pid}/fd").iterdir()
        if entry.is_symlink() and str(entry.readlink()).startswith("socket:")
    )


@on_linux
async def test_in_14_three_hundred_slow_clients_hold_nobody_up_and_are_let_go(
    service: Service,
) -> None:
    async with httpx2.AsyncClient(base_url=service.url, timeout=30) as client:
        assert (await client.get("/readyz")).status_code == 200
    await asyncio.sleep(0.5)
    before = descriptors(service)
    opened = time.monotonic()
    slow = [asyncio.create_task(held(service, number)) for number in range(300)]
    times = await honest_ones(service)
    assert sorted(times)[len(times) // 2] < 0.25
    said = await asyncio.gather(*slow)
    assert time.monotonic() - opened < 30
    told = Counter(answer[9:12] for answer in said)
    assert told[b"408"] >= 150, told
    assert told[b""] >= 60, "said nothing, heard nothing"
    await asyncio.sleep(0.5)
    assert descriptors(service) <= before + 2
    assert "unhandled" not in service.log()
    assert "Traceback" not in service.log()


KINDS = (
    (b"", b""),
    (GET[:-2], b"X: y\r\n"),
    (POST, b" "),
    (CHUNKED, b"1\r\n \r\n"),
    (GET[:9], b""),
)


async def held(service: Service, number: int) -> bytes:
    """Begin something, drip once a second, and return what the service says to that."""
    sent, drip = KINDS[number % len(KINDS)]
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    came = b""
    try:
        writer.write(sent)
        while True:
            try:
                async with asyncio.timeout(1):
                    piece = await reader.read(4096)
            except TimeoutError:
                writer.write(drip)
                continue
            if not piece:
                return came
            came += piece
    except ConnectionError:
        return came
    finally:
        writer.close()


async def honest_ones(service: Service) -> list[float]:
    times = []
    async with httpx2.AsyncClient(base_url=service.url, timeout=30) as client:
        for _ in range(40):
            before = time.monotonic()
            assert (await client.get("/readyz")).status_code == 200
            times.append(time.monotonic() - before)
            await asyncio.sleep(0.1)
    return times
