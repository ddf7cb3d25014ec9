"""Temporary folders that the next one who needs such a folder clears away after a kill."""

import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HeldFolder:
    """A folder with a name that nobody can guess, for as long as this process lives."""

    path: Path
    _lock: int = field(repr=False)
    _maker: int = field(default_factory=os.getpid, repr=False)

    @classmethod
    def make(cls, prefix: str, parent: str) -> "HeldFolder":
        """Make one, and remove those of the same prefix whose process ended without doing so."""
        for left in Path(parent).glob(f"{prefix}*"):
            if (lock := _locked(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)
        while True:
            path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            # Between the two lines another process may take it for one that was left.
            if (lock := _locked(path)) is not None:
                return cls(path, lock)

    def remove(self) -> None:
        """Remove it; does nothing in a process that was forked since."""
        if os.getpid() == self._maker:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)


def _locked(folder: Path) -> int | None:
    """Lock a folder that nobody holds; the lock ends with its process, however that ends.

    A process id in the name would not do: containers that share a folder have the same ones.
    """
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), folder.stat()):
            return lock
    except OSError:
        pass
    os.close(lock)
    return None
