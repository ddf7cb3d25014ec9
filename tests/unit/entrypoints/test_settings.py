"""Settings: clear about what is wrong, silent about values."""

import os
import stat
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from gatepost.adapters.mail.server import SmtpServer
from gatepost.adapters.postgres.dsn import without_pool_mode
from gatepost.entrypoints.master_keys import master_keys
from gatepost.entrypoints.settings import (
    SECRET_NAMES,
    Environment,
    SettingsError,
    known_names,
    load,
    secret_files,
)

KEY = "Kx4n0c3gX2m0Jw9bUuT1T0mB1qv7Zc3b9S8o6yH2d5E="
OTHER_NAMES = ("DATABASE_URL", "DATABASE_DIRECT_URL", "REDIS_URL", "PORT", "LOG_LEVEL", "CHANNEL")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("GATEPOST_") or name in OTHER_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def problems() -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load()
    return refused.value.problems


def test_the_defaults_are_those_of_a_laptop() -> None:
    settings = load()
    assert settings.issuer == settings.frontend_url == "http://127.0.0.1:8000"
    assert settings.database_url is None
    assert settings.serves_docs
    assert settings.password_grant
    assert settings.shutdown_delay == timedelta(0)
    assert settings.tokens.access_ttl == timedelta(minutes=15)


def test_every_kind_of_value_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9001")
    monkeypatch.setenv("GATEPOST_SESSIONS__IDLE_TTL", "12h")
    monkeypatch.setenv("GATEPOST_HTTP__TRUSTED_PROXIES", "10.0.0.0/8, ::1/128")
    monkeypatch.setenv("GATEPOST_HTTP__CORS_ORIGINS", "https://app.example.com")
    monkeypatch.setenv("GATEPOST_LIMITS__REGISTER", "5/1m")
    settings = load()
    assert settings.issuer == "http://127.0.0.1:9001"
    assert settings.sessions.idle_ttl == timedelta(hours=12)
    assert settings.http.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert settings.http.cors_origins == ("https://app.example.com",)
    assert settings.limits.registrations == "5/1m"


def test_a_dotenv_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PORT=9001\nGATEPOST_SERVICE__NAME=Acme\n")
    monkeypatch.setenv("PORT", "9002")
    settings = load()
    assert (settings.port, settings.service.name) == (9002, "Acme")


def test_re_20_all_problems_are_told_at_once_by_name_and_without_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEPOST_PASWORD__QUEUE", "7")
    monkeypatch.setenv("GATEPOST_PASSWORD__QUEUE", "seven-of-nine")
    monkeypatch.setenv("GATEPOST_TOKENS__ACCESS_TTL", "soon")
    Path(".env").write_text("GATEPOST_NONSENSE=1\n")
    found = problems()
    named = {problem.partition(":")[0] for problem in found}
    assert named == {
        "GATEPOST_PASWORD__QUEUE",
        "GATEPOST_PASSWORD__QUEUE",
        "GATEPOST_TOKENS__ACCESS_TTL",
        "GATEPOST_NONSENSE",
    }
    assert "seven-of-nine" not in str(found)


def test_re_20_production_demands_secrets_https_and_a_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEPOST_ENVIRONMENT", "production")
    monkeypatch.setenv("GATEPOST_PASSWORD__MEMORY_KIB", "1024")
    monkeypatch.setenv("GATEPOST_PASSWORD__TIME_COST", "1")
    monkeypatch.setenv("GATEPOST_FRONTEND__URL", "http://app.example.com")
    named = {problem.partition(":")[0] for problem in problems()}
    assert named == {
        "DATABASE_URL",
        "GATEPOST_SECRETS__KEYS",
        "GATEPOST_PUBLIC_URL",
        "GATEPOST_FRONTEND__URL",
        "GATEPOST_PASSWORD__MEMORY_KIB",
        "GATEPOST_PASSWORD__TIME_COST",
    }


def test_production_starts_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEPOST_ENVIRONMENT", "production")
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example.com/gatepost")
    monkeypatch.setenv("GATEPOST_SECRETS__KEYS", KEY)
    monkeypatch.setenv("GATEPOST_PUBLIC_URL", "https://id.example.com/")
    settings = load()
    assert settings.issuer == "https://id.example.com"
    assert not settings.serves_docs
    assert not settings.password_grant
    assert settings.shutdown_delay == timedelta(seconds=5)
    monkeypatch.setenv("GATEPOST_OAUTH__PASSWORD_GRANT", "true")
    assert load().password_grant


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEY + "\n")
    monkeypatch.setenv("GATEPOST_SECRETS__KEYS_FILE", str(tmp_path / "keys"))
    keys = load().secrets.keys
    assert keys is not None
    assert keys.get_secret_value() == KEY


