import os
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gatepost.adapters.memory import MemoryMetrics, MemoryRateLimiter
from gatepost.domain.errors import Unavailable
from gatepost.domain.limits import LimitPolicy, Rate, Rule
from gatepost.entrypoints.rate_limits import (
    LimiterHealth,
    LoggedLimitEvents,
    choose_limiter,
    limit_policy,
    redis_limiter,
)
from gatepost.entrypoints.settings import SettingsError, load
from gatepost.testing.builders import a_clock

BUDGET = LimitPolicy().budget(Rule.LOGIN)


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GATEPOST_") or name == "REDIS_URL":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_of_settings_and_policy_are_the_same() -> None:
    assert limit_policy(load()) == LimitPolicy()


def test_each_setting_changes_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    for rule in set(Rule) - {Rule.DEVICE}:
        monkeypatch.setenv(f"GATEPOST_LIMITS__{rule.name}", "7/9m")
        assert limit_policy(load()).rates[rule] == Rate.parse("7/9m")
    assert limit_policy(load()).rates[Rule.DEVICE].count == 7
    monkeypatch.setenv("GATEPOST_LIMITS__ENABLED", "false")
    assert not limit_policy(load()).enabled


def test_a_limit_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEPOST_LIMITS__USER", "many")
    with pytest.raises(SettingsError, match=r"GATEPOST_LIMITS__USER: .*a limit such as 10/1h"):
        load()


def test_without_a_url_there_is_no_redis() -> None:
    assert redis_limiter(load()) is None


def test_redis_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1")
    monkeypatch.setitem(sys.modules, "gatepost.adapters.redis", None)
    with pytest.raises(SettingsError, match="REDIS_URL: needs the extra"):
        redis_limiter(load())


def test_a_url_that_is_none_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    monkeypatch.setenv("REDIS_URL", "http://secret@127.0.0.1")
    with pytest.raises(SettingsError, match="REDIS_URL: redis://") as refused:
        redis_limiter(load())
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("REDIS_URL", "redis://:secret@127.0.0.1/1")
    assert redis_limiter(load()) is not None


async def test_postgresql_counts_alone_or_while_redis_is_down() -> None:
    postgres, redis = MemoryRateLimiter(a_clock()), MemoryRateLimiter(a_clock())
    events, metrics = LoggedLimitEvents(), MemoryMetrics()
    await choose_limiter(postgres, None, events, metrics).spend(b"x", BUDGET)
    assert (await postgres.peek(b"x", BUDGET)).remaining == 9
    both = choose_limiter(postgres, redis, events, metrics)
    await both.spend(b"x", BUDGET)
    assert (await redis.peek(b"x", BUDGET)).remaining == 9
    redis.is_down = True
    with capture_logs() as logs:
        assert (await both.spend(b"x", BUDGET)).remaining == 8
    assert [entry["event"] for entry in logs] == ["rate limiter lost, PostgreSQL counts"]
    assert metrics.counts == {("store_lost",): 1}


async def test_the_health_is_that_of_the_store() -> None:
    store = MemoryRateLimiter(a_clock())
    health = LimiterHealth(store)
    await health()
    store.is_down = True
    with pytest.raises(Unavailable):
        await health()


def test_a_lost_store_is_logged_once_a_second() -> None:
    moments = iter([0.0, 0.5, 0.9, 1.0, 1.1, 1.2, 5.0])
    events = LoggedLimitEvents(lambda: next(moments))
    with capture_logs() as logs:
        events.limited(Rule.LOGIN)
        events.uncounted(Rule.LOGIN, refused=True)
        events.uncounted(Rule.LOGIN, refused=True)
        events.uncounted(Rule.USER, refused=False)
        events.uncounted(Rule.LOGIN, refused=True)
        events.store_lost()
        events.store_lost()
        events.store_lost()
    assert [(entry["event"], entry.get("outcome")) for entry in logs] == [
        ("rate limited", None),
        ("rate limit not counted", "refused"),
        ("rate limit not counted", "let pass"),
        ("rate limit not counted", "refused"),
        ("rate limiter lost, PostgreSQL counts", None),
        ("rate limiter lost, PostgreSQL counts", None),
    ]
