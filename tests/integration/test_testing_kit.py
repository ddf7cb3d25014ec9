"""The pytest plugin, in projects of its users."""

import re
import subprocess
import sys
from pathlib import Path

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorials" / "testing.md"
_STRANGER = """
import sys

def test_nothing_of_the_service_is_loaded():
    assert "pytest_gatepost" in sys.modules
    assert not [name for name in sys.modules if name.partition(".")[0] in ("gatepost", "fastapi")]
"""


def write(folder: Path, page: str) -> list[str]:
    """Write each block of code that begins with the name of a file."""
    blocks = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name, code in blocks:
        (folder / name).write_text(code)
    return [name for name, _ in blocks]


# A stranger has none of our other plugins.
_ALONE = [part for name in ("schemathesis", "asyncio", "xdist") for part in ("-p", f"no:{name}")]


def run(folder: Path) -> str:
    """Run pytest as a stranger's project would, with warnings as errors."""
    command = [sys.executable, "-m", "pytest", "-W", "error", *_ALONE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_the_tutorial_shows_passes(tmp_path: Path) -> None:
    names = write(tmp_path, TUTORIAL.read_text())
    assert names == ["orders.py", "test_orders.py", "test_welcome.py"]
    assert "5 passed" in run(tmp_path)


def test_who_does_not_use_the_fixture_loads_nothing_of_the_service(tmp_path: Path) -> None:
    (tmp_path / "test_stranger.py").write_text(_STRANGER)
    assert "1 passed" in run(tmp_path)
