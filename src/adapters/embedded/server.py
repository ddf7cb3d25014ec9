"""The running server: one at a time on a data folder, gone when the one that started it is."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from ..held_folders import HeldFolder
from .binaries import Binaries, environment, find_binaries
from .cluster import Layout, data_argument, last_words, prepare, short_folder
from .errors import EmbeddedPostgresError, InUse
from .lifeline import Watcher, tied_to_us
from .owners import Owner, owner_of
from .postmaster import Postmaster

_POLL_SECONDS = 0.01
# Long enough to replay the log after a crash.
_READY_SECONDS = 60.0
_FAST_SECONDS = 10.0
_ORPHAN_SECONDS = 15.0
_PORT = 5432
_SOCKETS = "gatepost-socket-"
_CAREFREE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(slots=True)
class EmbeddedPostgres:
    """A running server; also a context manager that stops it."""

    url: str = field(repr=False)
    version: str
    pid: int
    _process: subprocess.Popen[bytes] = field(repr=False)
    _watcher: Watcher | None = field(repr=False)
    _socket_folder: HeldFolder = field(repr=False)
    _lock: int | None = field(repr=False)

    def stop(self) -> None:
        """End the server, cutting off its clients; the data stays. Twice does no harm."""
        if self._lock is None:
            return
        _end(self._process, self._watcher)
        self._socket_folder.remove()
        _release(self._lock)
        self._lock = None

    def is_up(self) -> bool:
        """Tell whether the server still runs."""
        return self._process.poll() is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def start(data_dir: Path, *, throwaway: bool = False) -> EmbeddedPostgres:
    """Start a server on a folder, made if missing; raises EmbeddedPostgresError.

    Throwaway data need not survive a crash of the machine. Only on the main thread: the kernel
    takes the end of the thread that started the server for the end of the process.
    """
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedPostgresError("The embedded server must be started by the main thread.")
    layout = Layout(data_dir.resolve())
    try:
        layout.folder.mkdir(parents=True, exist_ok=True)
        lock = _acquire(layout)
        try:
            return _started(layout, lock, throwaway=throwaway)
        except BaseException:
            _release(lock)
            raise
    except (OSError, subprocess.SubprocessError) as failed:
        raise EmbeddedPostgresError(f"The embedded server cannot start: {failed}") from failed


def exists(data_dir: Path) -> bool:
    """Tell whether a server was ever started on a folder."""
    return Layout(data_dir.resolve()).cluster.exists()


def running(data_dir: Path) -> str | None:
    """Return the URL of the live server on a folder, whoever started it."""
    layout = Layout(data_dir.resolve())
    found = Postmaster.read(layout.cluster)
    if found is None or not found.ready or not found.alive(layout.cluster):
        return None
    try:
        return layout.url(found.socket_folder)
    except OSError:
        return None


def _acquire(layout: Layout) -> int:
    # A lock on a file ends with its process, however that ends; a pid file does not.
    lock = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise InUse(
            f"{layout.folder} is in use by another process ({holder or 'just starting'})."
        ) from None
    os.truncate(lock, 0)
    os.write(lock, f"pid {os.getpid()}\n".encode())
    return lock


def _release(lock: int) -> None:
    # Closing alone would leave it locked where a forked process still has the file open.
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def _started(layout: Layout, lock: int, *, throwaway: bool) -> EmbeddedPostgres:
    owner = owner_of(layout.cluster)
    binaries = find_binaries(owner)
    prepare(layout, binaries, owner, throwaway=throwaway)
    _await_orphan(layout.cluster)
    folder = HeldFolder.make(_SOCKETS, short_folder())
    try:
        owner.take(folder.path)
        settings = _settings(folder.path, throwaway=throwaway)
        process, watcher = _ready(layout, binaries, owner, settings)
    except BaseException:
        folder.remove()
        raise
    url = layout.url(str(folder.path))
    return EmbeddedPostgres(url, binaries.version, process.pid, process, watcher, folder, lock)


def _ready(
    layout: Layout, binaries: Binaries, owner: Owner, settings: Sequence[str]
) -> tuple[subprocess.Popen[bytes], Watcher | None]:
    logged = layout.log.stat().st_size if layout.log.exists() else 0
    process = _launch(layout, binaries, owner, settings)
    watcher = None
    try:
        watcher = _watcher(layout, process)
        _await_ready(layout, process, logged)
    except BaseException:
        _end(process, watcher)
        raise
    return process, watcher


def _await_orphan(cluster: Path) -> None:
    """Give a server whose starter was killed the time to shut down."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while (found := Postmaster.read(cluster)) and found.alive(cluster):
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(
                f"A server that nobody looks after runs on {cluster}: end process {found.pid}."
            )
        time.sleep(_POLL_SECONDS)


def _settings(socket_folder: Path, *, throwaway: bool) -> Sequence[str]:
    return (
        "listen_addresses=",
        f"unix_socket_directories={socket_folder}",
        "unix_socket_permissions=0700",
        f"port={_PORT}",
        "max_connections=100",
        "timezone=UTC",
        *(_CAREFREE if throwaway else ()),
    )


def _launch(
    layout: Layout, binaries: Binaries, owner: Owner, settings: Sequence[str]
) -> subprocess.Popen[bytes]:
    options = [part for setting in settings for part in ("-c", setting)]
    layout.log.touch(mode=0o600)
    with layout.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603
            [binaries.program("postgres"), "-D", data_argument(layout.cluster), *options],
            cwd=layout.cluster,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C in a terminal reaches us alone: clients finish before the server goes.
            start_new_session=True,
            preexec_fn=tied_to_us(signal.SIGINT),
            **owner.run_as,
        )


def _await_ready(layout: Layout, process: subprocess.Popen[bytes], logged: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        found = Postmaster.read(layout.cluster)
        if found is not None and found.pid == process.pid and found.ready:
            return
        if process.poll() is not None or time.monotonic() > deadline:
            with layout.log.open("rb") as log:
                log.seek(logged)
                reason = last_words(log.read().decode(errors="replace"))
            raise EmbeddedPostgresError(f"PostgreSQL did not start: {reason} (see {layout.log})")
        time.sleep(_POLL_SECONDS)


def _watcher(layout: Layout, process: subprocess.Popen[bytes]) -> Watcher | None:
    if sys.platform == "linux":
        return None
    return Watcher(process.pid, Postmaster.file(layout.cluster), signal.SIGINT)


def _end(process: subprocess.Popen[bytes], watcher: Watcher | None) -> None:
    """Shut down fast; after a while at once, which costs a recovery at the next start."""
    if watcher is not None:
        watcher.dismiss()
    for number in (signal.SIGINT, signal.SIGQUIT):
        process.send_signal(number)
        try:
            process.wait(_FAST_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()
