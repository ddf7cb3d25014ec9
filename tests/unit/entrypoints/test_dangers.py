"""Rules about dangerous settings: each speaks when it should, and only then."""

import os
from pathlib import Path

import pytest

from gatepost.entrypoints.dangers import DANGERS, Severity, dangers_in
from gatepost.entrypoints.deployment import Deployment
from gatepost.entrypoints.setting_groups import Environment
from gatepost.entrypoints.settings import SECRET_NAMES, load, secret_files

KEY = "Kx4n0c3gX2m0Jw9bUuT1T0mB1qv7Zc3b9S8o6yH2d5E="
SAFE = {
    "GATEPOST_ENVIRONMENT": "production",
    "GATEPOST_DATA_DIR": "/var/lib/gatepost",
    "GATEPOST_PUBLIC_URL": "https://id.acme.test",
    "GATEPOST_SECRETS__KEYS_FILE": "keys",
    "GATEPOST_HTTP__TRUSTED_PROXIES": "10.1.2.0/24, 173.245.48.0/20, 2606:4700::/32, fd00:1::/64",
    "GATEPOST_HTTP__CORS_ORIGINS": "https://app.acme.test",
    "GATEPOST_MAIL__URL": "smtps://id:hunter22@mail.acme.test",
    "GATEPOST_MAIL__SENDER": "Acme <id@acme.test>",
    "GATEPOST_PASSWORD__CONCURRENCY": "1",
    "DATABASE_URL": "postgresql://id:hunter22@db.acme.test/id?sslmode=verify-full",
    "REDIS_URL": "rediss://:hunter22@cache.acme.test",
}
# What each change brings, beside what is there anyway.
CHANGES: tuple[tuple[str, str, set[str]], ...] = (
    ("GATEPOST_LIMITS__ENABLED", "false", {"limits_off"}),
    ("GATEPOST_LIMITS__LOGIN", "101/1h", {"guesses_many"}),
    ("GATEPOST_LIMITS__LOGIN", "100/1h", set()),
    ("GATEPOST_LIMITS__LOGIN", "10/1s", {"guesses_many"}),
    ("GATEPOST_LIMITS__LOGIN", "10/1m", set()),
    ("GATEPOST_HTTP__TRUSTED_PROXIES", "", {"no_trusted_proxy"}),
    ("GATEPOST_HTTP__TRUSTED_PROXIES", "0.0.0.0/0", {"proxies_everybody"}),
    ("GATEPOST_HTTP__TRUSTED_PROXIES", "0.0.0.0/1,128.0.0.0/1", {"proxies_everybody"}),
    ("GATEPOST_HTTP__TRUSTED_PROXIES", "::/0", {"proxies_everybody"}),
    ("GATEPOST_HTTP__TRUSTED_PROXIES", "10.0.0.0/8", {"proxies_wide"}),
    ("GATEPOST_HTTP__TRUSTED_PROXIES", "fc00::/7", {"proxies_wide"}),
    ("GATEPOST_HTTP__CORS_ORIGINS", "http://app.acme.test", {"cors_plain_http"}),
    ("GATEPOST_HTTP__CORS_ORIGINS", "http://localhost:3000", {"cors_localhost"}),
    ("GATEPOST_HTTP__CORS_ORIGINS", "http://[::1]:3000", {"cors_localhost"}),
    ("GATEPOST_HTTP__DOCS", "true", {"docs_on"}),
    ("GATEPOST_HTTP__SHUTDOWN_DELAY", "1s", {"shutdown_at_once"}),
    ("GATEPOST_OAUTH__PASSWORD_GRANT", "true", {"password_grant_on"}),
    ("GATEPOST_MAIL__URL", "console:", {"mail_to_console"}),
    ("GATEPOST_MAIL__URL", "file:///var/mail", {"mail_to_files"}),
    ("GATEPOST_MAIL__URL", "smtp://mail.acme.test", {"mail_plain"}),
    ("GATEPOST_MAIL__URL", "smtp://127.0.0.1:25", set()),
    ("GATEPOST_MAIL__SENDER", "Gatepost <no-reply@example.com>", {"mail_sender_example"}),
    ("GATEPOST_PUBLIC_URL", "https://127.0.0.1:8443", {"public_url_local"}),
    ("GATEPOST_PUBLIC_URL", "https://localhost", {"public_url_local"}),
    ("GATEPOST_TOKENS__ACCESS_TTL", "1h", set()),
    ("GATEPOST_TOKENS__ACCESS_TTL", "2h", {"access_tokens_long"}),
    ("GATEPOST_SESSIONS__ABSOLUTE_TTL", "730d", {"sessions_long"}),
    ("GATEPOST_ACCOUNTS__REQUIRE_VERIFIED_EMAIL", "false", {"addresses_unproven"}),
    ("DATABASE_URL", "postgresql://db.acme.test/id?sslmode=disable", {"database_plain"}),
    ("DATABASE_URL", "postgresql://db.acme.test/id", set()),
    ("DATABASE_URL", "postgresql://localhost/id?sslmode=disable", set()),
    ("DATABASE_URL", "postgresql:///id?host=/run/postgresql", set()),
    ("REDIS_URL", "redis://cache.acme.test:6379", {"redis_open"}),
    ("REDIS_URL", "redis://127.0.0.1:6379", set()),
    ("REDIS_URL", "unix:///run/valkey.sock", set()),
    ("GATEPOST_DATA_DIR", "data", {"exports_wander"}),
    ("GATEPOST_PASSWORD__CONCURRENCY", "1024", {"hashes_too_many"}),
    ("GATEPOST_PASSWORD__PARALLELISM", "4", {"hash_lanes"}),
    ("LOG_LEVEL", "DEBUG", {"log_debug"}),
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("GATEPOST_") or name in (*SECRET_NAMES, "PORT", "LOG_LEVEL"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("keys").write_text(KEY)
    Path("keys").chmod(0o400)


def codes(**changes: str) -> set[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (SAFE | changes).items():
            patch.setenv(name, value)
        return {danger.code for danger in dangers_in(Deployment(load(), secret_files()))}


def test_each_dangerous_setting_is_told_and_nothing_else() -> None:
    assert codes() == set()
    reached = {"development_in_public", "keys_in_environment", "secret_file_open"}
    for name, value, expected in CHANGES:
        assert codes(**{name: value}) == expected, (name, value)
        reached |= expected
    assert {danger.code for danger in DANGERS} == reached


def test_master_keys_belong_into_a_file_that_only_the_service_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("keys").chmod(0o444)
    assert codes() == {"secret_file_open"}
    Path("keys").chmod(0o440)
    assert codes() == set()
    monkeypatch.setitem(SAFE, "GATEPOST_SECRETS__KEYS", KEY)
    monkeypatch.delitem(SAFE, "GATEPOST_SECRETS__KEYS_FILE")
    assert codes() == {"keys_in_environment"}


def test_a_file_that_is_gone_since_endangers_nobody() -> None:
    settings = load()
    assert list(dangers_in(Deployment(settings, {"DATABASE_URL": Path("gone")}))) == []


def test_a_laptop_may_do_what_production_may_not() -> None:
    laptop = {"GATEPOST_ENVIRONMENT": "development", "GATEPOST_LIMITS__ENABLED": "false"}
    assert codes(**laptop, GATEPOST_PUBLIC_URL="http://localhost:8000") == set()
    assert codes(**laptop) == {"development_in_public"}


def test_closed_registration_needs_no_proof_of_addresses() -> None:
    name = "GATEPOST_ACCOUNTS__REQUIRE_VERIFIED_EMAIL"
    assert codes(**{name: "false", "GATEPOST_ACCOUNTS__REGISTRATION": "closed"}) == set()


def test_every_rule_has_a_code_of_its_own_a_reason_and_a_way_out() -> None:
    assert len({danger.code for danger in DANGERS}) == len(DANGERS)
    for danger in DANGERS:
        assert danger.reason.endswith(".")
        assert danger.instead
    assert {danger.environment for danger in DANGERS} == set(Environment)


def test_the_worst_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (SAFE | {"LOG_LEVEL": "DEBUG", "GATEPOST_LIMITS__ENABLED": "0"}).items():
        monkeypatch.setenv(name, value)
    told = [danger.severity for danger in dangers_in(Deployment(load(), secret_files()))]
    assert told == sorted(told)
    assert set(told) == set(Severity)
