"""One sign-up, from the request to its mail, as a collector and the logs see it."""

import json
from collections.abc import Iterator

import httpx2
import pytest

from tests.children import becomes_true
from tests.collector import Collector, attributes, collecting
from tests.service import PASSWORD, Service, running, token_in

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MAIL = "process mail.send.v1"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as listening:
        yield listening


@pytest.fixture(scope="module")
def service(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(
        tmp_path_factory.mktemp("traced") / "one",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
        OTEL_SERVICE_NAME="doors",
        OTEL_BSP_SCHEDULE_DELAY="200",
    ) as started:
        yield started


def test_a_registration_is_followed_to_its_mail_and_nothing_secret_goes_along(
    service: Service, collector: Collector
) -> None:
    body = {"username": "traced", "email": "traced@example.com", "password": PASSWORD}
    headers = {"traceparent": PARENT, "X-Request-ID": "followed"}
    with httpx2.Client(base_url=service.url, timeout=30) as client:
        asked = client.post("/v1/register?token=in-the-query", json=body, headers=headers)
        assert asked.status_code == 202
        token = token_in(service.mail_to("traced@example.com"))
        proof = {"token": token, "password": PASSWORD}
        assert client.post("/v1/email-verifications/confirm", json=proof).status_code == 200
        login = {"login": "traced", "password": PASSWORD}
        tokens = client.post("/v1/sessions", json=login).json()
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert client.get("/v1/users/me", headers=bearer).status_code == 200
        assert client.get("/health").status_code == 200
    assert becomes_true(
        lambda: bool(collector.spans(MAIL) and collector.spans("GET /v1/users/me")), 20
    )

    (register,) = collector.spans("POST /v1/register")
    assert register.trace_id.hex() == PARENT[3:35]
    assert register.parent_span_id.hex() == PARENT[36:52]
    statements = [attributes(span)["db.query.text"] for span in collector.children(register)]
    assert any(text.startswith("INSERT INTO accounts") for text in statements)
    (me,) = collector.spans("GET /v1/users/me")
    assert [span.name for span in collector.children(me)] == ["SELECT"]
    linked = [link.span_id for span in collector.spans(MAIL) for link in span.links]
    assert register.span_id in linked
    assert not collector.spans("GET /health")
    assert collector.services == {"doors"}

    assert service.stop() == 0
    lines = [json.loads(line) for line in service.log().splitlines()]
    (line,) = [line for line in lines if line.get("route") == "/v1/register"]
    assert (line["request_id"], line["trace_id"]) == ("followed", PARENT[3:35])
    done = [line for line in lines if line["event"] == "job done"]
    assert {line["request_id"] for line in done} >= {"followed"}
    traces = {span.trace_id.hex() for span in collector.spans(MAIL)}
    assert {line["trace_id"] for line in done} & traces

    told = b"".join(collector.raw) + service.log().encode()
    secrets = [PASSWORD, token, "in-the-query", "traced@example.com", *tokens.values()]
    for secret in secrets:
        if isinstance(secret, str) and secret not in ("Bearer", tokens.get("scope")):
            assert secret.encode() not in told, secret
