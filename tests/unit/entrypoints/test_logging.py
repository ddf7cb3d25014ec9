"""What a line of the log holds."""

import json
import logging
from collections.abc import Iterator
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
from fastapi import FastAPI
from pydantic import SecretStr

from gatepost import Policies, assemble
from gatepost.adapters.memory import memory_ports
from gatepost.domain.audit import ClientContext
from gatepost.entrypoints.applications import _request_log
from gatepost.entrypoints.http.app import create_app
from gatepost.entrypoints.http.options import unlogged
from gatepost.entrypoints.logging import configure_logging, request_writer
from gatepost.entrypoints.request_log import RequestLines
from gatepost.entrypoints.settings import load
from gatepost.testing.builders import (
    an_account,
    new_id,
)
from tests import leaks
from tests.unit.entrypoints.http.service import client_of


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    leaks.collect_logs()


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


@pytest.fixture
def stream() -> StringIO:
    return StringIO()


def lines_of(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_values_that_are_no_plain_ones_are_named_by_their_type(stream: StringIO) -> None:
    configure_logging(load(log={"format": "json"}), stream)
    number = UUID(int=7)
    structlog.get_logger("gatepost.x").info(
        "said",
        kept=["text", 7, 1.5, True, None, number],
        at=date(2026, 3, 1),
        key=SecretStr("of secrets"),
        raw=b"of bytes",
        error=ValueError("of an error"),
        entity=an_account(username="of-a-field"),
        inner=[{"password": "of a field"}, ["deep", b"er"]],
    )
    (line,) = lines_of(stream)
    assert line["kept"] == ["text", 7, 1.5, True, None, str(number)]
    assert line["at"] == "2026-03-01"
    told = {name: line[name] for name in ("key", "raw", "error", "entity", "inner")}
    assert told == {
        "key": "<SecretStr>",
        "raw": "<bytes>",
        "error": "<ValueError>",
        "entity": "<Account>",
        "inner": ["<dict>", ["deep", "<bytes>"]],
    }


def test_errors_are_told_by_class_and_place_and_without_their_messages(stream: StringIO) -> None:
    configure_logging(load(log={"format": "json"}), stream)
    try:
        try:
            raise ValueError("value of a parameter")
        except ValueError as cause:
            raise ExceptionGroup("of a group", [KeyError("value of a key")]) from cause
    except ExceptionGroup:
        logging.getLogger("library").exception("failed\nwith what it was given")
    (line,) = lines_of(stream)
    assert line["event"] == "failed"
    told = line["exception"].splitlines()
    assert [each for each in told if not each.startswith(" ")] == [
        "builtins.ExceptionGroup",
        "builtins.KeyError",
        "builtins.ValueError",
    ]
    assert any("test_logging.py" in each for each in told)
    assert "value of" not in stream.getvalue()


def test_fields_that_libraries_add_are_dropped_and_ours_are_kept(stream: StringIO) -> None:
    configure_logging(load(log={"format": "json"}), stream)
    logging.getLogger("library").warning("x", extra={"error": "KeyError", "body": "of a request"})
    (line,) = lines_of(stream)
    assert line["error"] == "KeyError"
    assert "body" not in line


def test_control_characters_make_no_line_of_their_own(stream: StringIO) -> None:
    configure_logging(load(log={"format": "json"}), stream)
    structlog.get_logger("gatepost.x").info("said", what='a\r\n{"event": "forged"}\x1b[31m')
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("shown", "ip", "told"),
    [
        ("full", "203.0.113.9", "203.0.113.9"),
        ("truncated", "203.0.113.9", "203.0.113.0"),
        ("truncated", "2001:db8:1:2::9", "2001:db8:1::"),
        ("truncated", None, None),
        ("none", "203.0.113.9", None),
    ],
)
def test_a_request_has_a_line_with_its_caller_as_the_settings_want_him(
    stream: StringIO, shown: str, ip: str | None, told: str | None
) -> None:
    settings = load(log={"format": "json", "client_ip": shown})
    lines = RequestLines(request_writer(settings, stream), settings.log.client_ip)
    user = new_id()
    client = ClientContext(ip=ip, client_id="a-client")
    lines("GET", "/v1/users/{user_id}", 200, 0.0123456, client, user)
    lines("GET", "/livez", 200, 0.001, client, None)
    (line,) = lines_of(stream)
    assert line.pop("timestamp")
    line.pop("request_id", None)
    expected = {
        "level": "info",
        "logger": "gatepost.requests",
        "event": "request",
        "method": "GET",
        "route": "/v1/users/{user_id}",
        "status": 200,
        "duration_ms": 12.35,
        "client_id": "a-client",
        "user_id": str(user),
    }
    assert line == expected | ({} if told is None else {"client_ip": told})


class FullDisk(StringIO):
    def write(self, text: str) -> int:
        raise OSError("no space left")


def test_a_line_that_cannot_be_written_costs_nobody_his_answer(stream: StringIO) -> None:
    settings = load(log={"format": "json"})
    stream.close()
    for broken in (stream, FullDisk()):
        request_writer(settings, broken)({"status": 200})


@pytest.mark.parametrize("given", [{"log_level": "WARNING"}, {"log": {"requests": False}}])
def test_a_quieter_level_or_a_switch_leaves_requests_out(given: dict[str, Any]) -> None:
    assert _request_log(load()) is not unlogged
    assert _request_log(load(**given)) is unlogged
