"""The supervisor as a real process with real children, told apart by what they write."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.children import IMPORTING, becomes_true, is_gone

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs parent-death signals")

# Runs the named children; is ready once each has written its pid, and then says so.
SUPERVISOR = """
import pathlib, sys
from gatepost.entrypoints.processes import Child, supervise
folder, timeout = pathlib.Path(sys.argv[1]), float(sys.argv[2])
names = sys.argv[3:]
children = [
    Child(name, [sys.executable, str(folder / f"{name}.py")], {"PID_FILE": str(folder / name)})
    for name in names
]
sys.exit(supervise(
    children,
    ready=lambda: all((folder / name).exists() for name in names),
    on_ready=lambda: print("ready", flush=True),
    stop_timeout=timeout,
))
"""

ORDERLY = """
import os, pathlib, signal, sys
def stop(number, frame):
    pathlib.Path(os.environ["PID_FILE"] + ".stopped").open("a").write(f"{number}\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
file = pathlib.Path(os.environ["PID_FILE"])
file.with_suffix(".new").write_text(str(os.getpid()))
file.with_suffix(".new").rename(file)
while True:
    signal.pause()
"""

STUBBORN = ORDERLY.replace("sys.exit(0)", "return")

# A child of its own, in the same process group, that would be left behind.
WITH_OFFSPRING = (
    """
import os, pathlib, subprocess, sys
own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(os.environ["PID_FILE"] + ".offspring").write_text(str(own.pid))
"""
    + ORDERLY
)

BROKEN = "raise SystemExit(3)"


@contextmanager
def supervising(
    folder: Path, *, timeout: float = 10.0, **children: str
) -> Iterator[subprocess.Popen[str]]:
    for name, text in children.items():
        (folder / f"{name}.py").write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder), str(timeout), *children],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | IMPORTING,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def said_ready(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "ready\n"


def pid_of(file: Path) -> int:
    return int(file.read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_every_child_in_order_with_one_sigterm(
    tmp_path: Path, number: signal.Signals
) -> None:
    with supervising(tmp_path, server=ORDERLY, worker=ORDERLY) as process:
        assert said_ready(process)
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""
    for name in ("server", "worker"):
        assert is_gone(pid_of(tmp_path / name))
        assert (tmp_path / f"{name}.stopped").read_text() == f"{int(signal.SIGTERM)}\n"


def test_ctrl_c_in_a_terminal_reaches_children_once(tmp_path: Path) -> None:
    with supervising(tmp_path, server=ORDERLY) as process:
        assert said_ready(process)
        # What a terminal does: the signal goes to the whole foreground group.
        os.killpg(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=10) == 0
    assert (tmp_path / "server.stopped").read_text() == f"{int(signal.SIGTERM)}\n"


def test_a_child_that_does_not_end_is_killed_after_a_while(tmp_path: Path) -> None:
    with supervising(tmp_path, timeout=0.5, server=STUBBORN, worker=ORDERLY) as process:
        assert said_ready(process)
        process.terminate()
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert "server did not end within 0.5 s" in process.stderr.read()
    assert is_gone(pid_of(tmp_path / "server"))
    assert (tmp_path / "worker.stopped").exists()


def test_a_child_that_dies_is_started_again_and_what_it_left_is_cleared_away(
    tmp_path: Path,
) -> None:
    with supervising(tmp_path, server=WITH_OFFSPRING, worker=ORDERLY) as process:
        assert said_ready(process)
        first, worker = pid_of(tmp_path / "server"), pid_of(tmp_path / "worker")
        offspring = pid_of(tmp_path / "server.offspring")
        os.kill(first, signal.SIGKILL)
        assert becomes_true(lambda: pid_of(tmp_path / "server") != first)
        assert becomes_true(lambda: is_gone(offspring))
        assert pid_of(tmp_path / "worker") == worker
        process.terminate()
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert "server ended (SIGKILL), starts again in 0.5 s" in process.stderr.read()
    assert is_gone(pid_of(tmp_path / "server"))


def test_a_child_that_dies_before_all_are_ready_ends_everything(tmp_path: Path) -> None:
    with supervising(tmp_path, server=ORDERLY, worker=BROKEN) as process:
        assert process.wait(timeout=10) == 1
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == ""
        assert "worker ended before it was ready (exit code 3)" in process.stderr.read()
    if (tmp_path / "server").exists():
        assert is_gone(pid_of(tmp_path / "server"))


def test_a_signal_before_all_are_ready_is_an_orderly_end(tmp_path: Path) -> None:
    with supervising(tmp_path, server=ORDERLY, worker="import time; time.sleep(60)") as process:
        assert becomes_true((tmp_path / "server").exists)
        process.terminate()
        assert process.wait(timeout=10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""
    assert is_gone(pid_of(tmp_path / "server"))


@on_linux
def test_children_end_in_order_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with supervising(tmp_path, server=ORDERLY, worker=ORDERLY) as process:
        assert said_ready(process)
        process.kill()
        children = [pid_of(tmp_path / name) for name in ("server", "worker")]
        assert becomes_true(lambda: all(map(is_gone, children)))
        for file in (tmp_path / "server", tmp_path / "worker"):
            assert file.with_suffix(".stopped").exists()
