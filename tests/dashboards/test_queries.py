"""Every query of the dashboard and of the alerts, asked of a Prometheus that watches a service."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.children import becomes_true
from tests.dashboards.queries import RULES, Query, alerts, metrics_in, panel_queries
from tests.service import PASSWORD, Service, free_port, register, running, signed_in

CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: gatepost
    static_configs: [{{targets: ["127.0.0.1:{port}", "127.0.0.1:{worker}"]}}]
"""
GUESSERS = 24


class Prometheus:
    def __init__(self, port: int) -> None:
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30)

    def ready(self) -> bool:
        try:
            return bool(self.ask('up{job="gatepost"} == 1'))
        except (httpx2.HTTPError, AssertionError):
            return False

    def ask(self, expression: str) -> list[Any]:
        """Return the result of a query; it fails when that is no valid one."""
        answer = self.http.get("/query", params={"query": expression})
        assert answer.status_code == 200, (expression, answer.text)
        return list(answer.json()["data"]["result"])

    def drawn(self, expression: str, since: float) -> list[Any]:
        """Return what a panel would draw from `since` to now."""
        times = {"start": since, "end": time.time(), "step": 1}
        answer = self.http.get("/query_range", params={"query": expression, **times})
        assert answer.status_code == 200, (expression, answer.text)
        return list(answer.json()["data"]["result"])


@pytest.fixture(scope="module")
def management_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def worker_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, management_port: int, worker_port: int
) -> Iterator[Service]:
    with running(
        tmp_path_factory.mktemp("watched") / "two",
        GATEPOST_HTTP__WORKERS="2",
        GATEPOST_HTTP__MANAGEMENT_PORT=str(management_port),
        GATEPOST_JOBS__METRICS_PORT=str(worker_port),
        GATEPOST_LIMITS__ENABLED="true",
        GATEPOST_LIMITS__LOGIN="5/15m",
        GATEPOST_LIMITS__LOGIN_ADDRESS="100000/1m",
        GATEPOST_LIMITS__PUBLIC="100000/1m",
        GATEPOST_LIMITS__REGISTER="1000/1h",
        GATEPOST_LIMITS__MAIL_ADDRESS="1000/1h",
        GATEPOST_PASSWORD__MEMORY_KIB="19456",
        GATEPOST_PASSWORD__QUEUE="4",
        GATEPOST_SESSIONS__REFRESH_GRACE="0s",
    ) as started:
        yield started
        assert started.stop() == 0


@pytest.fixture(scope="module")
def prometheus(
    service: Service,
    tmp_path_factory: pytest.TempPathFactory,
    management_port: int,
    worker_port: int,
) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.fail("prometheus is not installed; Debian, Ubuntu: apt install prometheus")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(rules=RULES, port=management_port, worker=worker_port))
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=log,
    )
    log.close()
    asked = Prometheus(port)
    try:
        assert becomes_true(asked.ready, 30), (folder / "log").read_text()
        yield asked
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        asked.http.close()


@pytest.fixture(scope="module")
def began(service: Service, prometheus: Prometheus) -> float:
    """Make traffic of every kind, for some seconds, so that there are rates; tells since when."""
    # Before, so that what comes is a rise: a counter must be seen once before.
    time.sleep(2)
    began = time.time()
    with httpx2.Client(base_url=service.url, timeout=30) as client:
        tokens = signed_in(client, service, "watched")
        for number in range(12):
            use(client, tokens)
            tokens = refreshed(client, tokens)
            assert register(client, f"another{number}").status_code == 202
            # Over several scrapes: what is there at the first one is no rise yet.
            time.sleep(0.3)
        assert register(client, "watched").status_code in (202, 409)
        steal(client, tokens)
    with ThreadPoolExecutor(GUESSERS) as pool:
        codes = set().union(*pool.map(lambda number: guess(service, number), range(GUESSERS)))
    assert codes == {401, 429, 503}, "refused, limited, and too many at once"
    time.sleep(3)
    return began


