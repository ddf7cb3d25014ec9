import subprocess
import sys
from pathlib import Path

from gatepost.adapters.held_folders import HeldFolder

KILLED = """
import os, signal, sys
from gatepost.adapters.held_folders import HeldFolder
held = HeldFolder.make("held-", sys.argv[1])
(held.path / "left").touch()
os.kill(os.getpid(), signal.SIGKILL)
"""
FORKED = """
import os, sys
from gatepost.adapters.held_folders import HeldFolder
held = HeldFolder.make("held-", sys.argv[1])
if (child := os.fork()) == 0:
    held.remove()
    os._exit(0)
os.waitpid(child, 0)
print(held.path.exists())
held.remove()
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_a_killed_process_left_goes_with_the_next_and_what_is_held_stays(
    tmp_path: Path,
) -> None:
    first = HeldFolder.make("held-", str(tmp_path))
    (tmp_path / "held-not-a-folder").touch()
    (tmp_path / "held-elsewhere").symlink_to(tmp_path)
    (tmp_path / "other-one").mkdir()
    before = names(tmp_path)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert len(names(tmp_path) - before) == 1
    second = HeldFolder.make("held-", str(tmp_path))
    assert names(tmp_path) == before | {second.path.name}
    assert second.path.stat().st_mode & 0o077 == 0
    for held in (first, second):
        held.remove()
    assert names(tmp_path) == before - {first.path.name}


def test_a_forked_process_leaves_it_to_its_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b"True\n"
    assert names(tmp_path) == set()
