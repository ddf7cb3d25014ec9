"""The command line, as programs and people call it."""

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from gatepost import __version__
from gatepost.__main__ import main
from gatepost.entrypoints.cli import daemons
from gatepost.entrypoints.run import _announce as announce
from gatepost.entrypoints.settings import Settings
from tests import leaks
from tests.children import IMPORTING
from tests.service import free_port

PASSWORD = "a quiet sea of numbers"


def exit_code() -> int:
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


class Cli:
    def __init__(self, folder: Path, url: str | None = None) -> None:
        """Without a URL the database is the one that runs on the folder."""
        self.folder = folder
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GATEPOST_") and name not in ("PORT", "DATABASE_URL")
        } | {
            "GATEPOST_DATA_DIR": str(folder / "data"),
            "GATEPOST_PASSWORD__MEMORY_KIB": "1024",
            "COLUMNS": "120",
        }
        if url is not None:
            self.environment["DATABASE_URL"] = url

    def __call__(
        self, *arguments: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Call what the program calls; a process of its own would take most of the time."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name in os.environ:
                patch.delenv(name)
            for name, value in (self.environment | environment).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["gatepost", *arguments])
            # A process that stays goes without some modules; this one does not.
            patch.setattr(daemons, "go_without", lambda: None)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            with redirect_stdout(out), redirect_stderr(err):
                code = exit_code()
        # The command configured the logs of its process, which is ours.
        leaks.collect_logs()
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    def json(self, *arguments: str, stdin: str = "") -> Mapping[str, object]:
        done = self(*arguments, "--output", "json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        parsed: Mapping[str, object] = json.loads(done.stdout)
        return parsed


@pytest.fixture
def cli(tmp_path: Path, own_url: str) -> Cli:
    return Cli(tmp_path, own_url)


def test_an_administrator_is_made_listed_and_shown(cli: Cli) -> None:
    made = cli.json(
        *("admin", "create", "--username", "root", "--email", "root@example.com"),
        "--password-stdin",
        stdin=PASSWORD + "\n",
    )
    assert made["roles"] == ["admin", "user"]
    assert made["email_verified"] is True
    assert cli.json("users", "show", "ROOT@example.com")["id"] == made["id"]
    listed = cli("users", "list")
    assert listed.returncode == 0
    assert "root@example.com" in listed.stdout


def test_a_machine_client_is_made_rotated_and_deleted(cli: Cli) -> None:
    made = cli.json(
        *("clients", "create", "--name", "robot"),
        *("--scope", "users:read", "--scope", "audit:read"),
    )
    client_id = str(made["client_id"])
    shown = {made["client_secret"]}
    for _ in range(2):
        rotated = cli.json("clients", "rotate", client_id)
        assert rotated["client_id"] == client_id
        shown.add(rotated["client_secret"])
    assert len(shown) == 3
    listed = cli("clients", "list", "--output", "json")
    (client,) = json.loads(listed.stdout)
    assert (client["name"], client["scopes"]) == ("robot", ["audit:read", "users:read"])
    assert len(client["secrets"]) == 2
    assert cli.json("clients", "delete", client_id) == {"deleted": client_id}
    gone = cli("clients", "rotate", client_id)
    assert (gone.returncode, gone.stderr[:21]) == (1, "gatepost: not_found: ")


def test_refusals_are_one_line_with_the_code_and_exit_with_1(cli: Cli) -> None:
    arguments = ("admin", "create", "--username", "x", "--email", "nowhere", "--password-stdin")
    refused = cli(*arguments, stdin="password1\n")
    assert refused.returncode == 1
    assert refused.stdout == ""
    line = refused.stderr.strip()
    assert "\n" not in line
    assert line.startswith("gatepost: validation_failed: ")
    assert "nowhere" not in line
    assert "password1" not in line
    missing = cli("users", "show", "nobody")
    assert (missing.returncode, missing.stderr[:21]) == (1, "gatepost: not_found: ")


def test_wrong_usage_exits_with_2(cli: Cli) -> None:
    assert cli("users", "list", "--limit", "0").returncode == 2
    assert cli("no-such-command").returncode == 2
    assert cli("admin", "create", "--username", "x", "--email", "x@example.com").returncode == 2


def test_migrate_brings_an_empty_database_up_and_check_tells(
    tmp_path: Path, empty_url: str
) -> None:
    cli = Cli(tmp_path, empty_url)
    behind = cli("migrate", "check")
    assert (behind.returncode, behind.stdout.strip()) == (1, "behind")
    assert cli("migrate", "up").returncode == 0
    assert cli.json("migrate", "check") == {"schema": "current"}
    assert cli("migrate", "up").returncode == 0


def test_re_20_config_check_tells_everything_that_is_wrong(cli: Cli) -> None:
    assert cli("config", "check").returncode == 0
    refused = cli(
        "config", "check", GATEPOST_ENVIRONMENT="production", GATEPOST_TYPO="1"
    ).stderr.splitlines()
    assert [line.split(": ")[2] for line in refused] == [
        "GATEPOST_TYPO",
        "GATEPOST_SECRETS__KEYS",
        "GATEPOST_PUBLIC_URL",
        "GATEPOST_PASSWORD__MEMORY_KIB",
    ]


def test_re_20_a_broken_mail_template_stops_the_start_and_is_named(cli: Cli) -> None:
    broken = cli.folder / "mails" / "de" / "welcome.txt"
    broken.parent.mkdir(parents=True)
    broken.write_text("Hallo {{ usrname }},\n{{ link }}\n")
    for command in (("config", "check"), ("serve", "--port", str(free_port())), ("worker",)):
        refused = cli(*command, GATEPOST_MAIL__TEMPLATES=str(broken.parent.parent))
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert line.startswith("gatepost: settings_invalid: GATEPOST_MAIL__TEMPLATES: ")
        assert f"{broken} is broken, line 1" in line
    broken.write_text("Hallo {{ username }},\n{{ link }}\n")
    assert cli("config", "check", GATEPOST_MAIL__TEMPLATES=str(broken.parent.parent)).stdout


@pytest.mark.parametrize("command", [("config", "check"), ("serve",), ("users", "list")])
def test_every_command_refuses_the_same_settings(cli: Cli, command: tuple[str, ...]) -> None:
    refused = cli(
        *command, CHANNEL="elsewhere", GATEPOST_HTTP="x", GATEPOST_SECRETS__KEYS="", PORT="none"
    )
    assert refused.returncode == 1
    assert [line.split(": ")[:3] for line in refused.stderr.splitlines()] == [
        ["gatepost", "settings_invalid", "GATEPOST_HTTP"],
        ["gatepost", "settings_invalid", "GATEPOST_SECRETS__KEYS"],
        ["gatepost", "settings_invalid", "CHANNEL"],
        ["gatepost", "settings_invalid", "PORT"],
    ]


def test_keys_that_open_nothing_of_this_database_are_named_in_one_line(cli: Cli) -> None:
    assert cli("users", "list").returncode == 0
    (cli.folder / "data" / "master-keys").unlink()
    for command in (("users", "list"), ("serve", "--port", str(free_port()))):
        refused = cli(*command)
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
        assert refused.stderr.startswith("gatepost: settings_invalid: GATEPOST_SECRETS__KEYS: ")
    # The way out where the master key is lost for good: `keys` opens none of them.
    (lost,) = keys_in(cli("keys", "list"))
    assert lost[0] in refused.stderr
    (fresh,) = keys_in(cli("keys", "revoke", lost[0]))
    assert fresh[0] != lost[0]
    assert cli("users", "list").returncode == 0


def keys_in(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """Read a printed table of keys: kid, algorithm, state, master key, times."""
    assert done.returncode == 0, done.stderr
    return [line.split("  ") for line in done.stdout.splitlines()]


def test_master_keys_that_are_damaged_stop_every_command_without_being_shown(cli: Cli) -> None:
    assert cli("users", "list").returncode == 0
    for damaged in (b"", b"\xff\x00secret", b"c2VjcmV0"):
        (cli.folder / "data" / "master-keys").write_bytes(damaged)
        refused = cli("users", "list")
        assert refused.returncode == 1
        assert refused.stderr.startswith("gatepost: settings_invalid: GATEPOST_SECRETS__KEYS: ")
        assert "secret" not in refused.stderr


def test_signing_keys_are_listed_rotated_and_revoked(cli: Cli) -> None:
    assert cli("keys", "list").stdout == ""
    ((active, *rest),) = keys_in(cli("keys", "rotate"))
    assert rest[:3] == ["ES256", "active", "first"]
    for _ in range(2):
        first, (pending, *announced) = keys_in(cli("keys", "rotate"))
        assert first[0] == active
        assert announced[:3] == ["ES256", "pending", "first"]
    listed = json.loads(cli("keys", "list", "--output", "json").stdout)
    assert [set(key) for key in listed] == [
        {
            *("kid", "algorithm", "state", "master_key"),
            *("created_at", "activates_at", "activated_at", "retires_at"),
        }
    ] * 2
    assert listed[1]["activates_at"] > listed[1]["created_at"]
    ((fresh, *_),) = keys_in(cli("keys", "revoke", active))
    assert fresh not in {active, pending}
    # Kids that begin with a hyphen are no options.
    for unknown in (active, "-kid", "--kid"):
        gone = cli("keys", "revoke", unknown)
        assert (gone.returncode, gone.stderr[:21]) == (1, "gatepost: not_found: ")
    assert cli("keys", "revoke").returncode == 2
    trail = json.loads(cli("audit", "list", "--type", "key.revoked", "--output", "json").stdout)
    assert {entry["reason"] for entry in trail} == {active, pending}


def test_config_show_never_prints_a_secret(cli: Cli) -> None:
    shown = cli("config", "show", DATABASE_URL="postgresql://u:hunter22@db.example.com/x")
    assert shown.returncode == 0
    assert "hunter22" not in shown.stdout
    assert "DATABASE_URL  (secret)" in shown.stdout


def test_config_schema_lists_every_setting_with_a_default_that_is_taken(cli: Cli) -> None:
    settings = json.loads(cli("config", "schema").stdout)["properties"]
    shown = [
        record["name"] for record in json.loads(cli("config", "show", "--output", "json").stdout)
    ]
    assert list(settings) == shown
    assert settings["GATEPOST_TOKENS__ALGORITHM"]["enum"] == ["ES256", "RS256", "EdDSA"]
    assert settings["DATABASE_URL"]["writeOnly"]
    defaults = {name: one["default"] for name, one in settings.items() if "default" in one}
    assert defaults["GATEPOST_TOKENS__ACCESS_TTL"] == "15m"
    checked = cli("config", "check", **defaults)
    assert (checked.returncode, checked.stderr) == (0, "")
    lines = cli("config", "schema", "--output", "text").stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == shown


def test_openapi_needs_no_database(cli: Cli) -> None:
    printed = cli("openapi", DATABASE_URL="postgresql://nowhere.invalid/x")
    assert printed.returncode == 0
    assert "/v1/sessions/refresh" in json.loads(printed.stdout)["paths"]


def test_the_release_is_printed_without_a_database(cli: Cli) -> None:
    printed = cli("--version", DATABASE_URL="postgresql://nowhere.invalid/x")
    assert (printed.returncode, printed.stdout) == (0, f"{__version__}\n")


def test_a_database_that_is_down_is_said_in_one_line(cli: Cli) -> None:
    refused = cli("users", "list", DATABASE_URL="postgresql://127.0.0.1:9/x")
    assert (refused.returncode, refused.stderr[:23]) == (1, "gatepost: unavailable: ")


def test_accounts_are_made_found_suspended_and_let_in_again(cli: Cli) -> None:
    person = ("--username", "ada", "--email", "ada@example.com")
    made = cli.json("users", "create", *person, "--locale", "de")
    assert (made["username"], made["email_verified"], made["roles"]) == ("ada", False, ["user"])
    other = ("--username", "root", "--email", "root@example.com", "--role", "admin")
    helper = cli.json("users", "create", *other, "--password-stdin", stdin=PASSWORD + "\n")
    assert helper["roles"] == ["admin", "user"]
    assert cli.json("users", "suspend", "ada")["status"] == "suspended"
    listed = cli("users", "list", "--status", "suspended", "--sort", "username", "--q", "AD")
    assert listed.stdout.split()[:3] == [made["id"], "ada", "ada@example.com"]
    assert cli.json("users", "reactivate", "ada@example.com")["status"] == "active"
    ended = {"id": made["id"], "sessions": "ended"}
    assert cli.json("sessions", "revoke", "ada") == ended
    assert cli.json("sessions", "revoke", "--all") == {"ended": 0}
    assert cli("sessions", "revoke").returncode == 2
    assert cli("sessions", "revoke", "ada", "--all").returncode == 2
    recovered = cli.json("users", "recover", "ada", "--email", "ada@example.org")
    assert (recovered["email"], recovered["email_verified"]) == ("ada@example.org", False)


def test_az_05_the_last_administrator_is_not_suspended(cli: Cli) -> None:
    person = ("--username", "root", "--email", "root@example.com", "--password-stdin")
    assert cli("admin", "create", *person, stdin=PASSWORD + "\n").returncode == 0
    refused = cli("users", "suspend", "root")
    assert (refused.returncode, refused.stderr[:22]) == (1, "gatepost: last_admin: ")


def test_the_audit_trail_is_listed_and_filtered(cli: Cli) -> None:
    arguments = ("admin", "create", "--username", "root", "--email", "root@example.com")
    made = cli.json(*arguments, "--password-stdin", stdin=PASSWORD + "\n")
    listed = cli("audit", "list", "--subject", str(made["id"]), "--output", "json")
    (entry,) = json.loads(listed.stdout)
    assert (entry["type"], entry["result"]) == ("account.created", "success")
    assert (entry["actor"], entry["user_agent"]) == (None, "gatepost-cli")
    kinds = cli("audit", "list", "--type", "key.created", "--since", "2020-01-01")
    assert "key.created" in kinds.stdout
    assert "account.created" not in kinds.stdout
    assert cli("audit", "list", "--until", "2020-01-01T00:00:00Z").stdout == ""
    assert cli("audit", "list", "--since", "yesterday").returncode == 2
    assert cli("audit", "list", "--type", "no.such").returncode == 2


def _given_up(url: str, *names: str) -> list[str]:
    """Store jobs that were given up two days ago, and one that waits; return the ids of those."""
    sql = """
    INSERT INTO pgqueuer (priority, status, entrypoint, payload, headers, attempts, updated)
    VALUES (0, $1, $2, '{"sealed": "5ec2e7"}', jsonb_build_object('job_id', $3::text), 24,
            now() - interval '2 days')
    """
    ids = [str(uuid4()) for _ in names]

    async def store() -> None:
        connection = await asyncpg.connect(url)
        for job_id, name in zip(ids, names, strict=True):
            await connection.execute(sql, "failed", name, job_id)
        await connection.execute(sql, "queued", "mail.send.v1", str(uuid4()))
        await connection.close()

    asyncio.run(store())
    return ids


def test_dead_jobs_are_listed_retried_and_purged(cli: Cli) -> None:
    url = cli.environment["DATABASE_URL"]
    mail, reset, other = _given_up(url, "mail.send.v1", "x.reset.v1", "mail.send.v1")
    listed = cli("jobs", "list", "--state", "dead", "--name", "mail.send.v1", "--output", "json")
    records = json.loads(listed.stdout)
    assert [record["id"] for record in records] == [mail, other]
    assert (records[0]["attempts"], records[0]["error"]) == (25, None)
    assert records[0].keys() == {
        *("id", "name", "state", "attempts", "error"),
        *("created_at", "due_at", "changed_at"),
    }
    assert "5ec2e7" not in cli("jobs", "list").stdout
    assert cli("jobs", "list").stdout.count("\n") == 4
    assert cli.json("jobs", "retry", mail) == {"retried": 1}
    gone = cli("jobs", "retry", mail)
    assert (gone.returncode, gone.stderr[:21]) == (1, "gatepost: not_found: ")
    kept = cli.json("jobs", "purge", "--older-than", "3d", "--yes")
    assert kept == {"purged": 0}
    purge = ("jobs", "purge", "--older-than", "1d", "--name", "x.reset.v1")
    assert cli.json(*purge, "--yes") == {"purged": 1}
    assert cli.json("jobs", "retry", "--all") == {"retried": 1}
    assert cli("jobs", "list", "--state", "dead").stdout == ""
    kinds = cli("audit", "list").stdout
    assert kinds.count("jobs.retried") == 2
    assert kinds.count("jobs.purged") == 1
    assert reset not in cli("jobs", "list").stdout


def test_nothing_is_done_to_jobs_without_saying_which(cli: Cli) -> None:
    for wrong in (
        ("retry",),
        ("retry", "--all", str(uuid4())),
        ("retry", "mail"),
        ("purge", "--yes"),
        ("purge", "--older-than", "soon", "--yes"),
        ("purge", "--older-than", "1d"),
        ("list", "--state", "lost"),
    ):
        assert cli("jobs", *wrong).returncode == 2, wrong


def test_a_webhook_endpoint_is_made_listed_and_refused_inside(cli: Cli) -> None:
    made = cli.json(
        "webhooks", "create", "--url", "https://1.1.1.1/in", "--contact", "a@b.example"
    )
    assert str(made["secret"]).startswith("whsec_")
    shown = cli.json("webhooks", "show", str(made["id"]))
    assert (shown["status"], shown["events"], shown["contact"]) == ("enabled", [], "a@b.example")
    listed = cli("webhooks", "list")
    assert f"{made['id']}  https://1.1.1.1/in" in listed.stdout
    assert str(made["secret"]) not in listed.stdout
    refused = cli("webhooks", "create", "--url", "https://169.254.169.254/", "--event", "no")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "forbidden_address" in refused.stderr
    assert "unknown_event" in refused.stderr
    assert cli("webhooks", "deliveries", str(made["id"])).stdout == ""


INTERRUPTED = """
import os, runpy, signal, sys

def interrupt(event, of):
    if event == "import" and of[0] == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(interrupt)
runpy.run_module("gatepost", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("name", ["serve", "worker", "run", "users"])
@pytest.mark.parametrize("moment", ["pydantic_settings", "sqlalchemy"])
def test_ctrl_c_during_a_start_ends_it_without_a_word(
    cli: Cli, name: str, moment: str, tmp_path: Path
) -> None:
    program = INTERRUPTED.replace("sys.argv[2]", repr(moment))
    command = [sys.executable, "-c", program, name, *(["list"] if name == "users" else [])]
    ended = subprocess.run(
        command, env=cli.environment | IMPORTING, cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("listening", [None, Gone()])
def test_a_service_whose_output_nobody_reads_is_announced_all_the_same(
    listening: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", listening)
    announce(Settings())


@pytest.mark.parametrize("text", ["0", "65536", "x", "-1", "9" * 5000])
def test_a_port_that_is_none_is_told_by_its_range_alone(cli: Cli, text: str) -> None:
    refused = cli("serve", "--port", text)
    assert refused.returncode == 2
    assert "--port: not a whole number from 1 to 65535" in refused.stderr
    assert "999" not in refused.stderr
