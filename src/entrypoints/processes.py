"""A parent for server and worker processes: starts them, restarts them, ends them together."""

import logging
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

_logger = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0
# Short enough that a short start does not feel longer.
_READY_POLL_SECONDS = 0.05
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
# Whoever lives this long has started well: its next death is a new story.
_SETTLED_SECONDS = 60.0


@dataclass(frozen=True)
class Child:
    """A program to keep running. `env` adds to our own environment, or with None takes away.

    `on_end` is called with the id of each process that ended, before another starts.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str | None]
    pass_fds: Sequence[int] = ()
    on_end: Callable[[int], None] = lambda pid: None


def leave_on_sigterm() -> None:
    """Let SIGTERM unwind this process, and end it with 0, until it has handlers of its own.

    Without it a start that is interrupted leaves files behind and looks like a failure.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)


def supervise(
    children: Sequence[Child],
    *,
    ready: Callable[[], bool],
    on_ready: Callable[[], None],
    on_stop: Callable[[], None] = lambda: None,
    healthy: Callable[[], bool] = lambda: True,
    ready_timeout: float = 120.0,
    stop_timeout: float = 30.0,
) -> int:
    """Run children until SIGTERM, SIGINT or SIGHUP (0).

    Ends with 1 when one dies before `ready` is true, or that takes too long, or `healthy` turns
    false: then something is gone that no restart of a child brings back. Later deaths lead to
    restarts, ever more slowly. `on_stop` runs before the children are told. Only on the main
    thread. On Linux the children get SIGTERM also when this process is killed.
    """
    running = [_Running(child) for child in children]
    with _signals() as signals:
        try:
            for one in running:
                one.launch()
            deadline = time.monotonic() + ready_timeout
            if not _become_ready(running, ready, signals, deadline):
                return 0 if signals.stopping else 1
            on_ready()
            return _tend(running, healthy, signals)
        finally:
            on_stop()
            _stop(running, stop_timeout)


def _tend(running: Sequence["_Running"], healthy: Callable[[], bool], signals: "_Signals") -> int:
    while not signals.stopping:
        if not healthy():
            _logger.error("the database server has ended; ending everything")
            return 1
        signals.wait(min((one.tend() for one in running), default=_IDLE_SECONDS))
    return 0


@dataclass
class _Signals:
    """Wakes a waiting main thread at every signal, so that nothing has to be polled fast."""

    waker: socket.socket
    stopping: bool = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def wait(self, seconds: float) -> None:
        if not self.stopping and select.select([self.waker], [], [], seconds)[0]:
            self.waker.recv(4096)


@contextmanager
def _signals() -> Iterator[_Signals]:
    with ExitStack() as stack:
        waker, woken = (stack.enter_context(closing(end)) for end in socket.socketpair())
        waker.setblocking(False)
        woken.setblocking(False)
        signals = _Signals(woken)
        previous = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, previous)
        handlers = {signal.SIGTERM: signals.stop, signal.SIGINT: signals.stop}
        # nohup means: stay when the terminal goes.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            handlers[signal.SIGHUP] = signals.stop
        for number, handler in handlers.items():
            stack.callback(signal.signal, number, signal.signal(number, handler))
        died = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        stack.callback(signal.signal, signal.SIGCHLD, died)
        yield signals


def _become_ready(
    running: Sequence["_Running"],
    ready: Callable[[], bool],
    signals: _Signals,
    deadline: float,
) -> bool:
    while not signals.stopping:
        if time.monotonic() > deadline:
            _logger.error("not ready in time; ending everything")
            return False
        for one in running:
            if one.ended():
                _logger.error("%s ended before it was ready (%s)", one.name, one.outcome)
                return False
        if ready():
            return not signals.stopping
        signals.wait(_READY_POLL_SECONDS)
    return False


@dataclass
class _Running:
    child: Child
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    launched: float = field(default=0.0, init=False)
    deaths: int = field(default=0, init=False)
    due: float = field(default=0.0, init=False)
    outcome: str = field(default="", init=False)

    @property
    def name(self) -> str:
        return self.child.name

    def launch(self) -> None:
        from ..adapters.embedded.lifeline import tied_to_us

        self.process = subprocess.Popen(  # noqa: S603
            self.child.argv,
            env=_environment(self.child.env),
            pass_fds=self.child.pass_fds,
            stdin=subprocess.DEVNULL,
            # Ctrl-C in a terminal reaches the supervisor alone, which passes it on once.
            start_new_session=True,
            preexec_fn=tied_to_us(signal.SIGTERM),
        )
        self.launched = time.monotonic()

    def ended(self) -> bool:
        """Tell whether it runs no more; clears away what it has left behind."""
        if self.process is None:
            return True
        status = self.process.poll()
        if status is None:
            return False
        # Its own children may still hold ports and connections.
        self.signal_group(signal.SIGKILL)
        self.outcome = _described(status)
        self.child.on_end(self.process.pid)
        self.process = None
        return True

    def tend(self) -> float:
        """Restart it if that is due; returns the seconds until it needs another look."""
        now = time.monotonic()
        if self.process is not None:
            if not self.ended():
                return _IDLE_SECONDS
            self._plan_restart(now)
        if now < self.due:
            return min(self.due - now, _IDLE_SECONDS)
        self.launch()
        return _IDLE_SECONDS

    def _plan_restart(self, now: float) -> None:
        self.deaths = 1 if now - self.launched > _SETTLED_SECONDS else self.deaths + 1
        delay = min(_FIRST_DELAY * 2 ** min(self.deaths - 1, 10), _LONGEST_DELAY)
        self.due = now + delay
        _logger.error("%s ended (%s), starts again in %.1f s", self.name, self.outcome, delay)

    def signal_group(self, number: signal.Signals) -> None:
        if self.process is not None:
            # macOS refuses, with PermissionError, groups of which only zombies are left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    changed = {**os.environ, **changes}
    return {name: value for name, value in changed.items() if value is not None}


def _described(status: int) -> str:
    return f"exit code {status}" if status >= 0 else signal.Signals(-status).name


def _stop(running: Sequence[_Running], patience: float) -> None:
    """Ask every child to end, all at once, and make those that take too long."""
    for one in running:
        if one.process is not None:
            # Only the child itself: it knows in which order its own children should go.
            one.process.terminate()
    deadline = time.monotonic() + patience
    for one in running:
        if one.process is None:
            continue
        try:
            one.process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            _logger.warning("%s did not end within %g s and was killed", one.name, patience)
        one.signal_group(signal.SIGKILL)
        one.process.wait()
