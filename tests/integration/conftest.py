"""A real PostgreSQL for every test: made once, migrated once, cloned for each."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.config import testcontainers_config

from gatepost.adapters.embedded import start
from gatepost.adapters.postgres.callers import PostgresCallers
from gatepost.adapters.postgres.engine import create_engine
from gatepost.adapters.postgres.migrate import upgrade
from gatepost.adapters.postgres.sessions import PostgresRotations
from gatepost.adapters.postgres.sign_ins import PostgresSignIns
from gatepost.adapters.postgres.tables import audit_events, metadata
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.application.ports.delivery import Job, JobName
from gatepost.domain.audit import AuditEntry
from tests.service import Service, running

IMAGE = "postgres:17-alpine"
NO_IMAGE = 3
# A process of its own: the client leaks sockets when it fails, and a pull has no total limit.
PROBE = f"""
import sys, docker
try:
    docker.from_env(timeout=3).ping()
except Exception:
    sys.exit(1)
client = docker.from_env(timeout=60)
try:
    client.images.get(sys.argv[1])
except docker.errors.ImageNotFound:
    try:
        client.images.pull(sys.argv[1])
    except Exception:
        sys.exit({NO_IMAGE})
"""

choice = pytest.StashKey[str]()
numbers = count(1)


class NoContainer(Exception):
    """Why no container can serve."""


@contextmanager
def container() -> Iterator[str]:
    """Start PostgreSQL in a container, or raise NoContainer."""
    have_image()
    # The reaper is a second image to pull; the block below ends what it would reap.
    testcontainers_config.ryuk_disabled = True
    server = PostgresContainer(IMAGE, driver=None).with_command(
        "postgres -c fsync=off -c max_connections=200"
    )
    try:
        server.start()
    except Exception as error:
        server.stop()
        raise NoContainer(f"{IMAGE} does not start ({type(error).__name__})") from error
    try:
        yield server.get_connection_url()
    finally:
        server.stop()


def have_image() -> None:
    """Make sure that an engine answers and has the image; an engine alone is not enough."""
    try:
        probe = subprocess.run([sys.executable, "-c", PROBE, IMAGE], timeout=70, check=False)
    except subprocess.TimeoutExpired as error:
        raise NoContainer(f"{IMAGE} takes too long to pull") from error
    if probe.returncode == NO_IMAGE:
        raise NoContainer(f"{IMAGE} is not there and cannot be pulled")
    if probe.returncode != 0:
        raise NoContainer("no Docker engine answers")


def choose(stack: ExitStack, folder: Path) -> tuple[str, str]:
    """Return the URL of a server to test against, and which one it is and why."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        return given, "the server of TEST_DATABASE_URL"
    forced = os.environ.get("TEST_DATABASE", "")
    if forced not in ("", "container", "embedded"):
        pytest.exit("TEST_DATABASE is container or embedded.", returncode=2)
    why = "TEST_DATABASE=embedded"
    if forced != "embedded":
        try:
            return stack.enter_context(container()), f"a container of {IMAGE}"
        except NoContainer as error:
            why = str(error)
    if forced == "container":
        pytest.exit(f"TEST_DATABASE=container, but {why}.", returncode=2)
    return stack.enter_context(start(folder, throwaway=True)).url, f"the embedded server ({why})"