def test_a_secret_given_twice_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql:///x")
    monkeypatch.setenv("DATABASE_URL", "postgresql:///y")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    assert problems() == ["DATABASE_URL: given twice, also as DATABASE_URL_FILE"]


def test_a_secret_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "/nowhere/at/all")
    assert problems() == ["DATABASE_URL_FILE: cannot be read"]


def test_no_setting_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter22@db/x")
    monkeypatch.setenv("GATEPOST_SECRETS__KEYS", KEY)
    assert "hunter22" not in repr(load())
    assert KEY not in repr(load())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEPOST_PUBLIC_URL", "ftp://x"),
        ("GATEPOST_HTTP__CORS_ORIGINS", "https://a.example.com/path"),
        ("GATEPOST_HTTP__CORS_ORIGINS", "*"),
        ("GATEPOST_HTTP__TRUSTED_PROXIES", "everybody"),
        ("GATEPOST_LIMITS__LOGIN", "many"),
        ("GATEPOST_SESSIONS__REFRESH_GRACE", "11s"),
        ("LOG_LEVEL", "LOUD"),
        ("GATEPOST_TOKENS__ALGORITHM", "none"),
        ("GATEPOST_TOKENS__ACCESS_TTL", "0s"),
        ("GATEPOST_TOKENS__ACCESS_TTL", "999999999d"),
        ("GATEPOST_TOKENS__AUDIENCE", ""),
        ("GATEPOST_SESSIONS__IDLE_TTL", "0s"),
        ("GATEPOST_SESSIONS__IDLE_TTL", "91d"),
        ("GATEPOST_HTTP__SHUTDOWN_DELAY", "11s"),
        ("GATEPOST_HTTP__HOST", ""),
        ("GATEPOST_HTTP", "x"),
        ("GATEPOST_SECRETS", "x"),
        ("GATEPOST_SERVICE__NAME", "  "),
        ("GATEPOST_PUBLIC_URL", "https://user:password@id.example.com"),
        ("GATEPOST_PUBLIC_URL", "https://id.example.com:port"),
        ("GATEPOST_DATA_DIR", ""),
        ("GATEPOST_PASSWORD__MEMORY_KIB", "99999999999999999999"),
        ("GATEPOST_PASSWORD__TIME_COST", "99999999999999999999"),
        ("GATEPOST_MAIL__SENDER", "nonsense"),
        ("GATEPOST_MAIL__SENDER", "G <a@example.com>\r\nBcc: x@example.com"),
        ("GATEPOST_MAIL__URL", "pigeon://loft"),
        ("GATEPOST_MAIL__URL", "file://host/folder"),
        ("GATEPOST_MAIL__URL", "file:folder"),
        ("GATEPOST_MAIL__URL", "smtps://user@mail.example.com"),
        ("GATEPOST_MAIL__TEMPLATES", " "),
        ("GATEPOST_EXPORTS__URL", "https://bucket.example.com"),
        ("GATEPOST_EXPORTS__URL", "s3://hunter22@bucket"),
        ("GATEPOST_EXPORTS__URL", "s3://bucket/?key=hunter22"),
        ("GATEPOST_EXPORTS__REGION", "eu-central-1"),
        ("GATEPOST_JOBS__RELAY_URL", "sqs://user:hunter22@host"),
        ("GATEPOST_JOBS__RELAY_URL", "redis://host:port"),
        ("GATEPOST_JOBS__RELAY_URL", "amqp://user:hunter22@host"),
        ("GATEPOST_SECRETS__KEYS", "short"),
        ("DATABASE_URL", "mysql://db/gatepost"),
        ("DATABASE_URL", "postgresql://db:port/gatepost"),
        ("DATABASE_URL", "postgresql://db/gatepost?sslmode=perhaps"),
        ("DATABASE_DIRECT_URL", "postgresql://db/gatepost"),
        ("REDIS_URL", "http://cache"),
        ("CHANNEL", "elsewhere"),
    ],
)
def test_an_unusable_value_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert [problem.partition(":")[0] for problem in problems()] == [name]


