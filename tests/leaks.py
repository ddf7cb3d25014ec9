"""Every secret that tests use, every log that they cause, and the search of those for these.

Secrets need not be told one by one: what goes over HTTP is recognised by the names of its fields.
"""

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx2
import pytest
import structlog

from gatepost.entrypoints.logging import configure_logging, request_writer
from gatepost.entrypoints.request_log import RequestLines
from gatepost.entrypoints.setting_groups import ClientIp, LogFormat, LogSettings
from gatepost.entrypoints.settings import Settings

SECRET_FIELDS = re.compile(r"(?:^|_)(?:password|token|secret|secrets)$")
# No test knows these, and no log holds anything like them.
SHAPES = re.compile(r"\$argon2|\beyJ[\w-]{8}|\bgp[a-z]_[\w-]{8}|PRIVATE KEY|whsec_")
_GRAM = 8
# Chosen as secrets in tests of their own weakness, but words that lines are full of.
_WORD = re.compile(r"[A-Za-z]*")
_SETTINGS = Settings.model_construct(log_level="INFO", log=LogSettings(format=LogFormat.JSON))

secrets: set[str] = set()
folders: set[Path] = set()
stream = StringIO()
request_lines = RequestLines(request_writer(_SETTINGS, stream), ClientIp.FULL)


def secret(value: str) -> str:
    """Note a value that may be in no log."""
    if len(value) >= _GRAM and not _WORD.fullmatch(value):
        secrets.add(value)
    return value


def collect_logs() -> None:
    """Send the logs of this process to where they are searched."""
    configure_logging(_SETTINGS, stream)
    # Tests configure it again, and look into what the loggers of modules do.
    structlog.configure(cache_logger_on_first_use=False)


@contextmanager
def noting_http() -> Iterator[None]:
    """Note the secrets of all that clients send and receive, whoever made them."""
    with pytest.MonkeyPatch.context() as patch:
        send, send_later = httpx2.Client.send, httpx2.AsyncClient.send

        def noted(client: Any, request: httpx2.Request, **more: Any) -> httpx2.Response:
            return _noted(send(client, request, **more))

        async def noted_later(client: Any, request: httpx2.Request, **more: Any) -> Any:
            return _noted(await send_later(client, request, **more))

        patch.setattr(httpx2.Client, "send", noted)
        patch.setattr(httpx2.AsyncClient, "send", noted_later)
        yield


def _noted(answer: httpx2.Response) -> httpx2.Response:
    request = answer.request
    for value in (*_in_query(request.url.query), *_in_headers(request.headers)):
        secret(value)
    for message in (request, answer):
        if message.headers.get("content-type", "").startswith("application/x-www-form"):
            found = _in_query(message.content)
        elif "json" in message.headers.get("content-type", "") and hasattr(message, "_content"):
            found = _in_json(message.content)
        else:
            continue
        for value in found:
            secret(value)
    for cookie in answer.headers.get_list("set-cookie"):
        secret(cookie.partition(";")[0].partition("=")[2])
    return answer


def _in_query(query: bytes) -> Iterator[str]:
    for name, value in parse_qsl(query.decode("utf-8", "replace")):
        if SECRET_FIELDS.search(name):
            yield value


def _in_headers(headers: httpx2.Headers) -> Iterator[str]:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    yield credentials
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(credentials, validate=True).decode()
        except ValueError:
            return
        yield unquote(pair.partition(":")[2])
    for cookie in headers.get("cookie", "").split("; "):
        yield cookie.partition("=")[2]


def _in_json(content: bytes) -> Iterator[str]:
    try:
        yield from _in_value(json.loads(content))
    except (ValueError, RecursionError):
        return


def _in_value(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _in_value(each)
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        if isinstance(inner, str) and SECRET_FIELDS.search(name):
            yield inner
        else:
            yield from _in_value(inner)


def secrets_in(folder: Path) -> Iterator[str]:
    """Read what a service made up for itself on its first start."""
    for path in (*folder.rglob("master-keys"), *folder.rglob("password")):
        yield from path.read_text(encoding="ascii").split()


def logs_in(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*.log"):
        if path.parent.name != "postgres":
            yield str(path), path.read_text(encoding="utf-8", errors="replace")


def found(log: str, wanted: Iterable[str]) -> set[str]:
    """Return which of many secrets stand in a log, as they are or as JSON spells them.

    By their beginnings, so that the time goes with the length of the log alone.
    """
    beginnings = defaultdict(set)
    for value in wanted:
        for spelled in (value, json.dumps(value)[1:-1]):
            beginnings[spelled[:_GRAM]].add(spelled)
    return {
        spelled
        for at in range(len(log) - _GRAM + 1)
        for spelled in beginnings.get(log[at : at + _GRAM], ())
        if log.startswith(spelled, at)
    }


def assert_no_leak() -> None:
    """Search all logs for all secrets; names what leaked by its place alone."""
    own = {value for folder in folders for value in secrets_in(folder)}
    logs = [("this process", stream.getvalue())]
    logs += [log for folder in folders for log in logs_in(folder)]
    assert len(logs) > len(folders), "a service wrote no log, or it was not found"
    for name, text in logs:
        for leaked in (*found(text, secrets | own), *SHAPES.findall(text)):
            at = text.index(leaked)
            line = text.count("\n", 0, at) + 1
            pytest.fail(f"{name}, line {line}: a secret of {len(leaked)} characters")
