"""What `/metrics` answers, and the folder in which several processes count together."""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from .. import __version__
from ..adapters.held_folders import HeldFolder
from ..application.ports.delivery import Backlog, BacklogReader
from .settings import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    # Supervisors count nothing, and do without the library.
    from ..adapters.prometheus import PrometheusMetrics

# The library reads it when it is imported.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_SAMPLE_SECONDS = 1.0
_BACKLOG_SECONDS = 5.0
# Prometheus waits; who operates an overloaded service does not.
_BACKLOG_LIMIT = 0.15
# A look may go on behind that: to connect anew takes longer on a busy machine, and one that is cut
# short each time would never see the database again.
_LOOK_LIMIT = 10.0
log = structlog.get_logger(__name__)


class Exposition:
    """Renders the metrics; looks at the queue of jobs now and then, and never for long."""

    def __init__(
        self,
        metrics: "PrometheusMetrics",
        backlog: BacklogReader,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._reader = backlog
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._backlog: Backlog | None = None
        self._looking: asyncio.Task[Backlog | None] | None = None
        self._good_until = 0.0

    async def __call__(self) -> bytes:
        backlog = await self._current()
        self._metrics.sample()
        return await asyncio.to_thread(self._metrics.render, backlog)

    async def keep_sampling(self) -> None:
        """Let the other processes see the levels of this one, until cancelled."""
        while self._metrics.is_shared:
            self._metrics.sample()
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _current(self) -> Backlog | None:
        async with self._lock:
            if self._monotonic() >= self._good_until:
                # None where nobody knows: a number that is old would look like a true one.
                self._backlog = await self._look()
                self._good_until = self._monotonic() + _BACKLOG_SECONDS
            return self._backlog

    async def _look(self) -> Backlog | None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._read())
        done, _ = await asyncio.wait({self._looking}, timeout=_BACKLOG_LIMIT)
        return self._looking.result() if done else None

    async def _read(self) -> Backlog | None:
        try:
            async with asyncio.timeout(_LOOK_LIMIT):
                return await self._reader.read()
        except Exception as failed:
            # Whatever is wrong with the database, what was counted here is shown.
            log.warning("job queue not looked at", error=type(failed).__name__)
            return None


def worker_metrics(settings: Settings) -> "PrometheusMetrics | None":
    """Show what this process counts, where a port is set for it; raises SettingsError."""
    port = settings.jobs.metrics_port
    if port is None:
        return None
    # It is for servers; a worker counts for itself.
    os.environ.pop(FOLDER, None)
    from ..adapters.prometheus import PrometheusMetrics

    metrics = PrometheusMetrics(__version__)
    try:
        metrics.serve(settings.http.host, port)
    except OSError as refused:
        reason = (refused.strerror or "cannot be bound").lower()
        raise SettingsError([f"{PREFIX}JOBS__METRICS_PORT: {port}, {reason}"]) from None
    return metrics


@contextmanager
def shared_folder(processes: int) -> Iterator[Path | None]:
    """Make, or empty, the folder for several processes; None for one, which needs none."""
    if processes == 1:
        yield None
    elif given := os.environ.get(FOLDER):
        folder = Path(given)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in folder.glob("*.db"):
            left.unlink(missing_ok=True)
        yield folder
    else:
        held = HeldFolder.make("gatepost-counts-", tempfile.gettempdir())
        try:
            yield held.path
        finally:
            held.remove()


def forget(folder: Path | None, pid: int) -> None:
    """Take away the levels of a process that has ended; what it counted stays."""
    for left in folder.glob(f"gauge_live*_{pid}.db") if folder else ():
        left.unlink(missing_ok=True)
