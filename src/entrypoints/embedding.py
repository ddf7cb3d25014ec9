"""Gatepost inside another program: opened with its database, and its jobs done beside."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from ..adapters.embedded import InUse, running, start
from ..adapters.postgres.migrate import upgrade
from ..application.events import Subscriber
from ..application.gatepost import Gatepost
from ..application.ports import Ports
from ..application.ports.delivery import Metrics
from .container import open_gatepost
from .database import with_url
from .settings import Settings
from .worker import keep_working

# As long as a start may take that replays the log of a crash.
_STARTED_SECONDS = 60.0


@contextlib.asynccontextmanager
async def open_embedded(
    settings: Settings,
    metrics: Metrics | None = None,
    *,
    subscribers: Sequence[Subscriber] = (),
    adapt: Callable[[Ports], Ports] | None = None,
) -> AsyncIterator[Gatepost]:
    """Open Gatepost and do its jobs in this process, until the block ends.

    Without DATABASE_URL a PostgreSQL of its own runs on the data folder (extra `embedded`, main
    thread) and is migrated; a database that is given was migrated by `gatepost migrate up`. Any
    number of processes may do this at once, and `gatepost worker` beside them, which leaves
    events for subscribers to those that have some. A PostgreSQL without DATABASE_URL belongs to
    the process that came first, and ends with it: what comes and goes needs one that is given.
    Without the jobs it is `open_gatepost`. Raises what that does.
    """
    with _database(settings) as (reachable, is_own):
        if is_own:
            await upgrade(reachable.direct_url)
        async with open_gatepost(
            reachable, metrics, subscribers=subscribers, adapt=adapt
        ) as gatepost:
            stop = asyncio.Event()
            working = asyncio.create_task(keep_working(reachable, gatepost, stop))
            try:
                yield gatepost
            finally:
                stop.set()
                await working


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[tuple[Settings, bool]]:
    if settings.database_url is not None:
        yield settings, False
        return
    folder = settings.data_dir / "postgres"
    until = time.monotonic() + _STARTED_SECONDS
    while (url := running(folder)) is None:
        try:
            server = start(folder)
        except InUse:
            # Workers of one server come at once; the others wait for the first.
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            with server:
                yield with_url(settings, server.url), True
            return
    yield with_url(settings, url), True
