"""When there are traces, and what an application in them shows."""

import json
import sys
from collections.abc import Iterator
from io import StringIO

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from gatepost import Policies, assemble
from gatepost.adapters.memory import memory_ports
from gatepost.adapters.otel import OtelSpans
from gatepost.application.correlation import REQUEST_ID, TRACEPARENT
from gatepost.application.ports.delivery import Job, JobName
from gatepost.entrypoints.http.app import create_app
from gatepost.entrypoints.http.options import HttpOptions
from gatepost.entrypoints.logging import configure_logging, request_writer
from gatepost.entrypoints.request_log import RequestLines
from gatepost.entrypoints.settings import load
from gatepost.entrypoints.tracing import Untraced, _Traced, is_wanted, tracing
from gatepost.testing.builders import (
    new_id,
)
from tests import leaks
from tests.unit.entrypoints.http.service import client_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "gatepost"}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "True"}, False),
    ],
)
def test_traces_are_off_unless_the_environment_says_where_to(
    environ: dict[str, str], wanted: bool
) -> None:
    assert is_wanted(environ) is wanted


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_EXPORTER": "a-pigeon"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "morse"} | ENDPOINT,
        {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "-1"} | ENDPOINT,
    ],
)
def test_wrong_variables_cost_the_traces_and_not_the_service(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with capture_logs() as logs, tracing() as traces:
        assert isinstance(traces, Untraced)
    assert [line["event"] for line in logs] == ["no traces"]


def test_without_the_extra_the_service_runs_and_says_why_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setitem(sys.modules, "gatepost.adapters.otel", None)
    with capture_logs() as logs, tracing() as traces:
        assert isinstance(traces, Untraced)
    assert "gatepost[otel]" in logs[0]["why"]


@pytest.fixture
def log() -> Iterator[StringIO]:
    yield StringIO()
    leaks.collect_logs()


async def test_span_log_and_answer_of_a_request_name_each_other(log: StringIO) -> None:
    exporter = InMemorySpanExporter()
    spans = OtelSpans("9.9", exporter)
    traces, settings = _Traced(spans), load(log={"format": "json"})
    lines = RequestLines(request_writer(settings, log), settings.log.client_ip)
    options = HttpOptions(log=traces.told(lines))
    app = traces.serving(create_app(assemble(memory_ports(), Policies()), options))
    async with client_of(app) as client:
        secret = {"login": "grace", "password": "a password of mine"}
        refused = await client.post(
            "/v1/sessions?token=in-the-query", json=secret, headers={"traceparent": PARENT}
        )
        await client.head("/.well-known/jwks.json")
        await client.get("/nowhere/secret-in-the-path")
        await client.get("/livez")
    spans.close()
    request, keys, nowhere = exporter.get_finished_spans()
    assert [span.name for span in (request, keys, nowhere)] == [
        "POST /v1/sessions",
        "HEAD /.well-known/jwks.json",
        "GET",
    ]
    assert f"{request.context.trace_id:032x}" == PARENT[3:35]
    first, *others = (json.loads(line) for line in log.getvalue().splitlines())
    assert (first["trace_id"], first["span_id"]) == (
        PARENT[3:35],
        f"{request.context.span_id:016x}",
    )
    assert first["request_id"] == refused.headers["x-request-id"]
    assert (first["route"], first["status"]) == ("/v1/sessions", refused.status_code)
    assert [line["route"] for line in others] == ["/.well-known/jwks.json", "none"]
    told = log.getvalue() + "".join(span.to_json() for span in (request, keys, nowhere))
    for value in ("in-the-query", "in-the-path", "a password of mine", "grace"):
        assert value not in told


async def test_without_traces_the_log_names_the_callers(log: StringIO) -> None:
    settings = load(log={"format": "json"})
    lines = RequestLines(request_writer(settings, log), settings.log.client_ip)
    options = HttpOptions(log=lines)
    async with client_of(create_app(assemble(memory_ports(), Policies()), options)) as client:
        for given in (PARENT, "", "00-" + "0" * 32 + PARENT[35:], "x" * 5000, PARENT + "-more"):
            await client.get("/nowhere", headers={"traceparent": given})
    first, *others = (json.loads(line) for line in log.getvalue().splitlines())
    assert (first["trace_id"], first["span_id"]) == tuple(PARENT.split("-")[1:3])
    assert len(others) == 4
    assert not any("trace_id" in line for line in others)


def test_lines_of_a_job_are_in_its_span_and_name_the_request(log: StringIO) -> None:
    exporter = InMemorySpanExporter()
    spans = OtelSpans("9.9", exporter)
    configure_logging(load(log={"format": "json"}), log)
    before = TRACEPARENT.set(PARENT), REQUEST_ID.set("r-42")
    job = Job(id=new_id(), name=JobName.SEND_MAIL, payload={})
    with _Traced(spans).job(job):
        structlog.get_logger("gatepost.worker").info("job done")
        nested = TRACEPARENT.get()
    assert TRACEPARENT.get() == PARENT
    TRACEPARENT.reset(before[0])
    REQUEST_ID.reset(before[1])
    spans.close()
    (span,) = exporter.get_finished_spans()
    line = json.loads(log.getvalue())
    assert line["trace_id"] == f"{span.context.trace_id:032x}" != PARENT[3:35]
    assert line["request_id"] == "r-42"
    assert nested is not None
    assert nested.split("-")[2] == f"{span.context.span_id:016x}" == line["span_id"]
