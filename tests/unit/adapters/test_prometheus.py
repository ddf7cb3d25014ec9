import re
from collections.abc import Mapping

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatepost.adapters.argon2 import Argon2PasswordHasher
from gatepost.adapters.metric_catalogue import CATALOGUE
from gatepost.adapters.prometheus import PrometheusMetrics
from gatepost.application.ports.delivery import (
    Backlog,
    Grant,
    JobName,
    Level,
    RefreshOutcome,
    WebhookResult,
)
from gatepost.domain.audit import AuditType
from gatepost.domain.errors import Overloaded
from gatepost.domain.keys import KeyState
from gatepost.domain.limits import Rule
from tests.service import free_port

Samples = Mapping[tuple[str, frozenset[str]], float]


def samples_of(text: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@pytest.fixture
def metrics() -> PrometheusMetrics:
    return PrometheusMetrics("9.9")


def value_of(metrics: PrometheusMetrics, name: str, *labels: str) -> float:
    return samples_of(metrics.render(None))[name, frozenset(labels)]


def test_outcomes_are_counted_by_bounded_labels(metrics: PrometheusMetrics) -> None:
    metrics.noted(AuditType.ACCOUNT_REGISTERED, None)
    metrics.noted(AuditType.ACCOUNT_REGISTERED, "username_taken")
    metrics.noted(AuditType.SESSION_CREATED, None)
    metrics.noted(AuditType.SESSION_REFUSED, "invalid_credentials")
    metrics.noted(AuditType.KEY_CREATED, None)
    metrics.refreshed(RefreshOutcome.GRACE)
    metrics.issued(Grant.PASSWORD)
    metrics.limited(Rule.LOGIN)
    metrics.uncounted(Rule.LOGIN, refused=True)
    metrics.uncounted(Rule.USER, refused=False)
    metrics.store_lost()
    metrics.connected(0.001)
    metrics.not_connected()
    assert value_of(metrics, "gatepost_audit_events_total", "key.created", "success") == 1
    assert value_of(metrics, "gatepost_audit_events_total", "session.refused", "failure") == 1
    assert value_of(metrics, "db_client_connection_wait_time_seconds_count") == 1
    assert value_of(metrics, "db_client_connection_timeouts_total") == 1
    assert value_of(metrics, "gatepost_registrations_total", "success") == 1
    assert value_of(metrics, "gatepost_registrations_total", "username_taken") == 1
    assert value_of(metrics, "gatepost_logins_total", "password", "success", "") == 1
    refused = ("password", "failure", "invalid_credentials")
    assert value_of(metrics, "gatepost_logins_total", *refused) == 1
    assert value_of(metrics, "gatepost_token_refreshes_total", "grace") == 1
    assert value_of(metrics, "gatepost_tokens_issued_total", "password") == 1
    assert value_of(metrics, "gatepost_rate_limited_total", "login") == 1
    assert value_of(metrics, "gatepost_rate_limit_uncounted_total", "login", "refused") == 1
    assert value_of(metrics, "gatepost_rate_limit_uncounted_total", "user", "let_pass") == 1
    assert value_of(metrics, "gatepost_rate_limiter_lost_total") == 1


def test_workers_count_their_jobs_and_webhooks(metrics: PrometheusMetrics) -> None:
    metrics.job_ended(JobName.SEND_MAIL, 0.2, failed=False)
    metrics.job_ended(JobName.SEND_MAIL, 0.3, failed=True)
    metrics.webhook_sent(WebhookResult.DELIVERED, 0.1)
    metrics.webhook_sent(WebhookResult.FAILED, 3.0)
    metrics.webhook_disabled()
    jobs, webhooks = "gatepost_outbox_deliveries_total", "gatepost_webhook_deliveries_total"
    assert value_of(metrics, jobs, "mail.send.v1", "done") == 1
    assert value_of(metrics, jobs, "mail.send.v1", "failed") == 1
    assert value_of(metrics, jobs, "exports.build.v1", "failed") == 0
    seconds = "gatepost_outbox_delivery_duration_seconds_count"
    assert value_of(metrics, seconds, "mail.send.v1") == 2
    results = [value_of(metrics, webhooks, result.value) for result in WebhookResult]
    assert results == [1, 0, 1]
    assert value_of(metrics, "gatepost_webhook_duration_seconds_sum") == 3.1
    assert value_of(metrics, "gatepost_webhook_endpoints_disabled_total") == 1


def test_a_worker_answers_scrapes_on_a_port_of_its_own(metrics: PrometheusMetrics) -> None:
    level, port = [1.0], free_port()
    metrics.watch(Level.CONNECTIONS_USED, lambda: level[0])
    metrics.serve("127.0.0.1", port)
    for seen in (1.0, 5.0):
        level[0] = seen
        found = samples_of(httpx2.get(f"http://127.0.0.1:{port}/metrics").content)
        assert found["db_client_connection_count", frozenset({"used"})] == seen
        assert found["gatepost_build_info", frozenset({"9.9"})] == 1
        # It has not looked: an alert would take it for a server without a database.
        assert ("gatepost_database_up", frozenset()) not in found
    with pytest.raises(OSError, match="in use"):
        metrics.serve("127.0.0.1", port)


def test_what_alerts_watch_is_there_before_it_happens(metrics: PrometheusMetrics) -> None:
    assert value_of(metrics, "gatepost_token_refreshes_total", "reuse_detected") == 0
    assert value_of(metrics, "gatepost_rate_limited_total", "login") == 0


def test_invented_methods_share_a_label_and_are_not_kept(metrics: PrometheusMetrics) -> None:
    for number in range(50):
        metrics.requests.observed(f"MADE{number}", "none", 405, 0.001)
    metrics.requests.observed("GET", "/livez", 200, 0.001)
    name = "http_server_request_duration_seconds_count"
    assert value_of(metrics, name, "OTHER", "none", "405") == 50
    assert value_of(metrics, name, "GET", "/livez", "200") == 1
    assert len(metrics.requests._observers) == 1


def test_the_queue_of_jobs_is_shown_when_it_is_known(metrics: PrometheusMetrics) -> None:
    ages = {KeyState.ACTIVE: 86400.0, KeyState.PENDING: 60.0}
    found = samples_of(metrics.render(Backlog(3, 1, 42.5, 7, ages)))
    assert found["gatepost_signing_key_age_seconds", frozenset({"active"})] == 86400
    assert found["gatepost_signing_key_age_seconds", frozenset({"pending"})] == 60
    assert found["gatepost_outbox_pending", frozenset()] == 3
    assert found["gatepost_outbox_failed", frozenset()] == 1
    assert found["gatepost_outbox_oldest_age_seconds", frozenset()] == 42.5
    assert found["gatepost_mails_undeliverable", frozenset()] == 7
    assert found["gatepost_database_up", frozenset()] == 1
    alone = metrics.render(None)
    assert samples_of(alone)["gatepost_database_up", frozenset()] == 0
    assert not re.search(rb"gatepost_(outbox_(pending|oldest|failed)|signing)", alone)


async def test_the_hasher_tells_its_times_its_queue_and_its_refusals(
    metrics: PrometheusMetrics,
) -> None:
    hasher = Argon2PasswordHasher(
        memory_kib=64, time_cost=1, concurrency=1, queue=0, metrics=metrics
    )
    encoded = await hasher.hash("a long enough phrase")
    await hasher.verify("a long enough phrase", encoded)
    hasher._admitted = 1
    with pytest.raises(Overloaded):
        await hasher.hash("another")
    hasher._admitted = 3
    metrics.sample()
    hasher._admitted = 0
    hasher.close()
    timed = "gatepost_password_hash_duration_seconds_count"
    assert value_of(metrics, timed, "hash") == value_of(metrics, timed, "verify") == 1
    assert value_of(metrics, "gatepost_password_hash_rejected_total") == 1
    assert value_of(metrics, "gatepost_password_hash_queue_depth") == 2


def test_the_catalogue_lists_all_that_is_rendered_with_its_labels(
    metrics: PrometheusMetrics,
) -> None:
    metrics.noted(AuditType.ACCOUNT_REGISTERED, None)
    metrics.noted(AuditType.SESSION_CREATED, None)
    metrics.requests.observed("GET", "/livez", 200, 0.1)
    metrics.hashed("hash", 0.1)
    metrics.uncounted(Rule.USER, refused=False)
    metrics.job_ended(JobName.SEND_MAIL, 0.2, failed=False)
    metrics.watch(Level.CONNECTIONS_USED, lambda: 1)
    metrics.sample()
    rendered = metrics.render(Backlog(0, 0, 0, 0, {KeyState.ACTIVE: 1.0})).decode()
    told = dict(re.findall(r"^# TYPE (\S+) (\S+)$", rendered, re.MULTILINE))
    own = {name: kind for name, kind in told.items() if not name.startswith("process_")}
    assert own == {each.name: each.kind for each in CATALOGUE}
    labels = {
        family.name.removesuffix("_total"): set(sample.labels) - {"le"}
        for family in text_string_to_metric_families(rendered)
        for sample in family.samples
    }
    for each in CATALOGUE:
        assert labels[each.name.removesuffix("_total")] == set(each.labels)
