"""Deadlines on the real thing: locks in PostgreSQL, and what a socket may say."""

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from gatepost.adapters.embedded import running
from gatepost.adapters.postgres.dsn import to_dsn
from gatepost.adapters.postgres.engine import create_engine
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.domain.errors import Unavailable
from gatepost.entrypoints.http.errors import Problems, RequestRefused
from gatepost.entrypoints.http.middleware import Layer
from gatepost.entrypoints.http.options import HttpOptions
from gatepost.testing.builders import (
    NOW,
    an_account,
    an_entry,
)
from tests.service import PASSWORD, Service

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
POST = (
    b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 50\r\n\r\n{"
)
CHUNKED = POST.replace(b"Content-Length: 50", b"Transfer-Encoding: chunked")[:-1]
BUSY = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
   AND application_name = 'gatepost'
"""
LOCK = "LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE"


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Hold all accounts against everybody."""
    holder = await asyncpg.connect(to_dsn(url))
    holding = holder.transaction()
    await holding.start()
    await holder.execute(LOCK)
    try:
        yield holder
    finally:
        await holding.rollback()
        await holder.close()


async def busy(url: str) -> int:
    connection = await asyncpg.connect(to_dsn(url))
    counted: int = await connection.fetchval(BUSY)
    await connection.close()
    return counted


def client_of(
    uow: PostgresUnitOfWork, work_seconds: float, commit_seconds: float = 0.5
) -> httpx2.AsyncClient:
    """Serve one route that adds an account, and one that only reads, behind the real layer."""
    options = HttpOptions(work_seconds=work_seconds, commit_seconds=commit_seconds)
    problems = Problems(options.public_url)

    async def unavailable(request: Request, error: Exception) -> PlainTextResponse:
        answer = problems.answer(request.scope, RequestRefused.because(Unavailable()))
        return PlainTextResponse(bytes(answer.body), answer.status_code, dict(answer.headers))

    async def add(request: Request) -> PlainTextResponse:
        account = an_account()
        async with uow() as tx:
            await tx.audit.append(an_entry(subject=account.id))
            await tx.accounts.add(account, NOW)
            await tx.commit()
            await asyncio.sleep(float(request.query_params.get("closing", 0)))
        return PlainTextResponse(str(account.id))

    app = Starlette(exception_handlers={Unavailable: unavailable})
    app.add_route("/add", add)
    layer = Layer(app, options=options, problems=problems)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(layer), base_url="http://x")


async def test_what_waits_for_a_lock_is_given_up_and_leaves_nothing_behind(url: str) -> None:
    engine = create_engine(url, pool_size=4)
    pool = engine.sync_engine.pool
    assert isinstance(pool, QueuePool)
    uow = PostgresUnitOfWork(engine)
    async with client_of(uow, 0.4) as client:
        assert (await client.get("/add")).status_code == 200
        async with locked(url) as holder:
            before = time.monotonic()
            answers = await asyncio.gather(*(client.get("/add") for _ in range(4)))
            took = time.monotonic() - before
            assert [answer.status_code for answer in answers] == [503] * 4
            assert {answer.headers["retry-after"] for answer in answers} == {"1"}
            assert took < 2.5, "before any limit of the database"
            assert pool.checkedout() == 0
            # Asked to stop, the server lets go at once and not when the statement's time is up.
            await asyncio.sleep(0.5)
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            assert await holder.fetchval(waiting) == 0
        answers = await asyncio.gather(*(client.get("/add") for _ in range(4)))
        assert [answer.status_code for answer in answers] == [200] * 4
    await engine.dispose()


