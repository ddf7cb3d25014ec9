"""Child processes that end when the process that started them is gone, SIGKILL included."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LOST_PARENT = 1

# The pipe ends without a byte only when the process at the other end is gone.
_WATCH = """
import os, sys
if not sys.stdin.buffer.read(1):
    try:
        with open(sys.argv[2]) as file:
            if file.readline().strip() == sys.argv[1]:
                os.kill(int(sys.argv[1]), int(sys.argv[3]))
    except OSError:
        pass
"""


def tied_to_us(number: signal.Signals) -> Callable[[], None] | None:
    """Return a `preexec_fn` that has the kernel send a signal when the calling thread ends.

    It is the thread that counts: call from the main one. None where the kernel cannot do it.
    """
    if sys.platform != "linux":
        return None
    # Loaded before the fork: a child must not take locks that another thread may have held.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        # The parent may have gone before the request was made; then no signal ever comes.
        if os.getppid() != parent:
            os._exit(_LOST_PARENT)

    return tie


class Watcher:
    """A process that outlives us and then ends a server, where the kernel does not do it."""

    def __init__(self, pid: int, pid_file: Path, number: signal.Signals) -> None:
        """Watch for a server that is named in the first line of its pid file."""
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", "-c", _WATCH, str(pid), str(pid_file), str(int(number))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        self._process.communicate(b"q")
