"""What Prometheus and its alerts said while something went on."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from tests.image.stack import FOLDER, run

PROMETHEUS = "http://127.0.0.1:9090/api/v1"
RULES = FOLDER / "deploy" / "prometheus" / "alerts.yml"
# As often as rules are evaluated in compose; the alerts are asked for at the same times.
STEP = 5
FASTER = 6
SECONDS = {"m": 60, "h": 3600}


class Told(NamedTuple):
    at: float
    alert: str
    state: str


def ask(path: str, **params: str | float) -> Any:
    answer = httpx2.get(f"{PROMETHEUS}/{path}", params=params, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def instances_up() -> list[str]:
    return [one["value"][1] for one in ask("query", query='up{job="gatepost"}')["result"]]


def hurry(folder: Path) -> None:
    """Let Prometheus of compose run with the rules as they are, but for `for`: a sixth of it."""

    def shorter(found: re.Match[str]) -> str:
        return f"for: {int(found[1]) * SECONDS[found[2]] // FASTER}s"

    rules = folder / "alerts.yml"
    rules.write_text(re.sub(r"\bfor: (\d+)([mh])\b", shorter, RULES.read_text()))
    mounts = {"volumes": [f"{rules}:/etc/prometheus/alerts.yml:ro"]}
    instead = json.dumps({"services": {"prometheus": mounts}})
    compose = ("docker", "compose", "-f", "compose.yaml", "-f", "-")
    run(*compose, "up", "--detach", "--no-deps", "--wait", "prometheus", told=instead)
    assert becomes_true(lambda: ask("rules")["groups"][0]["rules"][0]["duration"] == 120 // FASTER)
    assert becomes_true(lambda: instances_up() == ["1", "1", "1"])
    assert becomes_true(lambda: not in_state("firing"))


def becomes_true(condition: Callable[[], bool], seconds: float = 90) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except (httpx2.HTTPError, AssertionError):
            pass
        time.sleep(0.5)
    return False


def in_state(state: str) -> set[str]:
    alerts = ask("alerts")["alerts"]
    return {one["labels"]["alertname"] for one in alerts if one["state"] == state}


def alerts_between(began: float, ended: float) -> list[Told]:
    """Tell each change of each alert: pending, firing, and no longer so."""
    time.sleep(2 * STEP)
    asked = "max by (alertname, alertstate) (ALERTS)"
    found = ask("query_range", query=asked, start=began, end=ended, step=STEP)["result"]
    told = []
    for series in found:
        alert, state = series["metric"]["alertname"], series["metric"]["alertstate"]
        seen = {round(float(at) - began) for at, _ in series["values"]}
        told += [Told(at, alert, state) for at in seen if at - STEP not in seen]
        ends = (at + STEP for at in seen if at + STEP not in seen)
        told += [Told(at, alert, f"no longer {state}") for at in ends if at <= ended - began]
    return sorted(told)
