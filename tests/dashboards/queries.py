"""The queries of dashboard and alerts, as they stand in their files."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
RULE_TESTS = DEPLOY / "prometheus" / "alerts.test.yml"
DASHBOARD = DEPLOY / "grafana" / "gatepost.json"
METRIC = re.compile(
    r"\b(?:up|(?:gatepost|db_client|http_server|process)_[a-z_]+?)(?=\{)", re.MULTILINE
)


class Query(NamedTuple):
    panel: str
    legend: str
    expression: str


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def panel_queries(interval: str, span: str) -> Iterator[Query]:
    """Fill in what Grafana would."""
    variables = {"$__rate_interval": interval, "$__range": span, "$instance": ".*"}
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in variables.items():
                expression = expression.replace(name, value)
            assert "$" not in expression, expression
            yield Query(panel["title"], target["legendFormat"], expression)


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metrics_in(expression: str) -> set[str]:
    return set(METRIC.findall(expression))
