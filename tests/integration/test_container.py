"""The container fills every port with an adapter of that port."""

import asyncio
import sys
import typing
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from dependency_injector import providers

from gatepost.application.ports import Ports
from gatepost.application.ports.security import SigningKeysInvalid
from gatepost.domain.errors import Unavailable
from gatepost.entrypoints.container import Container, open_gatepost, reload_keys
from gatepost.entrypoints.mailing import mailer_of
from gatepost.entrypoints.settings import Settings, SettingsError, load


def settings_for(url: str, folder: Path) -> Settings:
    return load().model_copy(
        update={"database_url": load(database_url=url).database_url, "data_dir": folder}
    )


async def test_every_port_is_filled_with_what_its_annotation_says(
    url: str, tmp_path: Path
) -> None:
    container = Container(settings=providers.Object(settings_for(url, tmp_path)))
    ports, expected = container.ports(), typing.get_type_hints(Ports)
    for field in fields(ports):
        if field.name != "now":
            assert expected[field.name] in type(getattr(ports, field.name)).__mro__, field.name
    assert ports.now().tzinfo is not None


async def test_an_open_gatepost_answers_and_publishes_one_key(url: str, tmp_path: Path) -> None:
    settings = settings_for(url, tmp_path)
    async with open_gatepost(settings) as gatepost:
        await gatepost.database()
        first = gatepost.keys.access_tokens.published()
    async with open_gatepost(settings) as gatepost:
        assert gatepost.keys.access_tokens.published() == first


async def test_re_18_a_database_that_is_down_stops_the_start_clearly(tmp_path: Path) -> None:
    settings = settings_for("postgresql://127.0.0.1:9/nowhere", tmp_path)
    with pytest.raises(Unavailable):
        async with open_gatepost(settings):
            pass


def test_mail_goes_where_its_setting_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEPOST_MAIL__URL", "console:")
    assert type(mailer_of(load())).__name__ == "ConsoleMailer"
    monkeypatch.setenv("GATEPOST_MAIL__URL", f"file://{tmp_path}/out")
    assert type(mailer_of(load())).__name__ == "FileMailer"
    monkeypatch.setenv("GATEPOST_MAIL__URL", "smtps://u:p@mail.example.com")
    assert type(mailer_of(load())).__name__ == "SmtpMailer"
    monkeypatch.setitem(sys.modules, "aiosmtplib", None)
    monkeypatch.delitem(sys.modules, "gatepost.adapters.mail.smtp")
    with pytest.raises(SettingsError, match=r"gatepost\[smtp\]"):
        mailer_of(load())
    monkeypatch.setenv("GATEPOST_MAIL__URL", "carrier-pigeon://loft")
    with pytest.raises(SettingsError):
        mailer_of(load())


async def test_keys_are_loaded_again_after_a_load_that_fails() -> None:
    outcomes: list[Exception | None] = [
        SigningKeysInvalid("damaged"),
        Unavailable(),
        RuntimeError("a bug"),
        None,
    ]
    loaded = asyncio.Event()

    async def load() -> None:
        if outcome := outcomes.pop(0):
            raise outcome
        loaded.set()
        await asyncio.Event().wait()

    reloading = asyncio.create_task(reload_keys(load, timedelta(milliseconds=1)))
    async with asyncio.timeout(5):
        await loaded.wait()
    reloading.cancel()
