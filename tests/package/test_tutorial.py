"""The embedding tutorial, followed word by word in an empty folder."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.package.conftest import ROOT
from tests.service import free_port

TUTORIAL = ROOT / "docs" / "tutorials" / "embedding.md"
PROGRAM = ROOT / "examples" / "embedded" / "main.py"
START = ".venv/bin/uvicorn main:app\n"


def blocks(language: str) -> list[str]:
    fenced = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return fenced.findall(TUTORIAL.read_text())


def shell(commands: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def started(command: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command.split(), cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        await_start(process, folder / "log")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        # A shell would call an end by SIGINT 130; uvicorn raises the signal again.
        assert process.wait(60) in (0, -signal.SIGINT), (folder / "log").read_text()


def await_start(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while "Uvicorn running" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_the_tutorial_shows_the_example_which_is_short() -> None:
    assert blocks("python") == [PROGRAM.read_text()]
    assert len(PROGRAM.read_text().splitlines()) < 30


def test_who_follows_the_tutorial_signs_up_and_uses_a_route_of_his_own(
    wheel: Path, tmp_path: Path
) -> None:
    environment = {n: value for n, value in os.environ.items() if not n.startswith("GATEPOST_")}
    environment.pop("DATABASE_URL", None)
    # Two words differ: the port, which others may use here, and which release.
    port = str(free_port())
    create, start, *use, check = (block.replace("8000", port) for block in blocks("sh"))
    assert start == START
    shell(create.replace("gatepost[", f"{wheel}["), tmp_path, environment)
    shop = tmp_path / "shop"
    (shop / "main.py").write_text(PROGRAM.read_text().replace("8000", port))
    with started(f"{START} --port {port}", shop, environment):
        said = [shell(commands, shop, environment) for commands in use]
    assert '"Registration successful"' in said[0]
    assert said[-1] == '{"customer":"ada","orders":"none yet"}'
    assert "no issues found" in shell(check, shop, environment)
    assert not (shop / ".gatepost" / "postgres" / "postmaster.pid").exists()
