"""A whole service whose mail server comes and goes."""

import asyncio
import email
from collections import Counter
from pathlib import Path

import httpx2

from tests.service import free_port, register, running
from tests.sink import Sink

PEOPLE = 20


async def test_ob_01_mails_arrive_once_the_server_is_back(tmp_path: Path, own_url: str) -> None:
    sink = Sink(port=free_port())
    settings = {"DATABASE_URL": own_url, "GATEPOST_MAIL__URL": sink.url()}
    with running(tmp_path / "service", **settings) as service:
        with httpx2.Client(base_url=service.url, timeout=30) as client:
            for number in range(PEOPLE):
                assert register(client, f"user{number}").status_code == 202
            assert client.get("/health").json()["checks"]["mail"]["status"] == "unhealthy"
            async with sink.listening(), asyncio.timeout(60):
                await sink.reached(PEOPLE)
                await asyncio.sleep(1.1)
                # In a thread, for the mail server is in this one.
                checked = await asyncio.to_thread(client.get, "/health")
        assert checked.json()["checks"]["mail"]["status"] == "healthy"
        assert "@example.com" not in service.log()
    ids = Counter(email.message_from_bytes(each.data)["Message-ID"] for each in sink.received)
    assert set(ids.values()) == {1}
