"""One table of all faults, and what every test of them needs."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.database import Database
from tests.faults.load import Tally
from tests.service import Service, free_port

HEAD = ("fault", "requests", "refused", "lost", "wrong", "slowest", "recovery", "also")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--soak-requests", type=int, default=300_000)
    group.addoption("--kill-cycles", type=int, default=100)
    group.addoption("--overload-seconds", type=float, default=60.0)


@dataclass
class Table:
    """What is printed at the end, whether tests passed or not."""

    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(
        self,
        fault: str,
        tally: Tally,
        *,
        lost: int = 0,
        recovery: float | None = None,
        also: str = "",
    ) -> None:
        counts = (tally.requests, tally.refused, lost, tally.wrong.total())
        times = (f"{tally.slowest:.2f} s", "" if recovery is None else f"{recovery:.2f} s")
        wrong = "; ".join(f"{said} x {number}" for said, number in tally.wrong.most_common(4))
        said = ", ".join(filter(None, (also, wrong)))
        self.rows.append((fault, *(f"{count:,}" for count in counts), *times, said))

    def lines(self) -> list[str]:
        lines = [HEAD, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
        return [
            "  ".join(
                cell.ljust(width) if column in (0, len(HEAD) - 1) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]


TABLE = pytest.StashKey[Table]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = Table()
    # What one failed test leaves open must not fail the next ones, too.
    config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnraisableExceptionWarning")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    table = config.stash[TABLE]
    if table.rows:
        terminalreporter.section("faults")
        for line in table.lines():
            terminalreporter.write_line(line)
        load = " ".join(f"{one:.1f}" for one in os.getloadavg())
        terminalreporter.write_line(f"{os.cpu_count()} cores; load of the machine {load}.")


@pytest.fixture
def table(pytestconfig: pytest.Config) -> Table:
    return pytestconfig.stash[TABLE]


@pytest.fixture(scope="session")
async def database(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Database]:
    database = Database(tmp_path_factory.mktemp("faults") / "postgres")
    await database.start()
    await database.proxy.accept()
    yield database
    await database.proxy.close()
    await database.stop()


Start = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def serving(tmp_path: Path, database: Database) -> Start:
    """Start servers and a worker on the database, through its proxy or past it."""

    @asynccontextmanager
    async def start(name: str = "service", **settings: str) -> AsyncIterator[Service]:
        folder = tmp_path / name
        await asyncio.to_thread(folder.mkdir)
        given = {
            "DATABASE_URL": database.url,
            "GATEPOST_ACCOUNTS__REQUIRE_VERIFIED_EMAIL": "false",
            # One for all services on this database.
            "GATEPOST_SECRETS__KEYS": database.master_key,
            "LOG_LEVEL": "WARNING",
        }
        service = Service(folder / "data", free_port(), **given | settings)
        try:
            # The proxy lives in this loop: it must not wait for what waits for the proxy.
            await asyncio.to_thread(service.start)
            yield service
        finally:
            await asyncio.to_thread(service.stop)

    return start


Missing = Callable[[list[str]], Awaitable[int]]


@pytest.fixture
def missing(database: Database) -> Missing:
    """Count confirmed accounts that are not there."""

    async def count(promised: list[str]) -> int:
        sql = "SELECT username FROM accounts WHERE username = ANY($1)"
        found = {row["username"] for row in await database.rows(sql, promised)}
        return len(set(promised) - found)

    return count
