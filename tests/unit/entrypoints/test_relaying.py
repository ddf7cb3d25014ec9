"""Settings of the relay."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from gatepost.entrypoints.relaying import broker_url, relay_jobs
from gatepost.entrypoints.settings import SettingsError, load

NAME = "GATEPOST_JOBS__RELAY_URL"


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GATEPOST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1/gatepost")
    monkeypatch.chdir(tmp_path)


def test_celery_without_a_broker_is_refused() -> None:
    with pytest.raises(SettingsError, match=f"{NAME}: needed here"):
        broker_url(load())


async def test_celery_without_its_package_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(NAME, "redis://:hunter22@127.0.0.1")
    monkeypatch.setitem(sys.modules, "gatepost.adapters.celery", None)
    with pytest.raises(SettingsError, match=f"{NAME}: needs the extra") as refused:
        await relay_jobs(load(), asyncio.Event())
    assert "hunter22" not in str(refused.value)
    assert "hunter22" not in repr(load())
