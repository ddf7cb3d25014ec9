"""Servers replaced and the database restarted under load: what failed, and what alerts said."""

import asyncio
import sys
import time
from collections import Counter
from itertools import cycle

import httpx2
import pytest

from tests.dashboards.queries import alerts as rules
from tests.image.stack import URL, compose, run, signed_in, trusting
from tests.image.watch import Told, alerts_between, becomes_true, hurry, in_state

CLIENTS = 8
# Most of them without a limit: 600 a minute may be asked of a user's own routes.
PATHS = ["/v1/users/me"] + ["/.well-known/jwks.json"] * 19
Answers = Counter[int | str]


class Report:
    """What happened when, and how requests were answered in the meantime."""

    def __init__(self) -> None:
        self.began = time.time()
        self.lines: list[tuple[float, str]] = []
        self.phases: dict[str, Answers] = {}

    def say(self, line: str) -> None:
        self.lines.append((time.time() - self.began, line))

    def begin(self, phase: str) -> None:
        self.say(phase)
        self.phases[phase] = Counter()

    @property
    def answers(self) -> Answers:
        return self.phases[list(self.phases)[-1]]

    def write(self, alerts: list[Told]) -> None:
        lines = self.lines + [(one.at, f"    {one.alert} {one.state}") for one in alerts]
        told = "".join(f"{at:6.0f} s  {line}\n" for at, line in sorted(lines))
        counts = "".join(
            f"{phase}: {', '.join(f'{number} x {code}' for code, number in answers.items())}\n"
            for phase, answers in self.phases.items()
        )
        sys.stdout.write(f"\n{told}\n{counts}")


@pytest.fixture(scope="module")
def hurried(stack: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    hurry(tmp_path_factory.mktemp("rules"))


def test_re_09_replacing_the_servers_one_by_one_loses_no_request(
    client: httpx2.Client, hurried: None
) -> None:
    """And a restart of the database, with another server replaced, costs refusals alone."""
    bearer = {"Authorization": f"Bearer {signed_in(client, 'bea')['access_token']}"}
    report = Report()
    asyncio.run(_under_load(report, bearer))
    assert becomes_true(lambda: "GatepostDatabaseUnreachable" not in in_state("firing"))
    report.say("end")
    alerts = alerts_between(report.began, time.time())
    report.write(alerts)
    replaced, broken, afterwards = report.phases.values()
    assert replaced.total() > 500
    assert set(replaced) == set(afterwards) == {200}
    assert set(broken) <= {200, 503}
    assert 0 < broken[503] < broken[200]
    _assert_the_outage_alone_was_told(alerts, report)


def _assert_the_outage_alone_was_told(alerts: list[Told], report: Report) -> None:
    outage = next(at for at, line in report.lines if line.startswith("database"))
    # A busy machine has it pending before: servers saw their database too late, once.
    states = [one.state for one in alerts if one.alert == "GatepostDatabaseUnreachable"]
    assert states.index("pending") < states.index("firing") < states.index("no longer firing")
    critical = {rule["alert"] for rule in rules() if rule["labels"]["severity"] == "critical"}
    fired = [one for one in alerts if one.state == "firing" and one.alert in critical]
    assert all(one.at > outage for one in fired), "servers that are replaced wake nobody"
    of_the_outage = {"GatepostDatabaseUnreachable", "GatepostErrors", "GatepostConnectionsTaken"}
    assert {one.alert for one in fired} <= of_the_outage


async def _under_load(report: Report, bearer: dict[str, str]) -> None:
    over = asyncio.Event()
    async with httpx2.AsyncClient(base_url=URL, verify=trusting(), timeout=30) as http:

        async def ask() -> None:
            for path in cycle(PATHS):
                if over.is_set():
                    break
                answers = report.answers
                try:
                    answers[(await http.get(path, headers=bearer)).status_code] += 1
                except httpx2.HTTPError as failed:
                    answers[type(failed).__name__] += 1
                await asyncio.sleep(0.05)

        report.begin("servers replaced one by one")
        asking = [asyncio.create_task(ask()) for _ in range(CLIENTS)]
        for name in _servers():
            await asyncio.to_thread(_replace, name, report)
        # Those that began before count as before, and must have ended.
        await asyncio.sleep(2)
        report.begin("database restarted, and another server replaced")
        await asyncio.sleep(2)
        await asyncio.to_thread(_restart_database, report)
        report.begin("afterwards")
        await asyncio.sleep(5)
        over.set()
        await asyncio.gather(*asking)


def _servers() -> list[str]:
    return compose("ps", "--format", "{{.Name}}", "server").split()


def _replace(name: str, report: Report) -> None:
    """Stop a server and remove it; a new one of the present image takes its place."""
    run("docker", "stop", "-t", "40", name)
    run("docker", "rm", name)
    report.say(f"{name} removed")
    compose("up", "--detach", "--no-deps", "--no-recreate", "--wait", "server")
    report.say("new one healthy")


def _restart_database(report: Report) -> None:
    """Keep it down until that is told of: a restart of a second may pass between two scrapes."""
    compose("stop", "postgres")
    report.say("database is down")
    assert becomes_true(lambda: "GatepostDatabaseUnreachable" in in_state("firing"))
    compose("start", "postgres")
    report.say("database is up")
    _replace(_servers()[0], report)
    _until_ready()


def _until_ready() -> None:
    """Wait for both servers: whoever has a database answers every time."""
    with httpx2.Client(base_url=URL, verify=trusting(), timeout=30) as client:

        def ready() -> bool:
            return all(client.get("/readyz").status_code == 200 for _ in range(20))

        assert becomes_true(ready)


def test_a_server_that_hangs_is_told_of(hurried: None) -> None:
    report, name = Report(), _servers()[0]
    run("docker", "pause", name)
    report.say(f"{name} hangs")
    try:
        assert becomes_true(lambda: "GatepostDown" in in_state("firing"))
    finally:
        run("docker", "unpause", name)
    report.say("and goes on")
    assert becomes_true(lambda: "GatepostDown" not in in_state("firing"))
    alerts = alerts_between(report.began, time.time())
    report.write(alerts)
    states = [one.state for one in alerts if one.alert == "GatepostDown"]
    assert states.index("pending") < states.index("firing")
