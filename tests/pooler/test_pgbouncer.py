"""Everything behind PgBouncer in transaction mode, where no two transactions share a connection.

It has fewer connections than the service opens, so statements land where others were prepared.
"""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gatepost.adapters.postgres.dsn import through_pooler
from gatepost.adapters.postgres.engine import create_engine
from gatepost.adapters.postgres.survey import ServerFacts, survey
from gatepost.adapters.system import utc_now
from gatepost.domain.errors import Unavailable
from tests.faults.database import Database
from tests.service import Service, free_port, signed_in

PATH = f"{os.environ['PATH']}:/usr/sbin"
PEOPLE = 12
CONNECTIONS = 3


class PgBouncer:
    """The program itself, before a database."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder, self._database = folder, database
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{self._account}@127.0.0.1:{self.port}/gatepost?sslmode=disable"

    @property
    def _account(self) -> str:
        return urlsplit(self._database.url).netloc.rpartition("@")[0]

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def start(self) -> None:
        user, _, password = self._account.partition(":")
        parts = urlsplit(self._database.url)
        (self._folder / "users").write_text(f'"{user}" "{password}"\n')
        (self._folder / "pgbouncer.ini").write_text(
            f"[databases]\ngatepost = host=127.0.0.1 port={parts.port} dbname=gatepost\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {self._folder}/users\n"
            f"pool_mode = transaction\ndefault_pool_size = {CONNECTIONS}\n"
            "server_login_retry = 0\nmax_client_conn = 200\n"
        )
        program = shutil.which("pgbouncer", path=PATH)
        assert program, "pgbouncer is missing (Debian, Ubuntu: apt install pgbouncer)"
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, str(self._folder / "pgbouncer.ini")],
                stderr=log,
                # It refuses to run as root.
                user=65534 if os.geteuid() == 0 else None,
            )
        while "process up" not in self.log():
            assert self._process.poll() is None, self.log()
            time.sleep(0.05)

    def stop(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        self._process.terminate()
        self._process.wait(timeout=10)


@pytest.fixture(scope="module")
async def database(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Database]:
    database = Database(tmp_path_factory.mktemp("pooler") / "postgres")
    await database.start()
    await database.proxy.accept()
    # What docs/operations/postgresql.md asks for: the pooler passes no limit on.
    await database.rows("ALTER ROLE CURRENT_USER SET statement_timeout = '3s'")
    yield database
    await database.proxy.close()
    await database.stop()


@pytest.fixture(scope="module")
def pooler(database: Database) -> Iterator[PgBouncer]:
    # Not in a folder of ours alone: it runs as another user.
    folder = Path(f"/tmp/gatepost-pgbouncer-{os.getpid()}")  # noqa: S108
    folder.mkdir(mode=0o755)
    pooler = PgBouncer(folder, database)
    pooler.start()
    yield pooler
    pooler.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
async def service(
    database: Database, pooler: PgBouncer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """Two server processes and a worker; the database's proxy lives in this loop: no waiting."""
    folder = tmp_path_factory.mktemp("pooled") / "service"
    folder.mkdir()
    service = Service(
        folder / "data",
        free_port(),
        DATABASE_URL=pooler.url,
        DATABASE_DIRECT_URL=database.direct_url,
        GATEPOST_HTTP__WORKERS="2",
    )
    await asyncio.to_thread(service.start)
    yield service
    assert await asyncio.to_thread(service.stop) == 0


