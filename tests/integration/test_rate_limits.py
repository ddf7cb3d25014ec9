"""Rate limits of a running service: real processes, one count."""

from pathlib import Path

import httpx2
import pytest

from tests.service import Service, running


def guesses(service: Service, number: int) -> list[httpx2.Response]:
    """Guess at one login, each time on a new connection and from elsewhere, as it says."""
    body = {"login": "nobody", "password": "not the right phrase"}
    return [
        httpx2.post(
            f"{service.url}/v1/sessions",
            json=body,
            headers={"X-Forwarded-For": f"192.0.2.{each}", "Forwarded": f"for=192.0.2.{each}"},
            timeout=30,
        )
        for each in range(number)
    ]


def expect_ten_and_no_more(answers: list[httpx2.Response]) -> None:
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * (len(answers) - 10)
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert 0 < int(refused.headers["retry-after"]) <= 30
    assert '"login";q=10;w=300' in refused.headers["ratelimit-policy"]
    assert '"login";r=0;t=' in refused.headers["ratelimit"]


def test_rl_01_rl_09_processes_count_together_whatever_address_is_forged(
    tmp_path: Path, own_url: str
) -> None:
    settings = {
        "DATABASE_URL": own_url,
        "GATEPOST_LIMITS__ENABLED": "true",
        "GATEPOST_HTTP__WORKERS": "2",
    }
    with running(tmp_path / "two", **settings) as service:
        expect_ten_and_no_more(guesses(service, 14))
        probed = httpx2.get(f"{service.url}/health", timeout=30)
        assert "ratelimit" not in probed.headers


def test_while_redis_is_down_postgresql_counts(tmp_path: Path, own_url: str) -> None:
    pytest.importorskip("redis")
    settings = {
        "DATABASE_URL": own_url,
        "GATEPOST_LIMITS__ENABLED": "true",
        "REDIS_URL": "redis://127.0.0.1:9",
    }
    with running(tmp_path / "fallback", **settings) as service:
        expect_ten_and_no_more(guesses(service, 12))
        health = httpx2.get(f"{service.url}/health", timeout=30)
        assert health.json()["checks"]["rate_limiter"]["status"] == "unhealthy"
        assert health.status_code == 200
        assert "rate limiter lost, PostgreSQL counts" in service.log()
