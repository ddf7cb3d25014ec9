"""The files of one server: made once, checked at every start."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .binaries import Binaries, environment
from .errors import EmbeddedPostgresError
from .lifeline import tied_to_us
from .owners import Owner

USER = DATABASE = "gatepost"
# Resolved by the kernel without a walk through the folders above: they may be closed to the
# server's account, longer than PostgreSQL's limit of 1,023 bytes, or oddly named.
_HERE = Path("/proc/self/cwd")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in a data folder. All but the cluster belongs to whoever starts."""

    folder: Path

    @property
    def cluster(self) -> Path:
        return self.folder / "cluster"

    @property
    def unfinished(self) -> Path:
        return self.folder / "cluster.new"

    @property
    def password(self) -> Path:
        return self.folder / "password"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def url(self, socket_folder: str) -> str:
        password = quote(self.password.read_text().strip(), safe="")
        return f"postgresql://{USER}:{password}@/{DATABASE}?host={quote(socket_folder)}"


def data_argument(cluster: Path) -> str:
    """Return how a program that is started in the cluster's folder finds it."""
    return str(_HERE if _HERE.exists() else cluster)


def prepare(layout: Layout, binaries: Binaries, owner: Owner, *, throwaway: bool) -> None:
    """Make the cluster if there is none; refuse one of another major version."""
    if layout.cluster.exists():
        _refuse_other_major(layout.cluster, binaries)
        return
    shutil.rmtree(layout.unfinished, ignore_errors=True)
    layout.unfinished.mkdir(mode=0o700)
    owner.take(layout.unfinished)
    _initialise(layout, binaries, owner, throwaway=throwaway)
    layout.unfinished.rename(layout.cluster)


def _refuse_other_major(cluster: Path, binaries: Binaries) -> None:
    try:
        major = (cluster / "PG_VERSION").read_text().strip()
    except OSError:
        major = "none"
    if major != str(binaries.major):
        raise EmbeddedPostgresError(
            f"{cluster} is of PostgreSQL {major}, not {binaries.major}: take the accounts along"
            " (users export with the old release, users import with the new) to a new folder."
        )


def _initialise(layout: Layout, binaries: Binaries, owner: Owner, *, throwaway: bool) -> None:
    password = secrets.token_urlsafe(24)
    layout.password.unlink(missing_ok=True)
    layout.password.touch(mode=0o600)
    layout.password.write_text(password)
    handle, name = tempfile.mkstemp(prefix="gatepost-", dir=short_folder())
    try:
        with os.fdopen(handle, "w") as file:
            file.write(password)
        owner.take(Path(name))
        _initdb(layout.unfinished, binaries, owner, Path(name), throwaway=throwaway)
    finally:
        Path(name).unlink()
    _create_database(layout.unfinished, binaries, owner)


def short_folder() -> str:
    """Return a folder for sockets (limit: 107 bytes) that every account may enter."""
    shared = "/tmp"  # noqa: S108 (names in it are unguessable, and made with mode 0700)
    return shared if os.access(shared, os.W_OK | os.X_OK) else tempfile.gettempdir()


def _initdb(
    cluster: Path, binaries: Binaries, owner: Owner, password: Path, *, throwaway: bool
) -> None:
    arguments = [
        f"--pgdata={data_argument(cluster)}",
        f"--username={USER}",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--no-instructions",
        # The first segment of the log is written in full: 1 MB instead of 16.
        *(["--no-sync", "--wal-segsize=1"] if throwaway else []),
    ]
    for locale in _locales(binaries):
        command = [binaries.program("initdb"), *arguments, *locale]
        done = _run(command, cluster, owner)
        if done.returncode == 0:
            return
    raise EmbeddedPostgresError(f"initdb failed: {last_words(done.stderr)}")


def _locales(binaries: Binaries) -> Iterator[list[str]]:
    """Yield what sorts by code point and knows Unicode, best first."""
    if binaries.major >= 17:
        yield ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return
    yield ["--locale=C.UTF-8"]
    yield ["--locale=C"]


def _create_database(cluster: Path, binaries: Binaries, owner: Owner) -> None:
    command = [binaries.program("postgres"), "--single", "-D", data_argument(cluster)]
    done = _run([*command, "postgres"], cluster, owner, f"CREATE DATABASE {DATABASE}\n")
    if done.returncode != 0 or "ERROR:" in done.stderr:
        raise EmbeddedPostgresError(f"No database could be made: {last_words(done.stderr)}")


def _run(
    command: list[str], cluster: Path, owner: Owner, text: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        command,
        cwd=cluster,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        preexec_fn=tied_to_us(signal.SIGTERM),
        **owner.run_as,
    )


def last_words(output: str) -> str:
    """Pick the line of a program's output that says why it gave up."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [line for line in lines if "FATAL:" in line or "ERROR:" in line or "error:" in line]
    return (fatal or lines or ["it said nothing"])[-1]
