"""The database that a command uses: the configured one, or the embedded one."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from .settings import Settings


@contextmanager
def available_database(settings: Settings, *, migrated: bool = True) -> Iterator[Settings]:
    """Yield settings that name a database.

    Without DATABASE_URL: the embedded server that runs on the data folder, or one started for as
    long as the block takes, and migrated unless told otherwise. Call it from the main thread.
    """
    if settings.database_url is not None:
        yield settings
        return
    from ..adapters.embedded import running, start

    folder = settings.data_dir / "postgres"
    url = running(folder)
    if url is not None:
        yield with_url(settings, url)
        return
    with start(folder) as server:
        if migrated:
            # A server with a database of its own does without what migrates.
            from ..adapters.postgres.migrate import upgrade

            asyncio.run(upgrade(server.url))
        yield with_url(settings, server.url)


@contextmanager
def present_database(settings: Settings) -> Iterator[tuple[Settings, bool]]:
    """Yield settings that name a database, or none where there is none yet; makes nothing.

    Beside them whether an embedded server was started that lasts only as long as the block.
    """
    from ..adapters.embedded import exists, running

    folder = settings.data_dir / "postgres"
    if settings.database_url is None and not exists(folder):
        yield settings, False
        return
    started = settings.database_url is None and running(folder) is None
    with available_database(settings, migrated=False) as reachable:
        yield reachable, started


def with_url(settings: Settings, url: str) -> Settings:
    """Return the same settings with this database."""
    return settings.model_copy(update={"database_url": SecretStr(url)})
