"""Accounts in bulk, as an operator moves them: whole files, real hashes, and a killed process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.children import becomes_true
from tests.integration.test_cli import Cli

ROWS = 3000
LINES = Path(__file__).parents[1] / "unit" / "adapters" / "data" / "foreign_hashes.txt"


@pytest.fixture
def cli(tmp_path: Path, own_url: str) -> Cli:
    return Cli(tmp_path, own_url)


def some_rows() -> Iterator[dict[str, object]]:
    hashes = [line.split(": ", 1)[1] for line in LINES.read_text().splitlines()]
    for number in range(ROWS):
        yield {
            "username": f"user{number}",
            "email": f"user{number}@example.com",
            "email_verified": True,
            "password_hash": hashes[number % len(hashes)],
        }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "accounts.jsonl"
    made.write_text("".join(json.dumps(row) + "\n" for row in some_rows()))
    return made


def test_a_killed_import_is_run_again_and_ends_as_if_nothing_had_happened(
    cli: Cli, file: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    arguments = ("users", "import", str(file), "--report", str(report))
    log = (tmp_path / "killed.log").open("w")
    killed = subprocess.Popen(
        [sys.executable, "-m", "gatepost", *arguments],
        env=cli.environment,
        cwd=tmp_path,
        stdout=log,
        stderr=log,
    )
    log.close()
    assert becomes_true(lambda: report.exists() and report.stat().st_size > 0, 60)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    told = [line for line in report.read_text().splitlines() if line.endswith("}")]
    assert 0 < len(told) < ROWS
    again = cli.json("users", "import", str(file))
    assert again["rows"] == ROWS
    unchanged = again["unchanged"]
    assert isinstance(unchanged, int)
    # A batch may have been committed and not yet told.
    assert len(told) <= unchanged < ROWS
    assert again["created"] == ROWS - unchanged
    assert cli.json("users", "import", str(file))["unchanged"] == ROWS


def test_an_export_is_its_owners_alone_and_gives_the_same_accounts_elsewhere(
    cli: Cli, file: Path, tmp_path: Path
) -> None:
    assert cli("users", "import", str(file)).returncode == 0
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    exported = cli("users", "export", str(before), "--output", "json")
    assert json.loads(exported.stdout) == {"exported": ROWS}
    assert "holds password hashes" in exported.stderr
    assert oct(before.stat().st_mode & 0o777) == "0o600"
    assert not list(tmp_path.glob("*.part"))
    refused = cli("users", "export", str(before))
    assert (refused.returncode, "exists" in refused.stderr) == (2, True)
    assert cli.json("users", "import", str(before))["unchanged"] == ROWS
    assert cli("users", "export", str(after), "--force").returncode == 0
    assert after.read_text() == before.read_text()
    device = tmp_path / "device"
    os.mkfifo(device)
    for target in (device, tmp_path):
        assert cli("users", "export", str(target), "--force").returncode == 2
    assert device.is_fifo()
    nowhere = cli("users", "export", str(tmp_path / "none" / "x.jsonl"))
    assert nowhere.returncode == 1
    assert "gatepost: file_not_written: No such file or directory" in nowhere.stderr
    assert "Traceback" not in nowhere.stderr
    bare = cli("users", "export", "-", "--without-passwords")
    rows = [json.loads(line) for line in bare.stdout.splitlines()]
    assert len(rows) == ROWS
    assert {row["password_hash"] for row in rows} == {None}
    assert "holds password hashes" not in bare.stderr


def test_refused_rows_are_told_by_line_and_the_others_come_in(cli: Cli, tmp_path: Path) -> None:
    file, report = tmp_path / "mixed.jsonl", tmp_path / "report.jsonl"
    ada = '{"username": "ada", "email": "ada@example.com"}'
    weak = '{"username": "bob", "email": "bob@example.com", "password_hash": "md5$a$b"}'
    huge = '{"username": "' + "x" * 200_000 + '"}'
    last = '{"username": "carla", "email": "carla@example.com"}'
    file.write_text("\n".join([ada, "", "{", weak, huge, ada.replace("@", "2@"), last]))
    dry = cli("users", "import", str(file), "--dry-run", "--output", "json")
    assert json.loads(dry.stdout)["created"] == 2
    assert cli("users", "list").stdout == ""
    done = cli("users", "import", str(file), "--report", str(report), "--output", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "rows": 6,
        "created": 2,
        "unchanged": 0,
        "conflict": 1,
        "invalid": 3,
    }
    rows = {row["line"]: row for row in map(json.loads, report.read_text().splitlines())}
    assert sorted(rows) == [1, 3, 4, 5, 6, 7]
    assert [rows[line]["result"] for line in (1, 7)] == ["created", "created"]
    assert [rows[line]["errors"][0]["code"] for line in (3, 4, 5, 6)] == [
        *("invalid_json", "weak_hash", "too_long", "username_taken"),
    ]
    assert "line 4: invalid: password_hash: weak_hash" in done.stderr
    assert "md5$a$b" not in done.stderr
    assert " rows in " in done.stderr
    assert cli("users", "import", str(file), "--from-line", "7").returncode == 0
    odd = tmp_path / "odd.jsonl"
    odd.write_text(last.replace("carla", "dora").replace("}", ', "\\ud800": 1}'))
    told = cli("users", "import", str(odd), "--report", str(report))
    assert (told.returncode, "Traceback" in told.stderr) == (1, False)
    assert json.loads(report.read_text().splitlines()[-1])["errors"][0]["field"] == "?"
    assert cli("users", "import", str(tmp_path / "none")).returncode == 2
    assert cli("users", "import", str(file), "--report", str(tmp_path)).returncode == 2
