"""What a server says about itself in its pid file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PROCESSES = Path("/proc")


@dataclass(frozen=True, slots=True)
class Postmaster:
    pid: int
    socket_folder: str
    ready: bool

    @staticmethod
    def file(cluster: Path) -> Path:
        return cluster / "postmaster.pid"

    @classmethod
    def read(cls, cluster: Path) -> Self | None:
        """Return what the file says, which is a claim: its writer may have been killed."""
        try:
            lines = cls.file(cluster).read_text().splitlines()
            pid = int(lines[0])
        except (OSError, ValueError, IndexError):
            return None
        # While it starts, the file is still short.
        lines += [""] * (8 - len(lines))
        return cls(pid, lines[4], lines[7].strip() == "ready")

    def alive(self, cluster: Path) -> bool:
        """Tell whether the process is there and, as far as can be seen, serves this cluster."""
        if not (_PROCESSES / "self").exists():
            return _exists(self.pid)
        process = _PROCESSES / str(self.pid)
        try:
            return os.path.samefile(process / "cwd", cluster)
        except PermissionError:
            # Root in a container may not look into another account's process.
            return _same_owner(process, cluster)
        except OSError:
            return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _same_owner(process: Path, cluster: Path) -> bool:
    try:
        return process.stat().st_uid == cluster.stat().st_uid
    except OSError:
        return False
