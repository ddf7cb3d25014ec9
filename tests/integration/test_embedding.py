"""Gatepost inside another program, on PostgreSQL."""

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx2

import gatepost
from gatepost import (
    ClientContext,
    DomainEvent,
    Exposition,
    Gatepost,
    PrometheusMetrics,
    Settings,
    create_app,
    events,
    http_options,
    load_settings,
    open_embedded,
    open_gatepost,
)
from gatepost.application.ports.delivery import Mail, Mailer
from tests.children import IMPORTING


def settings_for(url: str, folder: Path) -> Settings:
    return load_settings(database_url=url, data_dir=folder, password={"memory_kib": 1024})


async def register(opened: Gatepost, name: str = "ada") -> None:
    await opened.accounts.register(
        username=name,
        email=f"{name}@example.com",
        password="a quiet sea of numbers",
        client=ClientContext(),
    )


async def test_a_worker_without_subscribers_leaves_events_to_one_that_has_some(
    own_url: str, tmp_path: Path
) -> None:
    settings, told = settings_for(own_url, tmp_path), asyncio.Queue[DomainEvent]()
    async with open_gatepost(settings, subscribers=[told.put]) as opened:
        await register(opened)
    async with open_embedded(settings), asyncio.timeout(30):
        # It has done what it can.
        while not list((tmp_path / "mail").glob("*.eml")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    async with open_embedded(settings, subscribers=[told.put]), asyncio.timeout(30):
        assert isinstance(await told.get(), events.AccountRegistered)


OPENING = """
import asyncio, sys
from gatepost import load_settings, open_embedded

async def main():
    async with open_embedded(load_settings()) as gatepost:
        await gatepost.database()
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def test_several_processes_may_start_at_once_on_one_folder(tmp_path: Path) -> None:
    environment = {n: value for n, value in os.environ.items() if n != "DATABASE_URL"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENING],
            cwd=tmp_path,
            env=environment | IMPORTING,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [process.stdout.readline() for process in processes if process.stdout]
    # Who started the server may end last: the other is done then.
    owner = f"{(tmp_path / '.gatepost/postgres/lock').read_text()}"
    processes.sort(key=lambda process: str(process.pid) in owner)
    failures = [process.communicate("", timeout=60)[1] for process in processes]
    assert (told, failures) == (["open\n"] * 2, ["", ""])


async def test_what_is_counted_is_shown_where_it_is_mounted(own_url: str, tmp_path: Path) -> None:
    settings = settings_for(own_url, tmp_path)
    metrics = PrometheusMetrics(gatepost.__version__)
    async with open_embedded(settings, metrics) as opened:
        exposition = Exposition(metrics, opened.backlog)
        options = replace(http_options(settings), requests=metrics.requests, metrics=exposition)
        transport = httpx2.ASGITransport(create_app(opened, options))
        await register(opened)
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
            await http.get("/livez")
            shown = (await http.get("/metrics")).text
    for name in ('route="/livez"', "gatepost_password_hash_duration_seconds_count"):
        assert name in shown


class OwnMailer(Mailer):
    def __init__(self) -> None:
        self.sent: asyncio.Queue[Mail] = asyncio.Queue()

    async def send(self, mail: Mail) -> None:
        await self.sent.put(mail)


async def test_a_mailer_of_ones_own_gets_the_mails_of_the_real_service(
    own_url: str, tmp_path: Path
) -> None:
    mailer, settings = OwnMailer(), settings_for(own_url, tmp_path)
    async with open_embedded(
        settings, adapt=lambda ports: replace(ports, mailer=mailer)
    ) as opened:
        await register(opened)
        async with asyncio.timeout(30):
            mail = await mailer.sent.get()
    assert (mail.to, mail.template.value) == ("ada@example.com", "welcome")
    assert not (tmp_path / "mail").exists()