def test_memory_must_do_for_every_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEPOST_PASSWORD__MEMORY_KIB", "31")
    monkeypatch.setenv("GATEPOST_PASSWORD__PARALLELISM", "4")
    assert problems() == ["GATEPOST_PASSWORD__MEMORY_KIB: at least 8 for each of PARALLELISM"]


def test_what_does_not_go_together_is_told_with_what_is_wrong_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_bytes(b"GATEPOST_SERVICE__NAME=caf\xe9\n")
    monkeypatch.setenv("GATEPOST_ENVIRONMENT", "production")
    monkeypatch.setenv("DATABASE_URL", "mysql://u:hunter22@db/x")
    monkeypatch.setenv("GATEPOST_HTTP", "x")
    monkeypatch.setenv("GATEPOST_HTTP__CORS_ORIGINS", "*, https://hunter22@x")
    monkeypatch.setenv("GATEPOST_HTTP__TRUSTED_PROXIES", "hunter22")
    monkeypatch.setenv("GATEPOST_TOKENS__ACCESS_TTL", "0s")
    found = problems()
    assert [problem.partition(":")[0] for problem in found] == [
        ".env",
        "GATEPOST_HTTP",
        "DATABASE_URL",
        "GATEPOST_HTTP__TRUSTED_PROXIES",
        "GATEPOST_HTTP__CORS_ORIGINS",
        "GATEPOST_TOKENS__ACCESS_TTL",
        "GATEPOST_SECRETS__KEYS",
        "GATEPOST_PUBLIC_URL",
    ]
    assert "hunter22" not in str(found)


def test_the_default_idle_time_does_not_forbid_shorter_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEPOST_SESSIONS__ABSOLUTE_TTL", "1h")
    assert load().sessions.absolute_ttl == timedelta(hours=1)


@pytest.mark.parametrize("way", ["environment", "dotenv", "file", "file in dotenv"])
def test_an_empty_secret_is_no_wish_for_the_default(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    Path("empty").write_text("\n")
    for name in SECRET_NAMES:
        setting, value = (f"{name}_FILE", "empty") if "file" in way else (name, " ")
        with monkeypatch.context() as only:
            if "dotenv" in way:
                Path(".env").write_text(f"{setting}='{value}'\n")
            else:
                only.setenv(setting, value)
            assert problems() == [f"{name}: empty"]


def test_a_secret_file_may_be_named_in_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("url").write_text("postgresql://db/one\n")
    Path(".env").write_text("DATABASE_URL_FILE=url\n")
    assert load().pooled_url == "postgresql://db/one"
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/two")
    assert load().pooled_url == "postgresql://db/two"
    monkeypatch.delenv("DATABASE_URL")
    Path(".env").write_text("DATABASE_URL_FILE=url\nDATABASE_URL=postgresql://db/one\n")
    assert problems() == ["DATABASE_URL: given twice, also as DATABASE_URL_FILE"]


def test_a_direct_url_says_that_a_pooler_is_behind_the_other() -> None:
    def url(given: str) -> str:
        return load(database_url=given, database_direct_url="postgresql://direct/db").pooled_url

    assert url("postgresql://pooler/db") == "postgresql://pooler/db?pool_mode=transaction"
    noted = url("postgresql://pooler/db?sslmode=require")
    assert noted == "postgresql://pooler/db?sslmode=require&pool_mode=transaction"
    assert without_pool_mode(noted) == ("postgresql://pooler/db?sslmode=require", True)
    assert without_pool_mode("postgresql://direct/db") == ("postgresql://direct/db", False)
    assert load(database_url="postgresql://db/one").pooled_url == "postgresql://db/one"


def test_where_each_secret_was_read_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert secret_files() == {}
    Path("url").write_text("postgresql://db/one\n")
    Path(".env").write_text("DATABASE_URL_FILE=url\nREDIS_URL=redis://cache\nPORT=9001\n")
    assert secret_files() == {"DATABASE_URL": Path("url"), "REDIS_URL": Path(".env")}
    monkeypatch.setenv("REDIS_URL", "redis://other")
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/two")
    assert secret_files() == {}


def test_a_group_that_is_given_in_part_keeps_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEPOST_HTTP__WORKERS", "3")
    settings = load(http={"host": "::1"})
    assert (settings.http.host, settings.http.workers) == ("::1", 3)


def test_production_never_makes_keys(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path).model_copy(update={"environment": Environment.PRODUCTION})
    with pytest.raises(SettingsError, match="GATEPOST_SECRETS__KEYS: needed in production"):
        master_keys(settings)
    assert list(tmp_path.iterdir()) == []


def test_every_setting_has_a_description_and_a_name_of_its_own() -> None:
    names = [name for name, _ in known_names()]
    assert len(names) == len(set(names))
    assert {"DATABASE_URL", "PORT", "GATEPOST_LIMITS__REGISTER", "GATEPOST_MAIL__URL"} <= {*names}


def test_development_keys_are_made_once_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path / "data")
    first = master_keys(settings).derive("label", 16)
    again = master_keys(settings).derive("label", 16)
    assert first == again
    mode = (tmp_path / "data" / "master-keys").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["master-keys"]


