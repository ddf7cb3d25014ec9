"""The wheel, built once, and empty environments to install it into (`make test-package`)."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))


@dataclass(frozen=True)
class Environment:
    """An environment of its own, in which nothing is found but what was installed."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run Python isolated from this checkout; returns what it printed."""
        done = subprocess.run(
            [self.python, "-I", *arguments],
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *requirements: str) -> None:
        """Install at the versions of the lock, so that only we can break the test."""
        lock = str(ROOT / "requirements-dev.lock")
        command = [UV, "pip", "install", "--quiet", "--python", self.python, "-c", lock]
        subprocess.run([*command, *requirements], check=True)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [UV, "build", "--quiet", "--wheel", "--no-build-isolation"]
    command += ["--python", sys.executable, "--out-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def environment(wheel: Path, tmp_path: Path) -> Callable[..., Environment]:
    """Make an environment with the wheel and some of its extras."""

    def make(*extras: str) -> Environment:
        made = Environment(tmp_path / "venv")
        subprocess.run(
            [UV, "venv", "--quiet", "--python", sys.executable, made.folder], check=True
        )
        wanted = f"[{','.join(extras)}]" if extras else ""
        made.install(f"gatepost{wanted} @ {wheel.as_uri()}")
        return made

    return make
