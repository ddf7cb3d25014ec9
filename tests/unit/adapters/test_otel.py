"""What spans hold, and what they must not."""

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gatepost.adapters import otel
from gatepost.adapters.otel import NoExporter, OtelSpans

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-2] + "00"
Finished = Callable[[], list[ReadableSpan]]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> Iterator[OtelSpans]:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "doors")
    made = OtelSpans("9.9", exporter)
    yield made
    made.close()


@pytest.fixture
def finished(spans: OtelSpans, exporter: InMemorySpanExporter) -> Finished:
    def read() -> list[ReadableSpan]:
        spans._provider.force_flush()
        return list(exporter.get_finished_spans())

    return read


def test_a_request_goes_on_with_the_callers_trace(spans: OtelSpans, finished: Finished) -> None:
    with spans.request("POST", {"traceparent": PARENT}) as own:
        spans.answered("/v1/sessions", 201)
    (span,) = finished()
    assert (span.name, span.kind) == ("POST /v1/sessions", SpanKind.SERVER)
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/sessions",
        "http.response.status_code": 201,
    }
    assert span.parent is not None
    assert own == f"00-{PARENT[3:35]}-{span.context.span_id:016x}-01"
    assert span.resource.attributes["service.name"] == "doors"
    assert span.resource.attributes["service.version"] == "9.9"


def test_what_the_caller_does_not_sample_is_not_sent(spans: OtelSpans, finished: Finished) -> None:
    with spans.request("GET", {"traceparent": UNSAMPLED}) as own:
        spans.query("SELECT 1", 0.001, None)
        spans.answered("/v1/users/me", 200)
    assert own.startswith(UNSAMPLED[:35])
    assert own.endswith("-00")
    assert finished() == []


def test_failures_are_told_by_kind_and_invented_names_are_not(
    spans: OtelSpans, finished: Finished
) -> None:
    with spans.request("BREW", {}):
        spans.answered("none", 500)
    with pytest.raises(ZeroDivisionError), spans.request("GET", {}):
        raise ZeroDivisionError("a secret value")
    with pytest.raises(KeyError), spans.job("mail.send.v1", "7", PARENT):
        raise KeyError("a secret value")
    brewed, broken, job = finished()
    assert brewed.name == "_OTHER"
    assert brewed.status.status_code is StatusCode.ERROR
    assert (job.attributes or {})["error.type"] == "KeyError"
    assert job.status.status_code is StatusCode.ERROR
    for span in (brewed, broken, job):
        assert not span.events
        assert "secret" not in span.to_json()


def test_a_job_is_a_trace_of_its_own_linked_to_the_request(
    spans: OtelSpans, finished: Finished
) -> None:
    with spans.job("mail.send.v1", "7", PARENT):
        pass
    with spans.job("accounts.purge.v1", "8", None):
        pass
    mail, purge = finished()
    assert (mail.name, mail.kind) == ("process mail.send.v1", SpanKind.CONSUMER)
    assert [f"{link.context.trace_id:032x}" for link in mail.links] == [PARENT[3:35]]
    assert mail.context.trace_id != int(PARENT[3:35], 16)
    assert mail.parent is None
    assert not purge.links


def test_statements_belong_to_what_asked_and_have_no_span_of_their_own_beside_it(
    spans: OtelSpans, finished: Finished
) -> None:
    spans.query("SELECT alone", 0.001, None)
    with spans.request("GET", {}):
        spans.query("select *\n  FROM sessions WHERE id = $1", 0.25, None)
        spans.query("COMMIT;", 0.001, "SerializationError")
        spans.answered("/v1/users/me", 200)
    read, commit, request = finished()
    assert (read.name, read.kind) == ("SELECT", SpanKind.CLIENT)
    assert (read.attributes or {})["db.query.text"] == "select * FROM sessions WHERE id = $1"
    assert read.end_time is not None
    assert read.start_time is not None
    assert read.end_time - read.start_time == 250_000_000
    assert read.parent is not None
    assert read.parent.span_id == request.context.span_id
    assert commit.name == "COMMIT"
    assert (commit.attributes or {})["error.type"] == "SerializationError"


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, "otlp_proto_http"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "otlp_proto_grpc"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
    ],
)
def test_the_variables_choose_among_installed_exporters(
    variables: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    here = f"{__name__}:InMemorySpanExporter"

    def installed(group: str, name: str) -> list[EntryPoint]:
        assert group == "opentelemetry_traces_exporter"
        return [EntryPoint(name, here, group)] if name == wanted else []

    monkeypatch.setattr(otel, "entry_points", installed)
    monkeypatch.setattr(EntryPoint, "load", lambda _: InMemorySpanExporter)
    assert isinstance(otel._exporter(), SpanExporter)
    monkeypatch.setattr(otel, "entry_points", lambda **_: [])
    with pytest.raises(NoExporter, match=r"^OTEL_[A-Z_]+: no such exporter is installed$"):
        otel._exporter()