# Files that take long: begun first, no process is left with one at the end.
LONG = ("test_service", "test_shutdown", "test_webhooks", "test_celery", "test_metrics")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker process of pytest-xdist chose."""
    if chosen := getattr(node, "workeroutput", {}).get("database"):
        node.config.stash[choice] = chosen


def pytest_sessionfinish(session: pytest.Session) -> None:
    if choice in session.config.stash and hasattr(session.config, "workeroutput"):
        session.config.workeroutput["database"] = session.config.stash[choice]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if choice in config.stash:
        terminalreporter.write_line(f"Database: {config.stash[choice]}.")


@pytest.fixture(scope="session")
def database_url(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[str]:
    """A server on which databases can be made."""
    with ExitStack() as stack:
        url, why = choose(stack, tmp_path_factory.mktemp("postgres") / "data")
        pytestconfig.stash[choice] = why
        yield url


def named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


class Databases:
    """Makes and drops databases on the server."""

    def __init__(self, url: str, admin: asyncpg.Connection) -> None:
        self.url = url
        self._admin = admin

    async def create(self, template: str | None = None) -> str:
        """Make an empty database or a copy, and return its name."""
        name = f"gatepost_test_{os.getpid()}_{next(numbers)}"
        # Copying files is fastest where a checkpoint costs nothing.
        source = f'TEMPLATE "{template}" STRATEGY file_copy' if template else "TEMPLATE template0"
        await self._admin.execute(f'CREATE DATABASE "{name}" {source}')
        return name

    async def drop(self, name: str) -> None:
        await self._admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
async def databases(database_url: str) -> AsyncIterator[Databases]:
    admin = await asyncpg.connect(database_url)
    yield Databases(database_url, admin)
    await admin.close()


@pytest.fixture(scope="session")
async def template(databases: Databases) -> AsyncIterator[str]:
    """The name of a migrated database."""
    name = await databases.create()
    await upgrade(named(databases.url, name))
    yield name
    await databases.drop(name)


@pytest.fixture
async def empty_url(databases: Databases) -> AsyncIterator[str]:
    """The URL of a database with nothing in it."""
    name = await databases.create()
    yield named(databases.url, name)
    await databases.drop(name)


@pytest.fixture
async def own_url(databases: Databases, template: str) -> AsyncIterator[str]:
    """The URL of a migrated database that the test may spoil."""
    name = await databases.create(template)
    yield named(databases.url, name)
    await databases.drop(name)


@pytest.fixture(scope="session")
async def shared_url(databases: Databases, template: str) -> AsyncIterator[str]:
    """The URL of the database that most tests share: a clone each would take minutes."""
    name = await databases.create(template)
    yield named(databases.url, name)
    await databases.drop(name)


@pytest.fixture
async def url(shared_url: str) -> str:
    """The URL of a migrated database with no rows in it."""
    connection = await asyncpg.connect(shared_url)
    for table in (*reversed(metadata.sorted_tables), "pgqueuer", "pgqueuer_log"):
        await connection.execute(f"DELETE FROM {table}")  # noqa: S608
    await connection.close()
    return shared_url


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = AsyncEngine(create_engine(url, max_overflow=40).sync_engine)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A whole service, with a database of its own, for tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("service") / "one") as started:
        yield started
        assert started.stop() == 0
        assert started.members() == []


@pytest.fixture
def uow(engine: AsyncEngine) -> PostgresUnitOfWork:
    return PostgresUnitOfWork(engine)


@pytest.fixture
async def callers(url: str) -> AsyncIterator[PostgresCallers]:
    callers = PostgresCallers(url)
    await callers.open()
    yield callers
    await callers.close()


@pytest.fixture
async def rotations(url: str) -> AsyncIterator[PostgresRotations]:
    rotations = PostgresRotations(url)
    await rotations.open()
    yield rotations
    await rotations.close()


@pytest.fixture
def sign_ins(rotations: PostgresRotations) -> PostgresSignIns:
    return PostgresSignIns(rotations.pool)


@pytest.fixture
def queued_jobs(engine: AsyncEngine) -> Callable[[], Awaitable[list[Job]]]:
    sql = (
        "SELECT dedupe_key, entrypoint, payload, headers ->> 'account_id' AS owner"
        " FROM pgqueuer WHERE status = 'queued' ORDER BY id"
    )

    async def read() -> list[Job]:
        async with engine.connect() as connection:
            rows = (await connection.exec_driver_sql(sql)).mappings()
            return [
                Job(
                    id=UUID(row["dedupe_key"]),
                    name=JobName(row["entrypoint"]),
                    payload=json.loads(row["payload"]),
                    account_id=UUID(row["owner"]) if row["owner"] else None,
                )
                for row in rows
            ]

    return read


@pytest.fixture
def audit_entries(engine: AsyncEngine) -> Callable[[], Awaitable[list[AuditEntry]]]:
    oldest_first = select(audit_events).order_by(audit_events.c.created_at, audit_events.c.id)

    async def read() -> list[AuditEntry]:
        async with engine.connect() as connection:
            rows = await connection.execute(oldest_first)
            return [AuditEntry(**row) for row in rows.mappings()]

    return read
