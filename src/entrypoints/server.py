"""Serving HTTP: one process, or several under a supervisor that share a socket.

A supervisor does without what serves: it would hold as much memory as each of its children.
"""

import gc
import os
import socket
import sys
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self

from .metrics import FOLDER, forget, shared_folder
from .processes import Child, supervise
from .settings import PREFIX, Settings, SettingsError

BACKLOG = 2048
# With the longest delay and the two moments below less than the half minute that children get.
GRACE_SECONDS = 15
SETTLE_SECONDS = 0.5
# Idle between two requests. A proxy in front must give up idle connections earlier.
KEEP_ALIVE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets that all server processes share: whoever is free answers."""

    public: socket.socket
    management: socket.socket | None = None

    @classmethod
    def inherited(cls, fd: int, management_fd: int | None) -> "Listeners":
        management = None if management_fd is None else socket.socket(fileno=management_fd)
        return cls(socket.socket(fileno=fd), management)

    @property
    def fds(self) -> tuple[int, ...]:
        both = (self.public, self.management)
        return tuple(each.fileno() for each in both if each is not None)

    def close(self) -> None:
        self.public.close()
        if self.management is not None:
            self.management.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listen(settings: Settings) -> Listeners:
    """Bind what the settings ask for; raises SettingsError when a port is taken."""
    public = _listen(settings.http.host, settings.port, "PORT")
    if settings.management_port is None:
        return Listeners(public)
    name = f"{PREFIX}HTTP__MANAGEMENT_PORT"
    try:
        return Listeners(public, _listen(settings.http.host, settings.management_port, name))
    except SettingsError:
        public.close()
        raise


def _listen(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as refused:
        listener.close()
        reason = refused.strerror or "cannot be bound"
        raise SettingsError([f"{setting}: {host}:{port}, {reason.lower()}"]) from None
    listener.listen(BACKLOG)
    listener.set_inheritable(True)
    return listener


def server_children(
    settings: Settings, listeners: Listeners, metrics_folder: Path | None
) -> list[Child]:
    """Describe the server processes that share sockets, and count in the same folder."""
    argv = [sys.executable, "-m", "gatepost", "serve", "--workers", "1"]
    for option, fd in zip(("--fd", "--management-fd"), listeners.fds, strict=False):
        argv += [option, str(fd)]
    shared = {FOLDER: str(metrics_folder) if metrics_folder else None}
    environment = {**child_environment(settings), **shared}
    on_end = partial(forget, metrics_folder)
    return [
        Child(f"server-{number}", argv, environment, pass_fds=listeners.fds, on_end=on_end)
        for number in range(1, settings.http.workers + 1)
    ]


def child_environment(settings: Settings) -> dict[str, str | None]:
    """Say what a child cannot find out itself: the database, and a share of the cores."""
    found: dict[str, str | None] = {
        "PORT": str(settings.port),
        f"{PREFIX}PASSWORD__CONCURRENCY": str(settings.hash_concurrency),
    }
    if settings.database_url is not None:
        # Given twice it would be refused.
        found["DATABASE_URL"] = settings.database_url.get_secret_value()
        found["DATABASE_URL_FILE"] = None
    return found


def base_url(settings: Settings) -> str:
    """Name where this process listens."""
    host = settings.http.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def answers(settings: Settings) -> bool:
    """Tell whether a server process is ready; asks over the socket, as a probe would."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    host = everywhere.get(settings.http.host, settings.http.host)
    connection = HTTPConnection(host, settings.port, timeout=2)
    try:
        connection.request("GET", "/readyz", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def serve_http(settings: Settings, fd: int | None = None, management_fd: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    if fd is None:
        listeners = listen(settings)
        if settings.http.workers == 1:
            # It is for several; of one process the library tells more without it.
            os.environ.pop(FOLDER, None)
    else:
        listeners = Listeners.inherited(fd, management_fd)
    with listeners:
        if settings.http.workers == 1:
            from .uvicorn import serve

            serve(settings, listeners)
            return 0
        return _serve_in_children(settings, listeners)


def _serve_in_children(settings: Settings, listeners: Listeners) -> int:
    gc.enable()
    with shared_folder(settings.http.workers) as folder:
        return supervise(
            server_children(settings, listeners, folder),
            ready=lambda: answers(settings),
            on_ready=lambda: None,
            # Or connections would wait in the queue of a socket that nobody accepts from.
            on_stop=listeners.close,
        )
