"""The files by themselves: nothing runs."""

import re
from pathlib import Path

from gatepost.adapters.metric_catalogue import CATALOGUE
from tests.dashboards.queries import RULE_TESTS, alerts, dashboard, metrics_in, panel_queries

PAGE = Path(__file__).parent.parent.parent / "docs" / "operations" / "alerts.md"
OTHERS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"} | {
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
}
PARTS = {"histogram": ("_bucket", "_count", "_sum")}


def test_every_query_is_about_metrics_that_there_are() -> None:
    known = OTHERS | {one.name + part for one in CATALOGUE for part in PARTS.get(one.kind, ("",))}
    expressions = [query.expression for query in panel_queries("1m", "1h")]
    expressions += [alert["expr"] for alert in alerts()]
    for expression in expressions:
        named = metrics_in(expression)
        assert named, expression
        assert named <= known, expression


def test_the_dashboard_shows_every_metric_of_the_reference() -> None:
    shown = set().union(*(metrics_in(query.expression) for query in panel_queries("1m", "1h")))
    for one in CATALOGUE:
        assert shown & {one.name + part for part in PARTS.get(one.kind, ("",))}, one.name


def test_panels_have_names_and_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_each_alert_tells_how_bad_it_is_and_what_to_do_and_is_tested() -> None:
    page, tested = PAGE.read_text(encoding="utf-8"), RULE_TESTS.read_text(encoding="utf-8")
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert sorted(headings) == sorted(alert["alert"] for alert in alerts())
    for alert in alerts():
        name, notes = alert["alert"], alert["annotations"]
        severity = alert["labels"]["severity"]
        assert notes["summary"]
        assert notes["runbook_url"] == f"docs/operations/alerts.md#{name.lower()}"
        assert f"### {name}\n\n{severity.capitalize()}. " in page
        assert f'alertname="{name}"' in tested