@pytest.mark.parametrize("text", ["short", "AAAA", f"{KEY},{KEY}", "A" * 43 + "="])
def test_re_20_a_weak_master_key_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("GATEPOST_SECRETS__KEYS", text)
    with pytest.raises(SettingsError) as refused:
        master_keys(load())
    assert refused.value.problems[0].startswith("GATEPOST_SECRETS__KEYS: ")
    assert text not in str(refused.value)


def test_a_management_port_is_there_in_production_or_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load().management_port is None
    monkeypatch.setenv("GATEPOST_HTTP__MANAGEMENT_PORT", "9100")
    assert load().management_port == 9100
    for wrong in ("0", "65536", "8000"):
        monkeypatch.setenv("GATEPOST_HTTP__MANAGEMENT_PORT", wrong)
        assert [problem.partition(":")[0] for problem in problems()] == [
            "GATEPOST_HTTP__MANAGEMENT_PORT"
        ]
    monkeypatch.delenv("GATEPOST_HTTP__MANAGEMENT_PORT")
    production = load().model_copy(update={"environment": Environment.PRODUCTION})
    assert production.management_port == 9000


def test_mail_goes_to_a_server_a_folder_or_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().mail_target == load().data_dir / "mail"
    monkeypatch.setenv("GATEPOST_MAIL__URL", "file:///var/mails")
    assert load().mail_target == Path("/var/mails")
    monkeypatch.setenv("GATEPOST_MAIL__URL", "console:")
    assert load().mail_target is None
    monkeypatch.setenv("GATEPOST_MAIL__URL", "smtps://user:hunter22@mail.example.com")
    assert isinstance(load().mail_target, SmtpServer)
    assert "hunter22" not in repr(load()) + repr(load().mail_target)


def test_re_20_in_production_a_mail_password_is_not_sent_in_the_clear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "GATEPOST_MAIL__URL"
    monkeypatch.setenv("GATEPOST_ENVIRONMENT", "production")
    for url, refused in {
        "smtp://u:hunter22@mail.example.com": True,
        "smtp://mail.example.com": False,
        "smtps://u:hunter22@mail.example.com": False,
        "smtp+starttls://u:hunter22@mail.example.com": False,
    }.items():
        monkeypatch.setenv(name, url)
        with pytest.raises(SettingsError) as told:
            load()
        assert (name in str(told.value)) is refused, url
        assert "hunter22" not in str(told.value)


def test_what_belongs_to_a_bucket_goes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "GATEPOST_EXPORTS__"
    monkeypatch.setenv(f"{name}URL", "s3://bucket/prefix")
    monkeypatch.setenv(f"{name}ENDPOINT", "http://127.0.0.1:9000")
    monkeypatch.setenv(f"{name}ACCESS_KEY_ID", "id")
    assert problems() == [f"{name}SECRET_ACCESS_KEY: goes together with {name}ACCESS_KEY_ID"]
    monkeypatch.setenv(f"{name}SECRET_ACCESS_KEY", "hunter22")
    exports = load().exports
    assert "hunter22" not in repr(exports)
    assert exports.of_bucket == {
        "access_key_id": "id",
        "secret_access_key": "hunter22",
        "endpoint": "http://127.0.0.1:9000",
    }
    monkeypatch.setenv(f"{name}DIR", "exports")
    assert problems() == [f"{name}DIR: not beside {name}URL"]
    monkeypatch.delenv(f"{name}DIR")
    monkeypatch.setenv(f"{name}URL", "gs://bucket")
    needed = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "ENDPOINT")
    assert problems() == [f"{name}{one}: needs an s3:// {name}URL" for one in needed]