async def walk(service: Service, name: str) -> None:
    """Register, verify, sign in, refresh twice at once, look around, sign out."""

    def begin() -> dict[str, str]:
        with httpx2.Client(base_url=service.url, timeout=60) as client:
            return signed_in(client, service, name)

    tokens = await asyncio.to_thread(begin)
    async with httpx2.AsyncClient(base_url=service.url, timeout=60) as client:
        body = {"refresh_token": tokens["refresh_token"]}
        both = await asyncio.gather(
            *(client.post("/v1/sessions/refresh", json=body) for _ in range(2))
        )
        assert [answer.status_code for answer in both] == [200, 200]
        assert both[0].json()["refresh_token"] == both[1].json()["refresh_token"]
        headers = {"Authorization": f"Bearer {both[1].json()['access_token']}"}
        for _ in range(20):
            me = await client.get("/v1/users/me", headers=headers)
            assert (me.status_code, me.json()["username"]) == (200, name)
        sessions = await client.get("/v1/sessions", headers=headers)
        assert len(sessions.json()["items"]) == 1
        out = await client.delete("/v1/sessions/current", headers=headers)
        assert out.status_code == 204
        assert (await client.get("/v1/users/me", headers=headers)).status_code == 401


async def test_the_whole_walk_works_for_many_at_once(service: Service) -> None:
    await asyncio.gather(*(walk(service, f"walker-{number}") for number in range(PEOPLE)))
    assert '"level": "error"' not in service.log()
    assert "prepared statement" not in service.log()


async def test_the_database_sees_no_more_connections_than_the_pooler_may_have(
    service: Service, database: Database
) -> None:
    """Beside them is the worker's own, on which it listens."""
    await walk(service, "counted")
    assert len(await database.connections()) <= CONNECTIONS + 1


async def test_the_engine_and_the_read_pool_meet_statements_of_others(
    pooler: PgBouncer, service: Service
) -> None:
    url = through_pooler(pooler.url)
    engines = [AsyncEngine(create_engine(url, pool_size=4).sync_engine) for _ in range(2)]

    async def ask(number: int) -> None:
        async with engines[number % 2].connect() as connection:
            for other in range(number, number + 100):
                sql = text(f"SELECT {other} + CAST(:one AS int) AS a{other}")
                assert (await connection.execute(sql, {"one": 1})).scalar_one() == other + 1

    await asyncio.gather(*(ask(number) for number in range(8)))
    for engine in engines:
        await engine.dispose()


@pytest.mark.parametrize(
    ("spoil", "mend", "is_fine"),
    [
        (
            "RESET statement_timeout",
            "SET statement_timeout = '3s'",
            lambda facts: facts.bounded,
        ),
        (
            "SET default_transaction_isolation = 'repeatable read'",
            "RESET default_transaction_isolation",
            lambda facts: facts.isolation == "read committed",
        ),
    ],
)
async def test_what_the_role_says_holds_behind_the_pooler(
    pooler: PgBouncer,
    database: Database,
    spoil: str,
    mend: str,
    is_fine: Callable[[ServerFacts], bool],
) -> None:
    assert is_fine(await survey(through_pooler(pooler.url), utc_now))
    await database.rows(f"ALTER ROLE CURRENT_USER {spoil}")
    try:
        for row in await database.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'gatepost'"
        ):
            assert row[0]
        deadline = time.monotonic() + 20
        while is_fine(await _surveyed(pooler)):
            assert time.monotonic() < deadline
    finally:
        await database.rows(f"ALTER ROLE CURRENT_USER {mend}")


async def _surveyed(pooler: PgBouncer) -> ServerFacts:
    """Look until it can be done: each connection that was ended fails once."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return await survey(through_pooler(pooler.url), utc_now)
        except Unavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_a_pooler_without_a_database_is_an_outage_and_ends_with_it(
    pooler: PgBouncer, service: Service, database: Database
) -> None:
    await database.proxy.refuse()
    async with httpx2.AsyncClient(base_url=service.url, timeout=60) as client:
        login = {"login": "nobody", "password": "a quiet sea of numbers"}
        for _ in range(5):
            answer = await client.post("/v1/sessions", json=login)
            assert answer.status_code == 503, answer.text
            assert answer.headers["Retry-After"]
        await database.proxy.accept()
        deadline = time.monotonic() + 30
        while (await client.get("/readyz")).status_code != 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
    await walk(service, "afterwards")
