"""A PostgreSQL that tests may stop, kill and freeze."""

import asyncio
import base64
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

from tests.faults.proxy import Proxy, Streams

# The pools of a server and of a worker, and the worker's own connection.
MOST_CONNECTIONS = 2 * (8 + 4 + 4 + 1 + 1) + 1
# A process of its own: a server dies with whoever started it, and starting blocks.
HOST = """
import pathlib, signal, sys
from gatepost.adapters.embedded import start
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
with start(pathlib.Path(sys.argv[1])) as server:
    print(server.url, server.pid, flush=True)
    while True:
        signal.pause()
"""


class Database:
    """A server on a data folder, and a proxy before it. Commits are on disk when confirmed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.master_key = base64.b64encode(os.urandom(32)).decode()
        self._host: asyncio.subprocess.Process | None = None
        self._pid = 0
        self.direct_url = ""
        self.proxy = Proxy(self._connect)

    @property
    def url(self) -> str:
        """Where the service finds it: through the proxy."""
        account = urlsplit(self.direct_url).netloc.rpartition("@")[0]
        return f"postgresql://{account}@127.0.0.1:{self.proxy.port}/gatepost?sslmode=disable"

    async def start(self) -> None:
        self._host = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOST, str(self._folder), stdout=asyncio.subprocess.PIPE
        )
        assert self._host.stdout is not None
        url, pid = (await self._host.stdout.readline()).decode().split()
        self.direct_url, self._pid = url, int(pid)

    async def stop(self) -> None:
        """Shut down in order; clients are cut off."""
        assert self._host is not None
        with suppress(ProcessLookupError):
            self._host.terminate()
        await self._host.wait()

    async def kill(self) -> None:
        """Let the server and all its processes end at once."""
        for pid in self._processes():
            os.kill(pid, signal.SIGKILL)
        await self.stop()

    def kill_backend(self, pid: int) -> None:
        """Let one process end; PostgreSQL then restarts all of them."""
        os.kill(pid, signal.SIGKILL)

    def freeze(self) -> None:
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self._processes():
            os.kill(pid, signal.SIGCONT)

    async def admin(self) -> asyncpg.Connection:
        """Connect past the proxy."""
        return await asyncpg.connect(self.direct_url)

    async def answers(self) -> bool:
        """Tell whether it takes connections."""
        try:
            await self.rows("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    async def connections(self) -> list[tuple[int, str]]:
        """List those of the service: process and state."""
        rows = await self.rows(
            "SELECT pid, coalesce(state, '') AS state FROM pg_stat_activity"
            " WHERE application_name = 'gatepost'"
        )
        return [(row["pid"], row["state"]) for row in rows]

    async def count_jobs(self, *states: str) -> int:
        sql = "SELECT count(*) AS n FROM pgqueuer WHERE status::text = ANY($1)"
        return int((await self.rows(sql, list(states)))[0]["n"])

    async def rows(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await self.admin()
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    def _processes(self) -> list[int]:
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        return [self._pid, *map(int, children)]

    async def _connect(self) -> Streams:
        folder = parse_qs(urlsplit(self.direct_url).query)["host"][0]
        return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
