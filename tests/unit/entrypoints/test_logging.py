"""What a line of the log holds."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from fastapi import FastAPI

from gatepost import Policies, assemble
from gatepost.adapters.memory import memory_ports
from gatepost.entrypoints.http.app import create_app
from gatepost.entrypoints.logging import configure_logging
from gatepost.entrypoints.settings import load
from tests.unit.entrypoints.http.service import client_of


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def app() -> FastAPI:
    app = create_app(assemble(memory_ports(), Policies()))

    @app.get("/boom")
    async def boom() -> None:
        logging.getLogger("library").warning("on the way")
        structlog.get_logger("ours").warning("also")
        raise RuntimeError

    return app


@pytest.mark.parametrize("given", [{}, {"X-Request-ID": "r-42"}])
async def test_every_line_of_a_request_holds_the_id_of_its_answer(
    app: FastAPI, capsys: pytest.CaptureFixture[str], given: dict[str, str]
) -> None:
    configure_logging(load(log_level="WARNING", log={"format": "json"}))
    answer = await client_of(app).get("/boom", headers=given)
    assert answer.status_code == 500
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["on the way", "also", "unhandled"]
    assert {line["request_id"] for line in lines} == {answer.headers["x-request-id"]}
