"""What `doctor` makes of what it saw."""

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import gatepost
from gatepost.adapters.postgres.survey import ServerFacts
from gatepost.application.hash_costs import Speed
from gatepost.application.ports.delivery import Backlog
from gatepost.domain.keys import KeyState, SigningKey
from gatepost.entrypoints.deployment import Deployment
from gatepost.entrypoints.doctor import Status, examine, look_at_settings, worst
from gatepost.entrypoints.doctor.database import (
    PROCESS_CONNECTIONS,
    WORKER_CONNECTIONS,
    judge_clock,
    judge_connections,
    judge_keys,
    judge_rights,
    judge_schema,
    judge_server,
    judge_worker,
)
from gatepost.entrypoints.doctor.findings import Finding, failed, ok, skipped, warning
from gatepost.entrypoints.doctor.hashing import Machine, judge_hashing, measured
from gatepost.entrypoints.doctor.outside import Seen, judge_outside
from gatepost.entrypoints.doctor.surroundings import look_at_exports
from gatepost.entrypoints.settings import Environment, Settings
from gatepost.testing.builders import NOW

OK, WARNING, FAILED, SKIPPED = Status.OK, Status.WARNING, Status.FAILED, Status.SKIPPED
FACTS = ServerFacts(
    version=170002,
    read_only=False,
    superuser=False,
    bounded=True,
    isolation="read committed",
    encrypted=True,
    address="192.0.2.1",
    connections=97,
    others=0,
    clock_ahead=0.0,
    round_trip=0.001,
    revision="0001",
    missing_rights=(),
    purge_overdue=0.0,
)
KEY = SigningKey(
    kid="one",
    algorithm="ES256",
    sealed_private_key=b"sealed",
    state=KeyState.ACTIVE,
    created_at=NOW,
)
VERSIONS = Path(gatepost.__file__).parent / "adapters/postgres/migrations/versions"
ROOMY = Machine(cores=8, memory=8 * 1024**3)


