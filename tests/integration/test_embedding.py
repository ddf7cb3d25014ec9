"""Gatepost inside another program, on PostgreSQL."""

import asyncio
from dataclasses import replace
from pathlib import Path

from gatepost import (
    ClientContext,
    DomainEvent,
    Gatepost,
    Settings,
    events,
    load_settings,
    open_embedded,
    open_gatepost,
)
from gatepost.application.ports.delivery import Mail, Mailer


def settings_for(url: str, folder: Path) -> Settings:
    return load_settings(database_url=url, data_dir=folder, password={"memory_kib": 1024})


async def register(gatepost: Gatepost, name: str = "ada") -> None:
    await gatepost.accounts.register(
        username=name,
        email=f"{name}@example.com",
        password="a quiet sea of numbers",
        client=ClientContext(),
    )


async def test_a_worker_without_subscribers_leaves_events_to_one_that_has_some(
    own_url: str, tmp_path: Path
) -> None:
    settings, told = settings_for(own_url, tmp_path), asyncio.Queue[DomainEvent]()
    async with open_gatepost(settings, subscribers=[told.put]) as gatepost:
        await register(gatepost)
    async with open_embedded(settings), asyncio.timeout(30):
        # It has done what it can.
        while not list((tmp_path / "mail").glob("*.eml")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    async with open_embedded(settings, subscribers=[told.put]), asyncio.timeout(30):
        assert isinstance(await told.get(), events.AccountRegistered)


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
    ) as gatepost:
        await register(gatepost)
        async with asyncio.timeout(30):
            mail = await mailer.sent.get()
    assert (mail.to, mail.template.value) == ("ada@example.com", "welcome")
    assert not (tmp_path / "mail").exists()