@asynccontextmanager
async def relay(url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Stand before the database; while the event is not set nothing gets through."""
    parts, open_ = urlsplit(to_dsn(url)), asyncio.Event()
    open_.set()
    tasks: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(65536):
                await open_.wait()
                writer.write(piece)
        writer.close()

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        folder = parse_qs(parts.query).get("host")
        there = await (
            asyncio.open_unix_connection(f"{folder[0]}/.s.PGSQL.5432")
            if folder
            else asyncio.open_connection(parts.hostname, parts.port)
        )
        tasks.append(asyncio.create_task(pump(reader, there[1])))
        tasks.append(asyncio.create_task(pump(there[0], writer)))

    listening = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    user = parts.netloc.rpartition("@")[0]
    try:
        yield urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}", query="")), open_
    finally:
        listening.close()
        await asyncio.gather(*tasks)


async def test_a_database_that_falls_silent_is_given_up_in_time(url: str) -> None:
    async with relay(url) as (through, open_):
        engine = create_engine(through, pool_size=4)
        async with client_of(PostgresUnitOfWork(engine), 0.4) as client:
            assert (await client.get("/add")).status_code == 200
            open_.clear()
            before = time.monotonic()
            answers = await asyncio.gather(*(client.get("/add") for _ in range(6)))
            assert time.monotonic() - before < 1.7, "0.4 s, a commit's 0.5 s, a farewell's 0.25 s"
            assert [answer.status_code for answer in answers] == [503] * 6
            assert isinstance(engine.sync_engine.pool, QueuePool)
            assert engine.sync_engine.pool.checkedout() == 0
            open_.set()
            answers = await asyncio.gather(*(client.get("/add") for _ in range(6)))
            assert [answer.status_code for answer in answers] == [200] * 6
        await engine.dispose()


async def test_what_is_committed_is_told_as_done_however_long_its_connection_takes_to_close(
    engine: AsyncEngine,
) -> None:
    async with client_of(PostgresUnitOfWork(engine), 0.2, 5) as client:
        assert (await client.get("/add")).status_code == 200
        assert (await client.get("/add?closing=0.4")).status_code == 200


async def test_given_up_at_any_moment_it_is_done_as_told_or_not_at_all(
    url: str, engine: AsyncEngine
) -> None:
    """Each moment between checkout and answer is met by some of these."""
    uow, seed = PostgresUnitOfWork(engine), random.Random(7)  # noqa: S311
    outcomes: Counter[int] = Counter()
    told: set[str] = set()

    async def one() -> None:
        # Commits are waited for: what is in doubt after that may be told as failed, and be done.
        async with client_of(uow, 10 ** seed.uniform(-2.5, -0.3), 20) as client:
            answer = await client.get("/add")
            outcomes[answer.status_code] += 1
            if answer.status_code == 200:
                told.add(answer.text)

    for _ in range(20):
        await asyncio.gather(*(one() for _ in range(8)))
    assert set(outcomes) == {200, 503}, outcomes
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.checkedout() == 0
    await asyncio.sleep(0.2)
    assert await busy(url) == 0
    connection = await asyncpg.connect(to_dsn(url))
    added = {str(row["id"]) for row in await connection.fetch("SELECT id FROM accounts")}
    noted = {str(row["subject"]) for row in await connection.fetch("SELECT * FROM audit_events")}
    await connection.close()
    assert added == noted, "all of a transaction or nothing"
    assert added == told, "nothing was done that was told as failed"


@pytest.fixture
def its_database(service: Service) -> str:
    url = running(service.folder / "postgres")
    assert url is not None
    return url


async def test_a_locked_table_is_503_in_time_and_stays_without_effect(
    service: Service, its_database: str
) -> None:
    keyed = {"Idempotency-Key": "once"}
    body = {"username": "held", "email": "held@example.com", "password": PASSWORD}
    login = {"login": "held", "password": PASSWORD}
    async with httpx2.AsyncClient(base_url=service.url, timeout=30) as client:
        async with locked(its_database):
            before = time.monotonic()
            answers = await asyncio.gather(
                *(client.post("/v1/register", json=body, headers=keyed) for _ in range(3)),
                *(client.post("/v1/sessions", json=login) for _ in range(20)),
                client.get("/livez"),
            )
            assert time.monotonic() - before < 6
        refused = [answer for answer in answers if answer.status_code == 503]
        assert len(refused) == 23, [answer.status_code for answer in answers]
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        statuses = [
            (await client.post("/v1/register", json=body, headers=keyed)).status_code
            for _ in range(2)
        ]
        assert statuses == [202, 202]
        answers = await asyncio.gather(
            *(client.post("/v1/sessions", json=login) for _ in range(20))
        )
        # Right, but the address is not proven yet.
        assert Counter(answer.status_code for answer in answers) == {403: 20}


def test_rubbish_is_told_so_and_the_next_connection_works(service: Service) -> None:
    logged = len(service.log())
    for sent in (b"\x00\x01\x02\r\n\r\n", GET + b"rubbish\r\n\r\n", CHUNKED + b"zz\r\n"):
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as raw:
            raw.sendall(sent)
            said = b""
            while piece := raw.recv(4096):
                said += piece
        last = said.rpartition(b"HTTP/1.1 ")[2]
        assert last[:3] == (b"200" if sent.startswith(GET) else b"400")
    assert httpx2.get(f"{service.url}/livez").status_code == 200
    assert "Traceback" not in service.log()[logged:]