@pytest.fixture
def laptop(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def production(laptop: Settings) -> Settings:
    return laptop.model_copy(update={"environment": Environment.PRODUCTION})


def with_password(settings: Settings, **changes: Any) -> Settings:
    password = settings.password.model_copy(update=changes)
    return settings.model_copy(update={"password": password})


def test_the_sum_is_the_worst_and_what_was_not_looked_at_says_nothing() -> None:
    fine, careful, wrong = ok("a", "b"), warning("a", "b", "c"), failed("a", "b", "c")
    assert worst([]) is worst([fine, skipped("a", "b")]) is OK
    assert worst([fine, careful]) is WARNING
    assert worst([careful, wrong, fine]) is FAILED


def test_a_server_that_is_too_old_or_takes_no_writes_is_refused(
    laptop: Settings, production: Settings
) -> None:
    for settings, changes, expected in (
        (production, {}, OK),
        (production, {"version": 150000}, OK),
        (production, {"version": 149999}, FAILED),
        (production, {"read_only": True}, FAILED),
        (production, {"encrypted": False}, WARNING),
        (laptop, {"encrypted": False}, OK),
    ):
        (finding,) = judge_server(replace(FACTS, **changes), settings)
        assert finding.status is expected, changes


def test_a_pooler_behind_which_statements_have_no_limit_is_told(laptop: Settings) -> None:
    found = list(judge_server(replace(FACTS, bounded=False), laptop))
    assert [(one.check, one.status) for one in found] == [("database", OK), ("pooler", WARNING)]


def test_a_pooler_behind_which_transactions_are_not_read_committed_is_told(
    laptop: Settings,
) -> None:
    found = list(judge_server(replace(FACTS, isolation="repeatable read"), laptop))
    assert [(one.check, one.status) for one in found] == [("database", OK), ("pooler", WARNING)]
    assert "repeatable read" in found[1].says


def test_the_schema_is_that_of_this_release_before_it_or_after_it() -> None:
    revisions = sorted(path.name[:4] for path in VERSIONS.glob("[0-9]*.py"))
    *_, head = revisions
    assert judge_schema(replace(FACTS, revision=head)).status is OK
    for older in revisions[:-1]:
        assert judge_schema(replace(FACTS, revision=older)).status is FAILED
    assert judge_schema(replace(FACTS, revision=None)).status is FAILED
    assert judge_schema(replace(FACTS, revision="9999")).status is WARNING


def test_a_role_needs_its_rights_and_in_production_no_more(
    laptop: Settings, production: Settings
) -> None:
    assert judge_rights(FACTS, production).status is OK
    assert judge_rights(replace(FACTS, superuser=True), production).status is WARNING
    assert judge_rights(replace(FACTS, superuser=True), laptop).status is OK
    lacking = judge_rights(replace(FACTS, missing_rights=("accounts", "sessions")), laptop)
    assert lacking.status is FAILED
    assert "accounts, sessions" in lacking.says


def test_the_pools_of_all_processes_must_find_room(laptop: Settings) -> None:
    needed = PROCESS_CONNECTIONS + WORKER_CONNECTIONS
    for replicas, available, others, expected in (
        (1, needed, 0, OK),
        (1, needed, 1, WARNING),
        (1, needed - 1, 0, FAILED),
        (3, 3 * needed, 0, OK),
        (3, 3 * needed - 1, 0, FAILED),
    ):
        facts = replace(FACTS, connections=available, others=others)
        found = judge_connections(facts, laptop, replicas)
        assert (found.status, found.numbers["needed"]) == (expected, replicas * needed)


def test_clocks_may_differ_by_what_the_way_took() -> None:
    for ahead, round_trip, expected in (
        (0.5, 0.0, OK),
        (-0.9, 0.0, OK),
        (1.5, 0.0, WARNING),
        (1.5, 2.0, OK),
        (-5.0, 0.0, WARNING),
        (11.0, 0.0, FAILED),
        (-3600.0, 0.1, FAILED),
    ):
        facts = replace(FACTS, clock_ahead=ahead, round_trip=round_trip)
        assert judge_clock(facts).status is expected, ahead
    assert "ahead of" in judge_clock(replace(FACTS, clock_ahead=2.0)).says
    assert "behind" in judge_clock(replace(FACTS, clock_ahead=-2.0)).says


def test_signing_keys_must_open_and_one_must_sign() -> None:
    retired = KEY.retire(NOW, timedelta(minutes=15))
    for keys, opens, algorithm, expected in (
        ([], True, "ES256", OK),
        ([KEY, retired], True, "ES256", OK),
        ([KEY], False, "ES256", FAILED),
        ([retired], True, "ES256", FAILED),
        ([KEY], True, "EdDSA", WARNING),
    ):
        found = judge_keys(keys, lambda _: opens, algorithm)  # noqa: B023
        assert found.status is expected, (keys, opens)
    one_closed = judge_keys([KEY, retired], lambda key: key.state is KeyState.ACTIVE, "ES256")
    assert one_closed.says.startswith("1 of 2 ")
    later = judge_keys([KEY.activate(NOW + timedelta(days=2))], lambda _: True, "ES256")
    assert later.says.endswith(f"signs since {NOW + timedelta(days=2):%Y-%m-%d}")


def test_a_worker_is_missed_by_what_it_leaves_undone() -> None:
    for backlog, overdue, expected in (
        (Backlog(0, 0, 0.0), 0.0, OK),
        (Backlog(3, 0, 5.0), 0.0, OK),
        (Backlog(3, 0, 61.0), 0.0, FAILED),
        (Backlog(0, 0, 0.0), None, WARNING),
        (Backlog(0, 0, 0.0), 301.0, WARNING),
        (Backlog(0, 2, 0.0), 0.0, WARNING),
    ):
        assert judge_worker(backlog, overdue).status is expected, (backlog, overdue)


def test_what_answers_outside_must_be_this_service_alone(
    laptop: Settings, production: Settings
) -> None:
    issuer = laptop.issuer
    for settings, seen, expected in (
        (production, Seen(issuer, None, metrics_open=False), [OK]),
        (production, Seen(issuer, "https://app.acme.test", metrics_open=False), [OK]),
        (production, Seen(None, None, metrics_open=False), [FAILED]),
        (production, Seen(issuer, "*", metrics_open=True), [FAILED, FAILED]),
        (production, Seen(issuer, None, metrics_open=True), [FAILED]),
        (laptop, Seen(issuer, None, metrics_open=True), [OK]),
    ):
        assert [found.status for found in judge_outside(seen, settings)] == expected, seen


def hashing(settings: Settings, machine: Machine, speed: Speed | None) -> dict[str, Finding]:
    return {found.check: found for found in judge_hashing(settings, machine, speed)}


def test_a_measured_speed_is_told_as_sign_ins_memory_and_waiting(laptop: Settings) -> None:
    settings = with_password(laptop, concurrency=4, queue=64)
    found = hashing(settings, ROOMY, Speed(80.0, 0.05, 4))
    assert {finding.status for finding in found.values()} == {OK}
    assert "80.0 sign-ins a second" in found["hashing"].says
    assert found["hashing"].numbers == {
        "sign_ins_a_second": 80.0,
        "median_ms": 50.0,
        "at_once": 4,
        "full_queue_seconds": 0.8,
    }
    assert found["hash memory"].numbers == {"needed_mib": 76.0, "machine_mib": 8192}


def test_hashing_that_is_slow_or_waits_long_or_is_crowded_is_told(laptop: Settings) -> None:
    settings = with_password(laptop, concurrency=4, queue=64)
    fast = Speed(80.0, 0.05, 4)
    small = Machine(8, 100 * 1024**2)
    for machine, speed, check, expected in (
        (ROOMY, Speed(2.0, 1.5, 4), "hashing", WARNING),
        (ROOMY, Speed(10.0, 0.4, 4), "hashing", WARNING),
        (Machine(2, None), fast, "cores", WARNING),
        (Machine(8, None), fast, "hash memory", OK),
        (small, None, "hash memory", WARNING),
        (small, None, "hashing", SKIPPED),
        (Machine(8, 50 * 1024**2), None, "hash memory", FAILED),
    ):
        assert hashing(settings, machine, speed)[check].status is expected, (machine, speed)
    assert "cores" not in hashing(settings, ROOMY, fast)


async def test_nothing_is_measured_that_would_take_the_machine(laptop: Settings) -> None:
    assert await measured(laptop, Machine(cores=1, memory=1024)) is None


def test_the_limits_of_a_container_count(tmp_path: Path) -> None:
    whole = Machine.read(tmp_path)
    assert whole.cores >= 1
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text("67108864\n")
    assert Machine.read(tmp_path) == Machine(1, 67108864)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert Machine.read(tmp_path) == whole


async def test_a_laptop_without_a_database_is_examined_and_left_as_it_is(
    laptop: Settings, tmp_path: Path
) -> None:
    async def measure(settings: Settings, machine: Machine) -> Speed:
        return Speed(80.0, 0.05, 2)

    settings = laptop.model_copy(update={"port": 9, "public_url": "http://127.0.0.1:9"})
    findings = await examine(settings, {}, measure=measure)
    told = {finding.check: finding.status for finding in findings}
    assert worst(findings) is not FAILED
    assert told["database"] is told["worker"] is told["limits"] is told["outside"] is SKIPPED
    assert told["mail"] is told["exports"] is told["settings"] is told["hashing"] is OK
    assert os.listdir(tmp_path) == []
    broken = await examine(settings, {}, measure=measure, broken="made by another PostgreSQL")
    assert worst(broken) is FAILED


def test_dangers_fail_and_warnings_warn(production: Settings) -> None:
    found = look_at_settings(Deployment(production))
    told = {finding.says.partition(",")[0]: finding.status for finding in found}
    assert told["mail_to_files"] is FAILED
    assert told["no_trusted_proxy"] is WARNING


async def test_a_folder_that_nobody_may_write_is_told(laptop: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    exports = laptop.exports.model_copy(update={"dir": tmp_path / "file" / "exports"})
    (found,) = await look_at_exports(laptop.model_copy(update={"exports": exports}))
    assert found.status is FAILED
    (found,) = await look_at_exports(laptop)
    assert found.status is OK
