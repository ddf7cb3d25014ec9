"""Pages of the documentation whose code is run as a project of its reader."""

import re
import subprocess
import sys
from pathlib import Path

# Such a project has none of our other plugins.
_ALONE = [part for name in ("schemathesis", "xdist") for part in ("-p", f"no:{name}")]


def write_blocks(page: Path, folder: Path) -> list[str]:
    """Write each block of code that begins with the name of a file, and list the names."""
    pattern = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    blocks = pattern.findall(page.read_text(encoding="utf-8"))
    for name, code in blocks:
        (folder / name).write_text(code, encoding="utf-8")
    return [name for name, _ in blocks]


def run_pytest(folder: Path, *options: str) -> str:
    """Run the tests in a folder, with warnings as errors; returns what pytest says."""
    command = [sys.executable, "-m", "pytest", "-W", "error", *_ALONE, *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