def use(client: httpx2.Client, tokens: dict[str, str]) -> None:
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert client.get("/v1/users/me", headers=bearer).status_code == 200
    assert client.get("/.well-known/jwks.json").status_code == 200
    assert client.get("/nowhere").status_code == 404


def refreshed(client: httpx2.Client, tokens: dict[str, str]) -> dict[str, str]:
    answer = client.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert answer.status_code == 200
    fresh: dict[str, str] = answer.json()
    return fresh


def steal(client: httpx2.Client, tokens: dict[str, str]) -> None:
    refreshed(client, refreshed(client, tokens))
    stale = {"refresh_token": tokens["refresh_token"]}
    assert client.post("/v1/sessions/refresh", json=stale).status_code == 400


def guess(service: Service, number: int) -> set[int]:
    """Try wrong passwords for seconds, as others do at once: of one account, and of many."""
    codes, until, tries = set(), time.monotonic() + 8, 0
    with httpx2.Client(base_url=service.url, timeout=30) as client:
        while time.monotonic() < until:
            tries += 1
            login = f"nobody-{number}-{tries}" if tries % 2 else "watched"
            body = {"login": login, "password": f"not {PASSWORD}"}
            codes.add(client.post("/v1/sessions", json=body).status_code)
    return codes


def spelled(query: Query) -> str:
    return f"{query.panel}: {query.legend or 'value'}"


@pytest.mark.parametrize("query", list(panel_queries("5s", "1m")), ids=spelled)
def test_every_panel_shows_something(query: Query, prometheus: Prometheus, began: float) -> None:
    drawn = prometheus.drawn(query.expression, began)
    numbers = [float(value) for series in drawn for _, value in series["values"]]
    # NaN is what a share or a percentile of nothing is.
    assert [number for number in numbers if number == number], query.expression


@pytest.mark.parametrize(
    "panel",
    [
        "Sign-ins",
        "Refusals by reason",
        "Registrations",
        "Refresh tokens",
        "Access tokens",
        "Audit trail",
        "Rate limited",
        "Hash queue",
        "Attempts at jobs",
        "Age of signing keys",
        "Errors by route",
        "Busiest routes",
        "Stolen tokens",
    ],
)
def test_what_happened_shows_as_more_than_zero(
    panel: str, prometheus: Prometheus, began: float
) -> None:
    for query in panel_queries("5s", "1m"):
        if query.panel == panel:
            drawn = prometheus.drawn(query.expression, began)
            assert max(float(value) for one in drawn for _, value in one["values"]) > 0, query


def test_every_refresh_outcome_that_was_made_is_told_apart(
    prometheus: Prometheus, began: float
) -> None:
    found = {
        one["metric"]["result"]: float(one["value"][1])
        for one in prometheus.ask("sum by (result) (gatepost_token_refreshes_total)")
    }
    assert found["rotated"] == 14
    assert found["reuse_detected"] == 1


def test_prometheus_takes_every_rule(prometheus: Prometheus, began: float) -> None:
    groups = prometheus.http.get("/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(alerts())
    assert {rule["health"] for rule in rules} == {"ok"}, json.dumps(rules, indent=1)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_every_metric_of_a_rule_is_there(
    alert: dict[str, Any], prometheus: Prometheus, began: float
) -> None:
    prometheus.ask(alert["expr"])
    for metric in metrics_in(alert["expr"]):
        assert prometheus.ask(f'{metric}{{job="gatepost"}}'), metric


def test_the_theft_and_the_full_queue_are_on_their_way_to_somebody(
    prometheus: Prometheus, began: float
) -> None:
    told = {
        (one["metric"]["alertname"], one["metric"]["alertstate"])
        for one in prometheus.ask("last_over_time(ALERTS[1m])")
    }
    assert ("GatepostRefreshTokenReused", "firing") in told
    assert ("GatepostHashingFull", "pending") in told
    firing = {name for name, state in told if state == "firing"}
    assert not firing & {"GatepostDown", "GatepostFaults", "GatepostAbsent"}
