"""What tests of real processes share."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gatepost

# For programs that run from anywhere, and find this package and what it stands on.
IMPORTING = {
    "PYTHONPATH": os.pathsep.join([str(Path(gatepost.__file__).parent.parent), *sys.path])
}


def becomes_true(condition: Callable[[], bool], seconds: float = 8.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_gone(pid: int) -> bool:
    """A process that only waits to be collected has ended, too."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True
    shown = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return not shown or shown.startswith("Z")
