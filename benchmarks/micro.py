"""What each use case costs by itself, on memory adapters, and the hot parts of the adapters.

`make bench` runs it by pytest-benchmark. Times are CPU time a call: of this process, of the
PostgreSQL that answers a statement, of an interpreter that is started. The least is the figure,
as whatever else the machine does only adds to it.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import asyncpg
import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.asgi import Direct
from benchmarks.cpu import nanoseconds
from benchmarks.population import claims
from benchmarks.statements import SQL, Subject, store
from gatepost import Gatepost, Policies, assemble
from gatepost.adapters.cipher import MasterKeys
from gatepost.adapters.embedded import start
from gatepost.adapters.jose import JwtAccessTokens
from gatepost.adapters.memory import memory_ports
from gatepost.adapters.postgres.engine import connect
from gatepost.adapters.postgres.migrate import upgrade
from gatepost.adapters.refresh_tokens import SealedRefreshTokens
from gatepost.domain.accounts import AccountPolicy
from gatepost.domain.audit import AuditFilter, ClientContext
from gatepost.domain.limits import LimitPolicy
from gatepost.domain.roles import Principal
from gatepost.entrypoints.http.app import create_app
from gatepost.entrypoints.http.schemas import User, UserList, json_answer
from gatepost.testing.builders import a_claim, a_session, an_account
from tests.service import PASSWORD

ROUNDS, CALLS, STARTS = 15, 100, 7
CLIENT = ClientContext(ip="192.0.2.1", user_agent="bench", request_id="1")
POLICIES = Policies(
    accounts=AccountPolicy(require_verified_email=False), limits=LimitPolicy(enabled=False)
)
IMPORTS = {
    "nothing": "",
    "the core": "from gatepost import Gatepost",
    "the core on memory": "from gatepost.adapters.memory import memory_ports",
    "the verifier": "import gatepost.verifier",
    "the HTTP application": "import gatepost.entrypoints.http.app",
    "a server": "import gc; gc.disable()\nimport gatepost.entrypoints.cli\n"
    "from gatepost.entrypoints.imports import go_without\n"
    "go_without()\nimport gatepost.entrypoints.logging, gatepost.entrypoints.uvicorn",
}
Call = Callable[[], Awaitable[object]]
Measure = Callable[[Call], None]
backends: set[int] = set()


def seconds_a_call() -> float:
    """Read the clock for batches of CALLS: what is reported is of one."""
    spent = time.process_time_ns() + sum(map(nanoseconds, backends))
    return spent / CALLS / 1e9


def seconds_of_children() -> float:
    spent = getrusage(RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.get_loop()


@pytest.fixture
def measure(benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop) -> Measure:
    async def batch(call: Call) -> None:
        for _ in range(CALLS):
            await call()

    def measured(call: Call) -> None:
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            lambda: loop.run_until_complete(batch(call)), rounds=ROUNDS, warmup_rounds=1
        )

    return measured


def plain(call: Callable[[], object]) -> Call:
    async def asked() -> object:
        return call()

    return asked


async def use_cases(gatepost: Gatepost) -> dict[str, Call]:
    names, operator = count(), Principal.operator()

    async def register(name: str) -> object:
        return await gatepost.accounts.register(
            username=name, email=f"{name}@example.com", password=PASSWORD, client=CLIENT
        )

    async def log_in() -> Any:
        return await gatepost.sessions.log_in(login="ada", password=PASSWORD, client=CLIENT)

    for name in ("ada", *(f"one-{number}" for number in range(50))):
        await register(name)
    refreshed = await log_in()
    token = refreshed.access_token
    ada = await gatepost.sessions.authenticate(access_token=token)

    async def refresh() -> None:
        nonlocal refreshed
        token = refreshed.refresh_token
        refreshed = await gatepost.sessions.refresh(refresh_token=token, client=CLIENT)

    listed, audited = gatepost.administration.list_accounts, AuditFilter(subject=ada.account_id)
    return {
        "authenticate": lambda: gatepost.sessions.authenticate(access_token=token),
        "introspect": lambda: gatepost.oauth.introspect(actor=operator, token=token),
        "refresh": refresh,
        "log in": log_in,
        "register": lambda: register(f"user-{next(names)}"),
        "list accounts": lambda: listed(actor=operator),
        "search": lambda: listed(actor=operator, q="one-4"),
        "audit of one": lambda: gatepost.audit(actor=operator, filter_=audited),
    }


USE_CASES = (
    *("authenticate", "introspect", "refresh", "log in", "register"),
    *("list accounts", "search", "audit of one"),
)


@pytest.mark.benchmark(group="use cases on memory", timer=seconds_a_call)
@pytest.mark.parametrize("name", USE_CASES)
def test_use_case(name: str, measure: Measure, loop: asyncio.AbstractEventLoop) -> None:
    gatepost = assemble(memory_ports(), POLICIES)
    loop.run_until_complete(gatepost.keys.load())
    measure(loop.run_until_complete(use_cases(gatepost))[name])


def parts() -> dict[str, Callable[[], object]]:
    account = an_account()
    session = a_session(account)
    tokens = JwtAccessTokens(POLICIES.tokens, "ES256", lambda: datetime.now(UTC))
    pair = tokens.new_key()
    tokens.install([pair], pair.kid)
    told = claims(account.id, session.id, POLICIES.tokens)
    # Signatures differ each time, so none of these is remembered.
    signed = iter([tokens.sign(told) for _ in range((ROUNDS + 1) * CALLS)])
    token = tokens.sign(told)
    refresh = SealedRefreshTokens(MasterKeys([bytes(range(32))]))
    sealed = refresh.seal(a_claim(session))
    opened = refresh.open(sealed)
    assert opened is not None
    people = UserList.model_construct(items=[User.of(account)] * 50, next_cursor=None)
    return {
        "sign an access token": lambda: tokens.sign(told),
        "check an access token": lambda: tokens.verify(next(signed)),
        "check it again": lambda: tokens.verify(token),
        "open a refresh token": lambda: refresh.open(sealed),
        "make its successor": lambda: refresh.successor(opened),
        "serialise an account": lambda: json_answer(User.of(account)),
        "serialise fifty": lambda: json_answer(people),
    }


@pytest.mark.benchmark(group="tokens, serialising", timer=seconds_a_call)
@pytest.mark.parametrize("name", parts())
def test_part(name: str, measure: Measure) -> None:
    measure(plain(parts()[name]))


@pytest.mark.benchmark(group="HTTP without a socket", timer=seconds_a_call)
@pytest.mark.parametrize("path", ["/livez", "/.well-known/jwks.json"])
def test_answer(path: str, measure: Measure, loop: asyncio.AbstractEventLoop) -> None:
    gatepost = assemble(memory_ports(), POLICIES)
    loop.run_until_complete(gatepost.keys.load())
    app = Direct(create_app(gatepost))
    measure(lambda: app.ask("GET", path))


@pytest.fixture(scope="module")
def database(loop: asyncio.AbstractEventLoop) -> Iterator[asyncpg.Connection]:
    with tempfile.TemporaryDirectory() as folder, start(Path(folder) / "postgres") as server:
        loop.run_until_complete(upgrade(server.url))
        connection = loop.run_until_complete(connect(server.url))
        backends.add(connection.get_server_pid())
        yield connection
        backends.clear()
        loop.run_until_complete(connection.close())


@pytest.mark.benchmark(group="statements, with PostgreSQL", timer=seconds_a_call)
@pytest.mark.parametrize("name", SQL)
def test_statement(
    name: str, measure: Measure, loop: asyncio.AbstractEventLoop, database: asyncpg.Connection
) -> None:
    """Commits are durable: what writes waits for the disk, which costs little of the CPU."""
    account, now = an_account(), datetime.now(UTC)
    subject = Subject(account, a_session(account, now=now))

    async def run() -> object:
        return await database.fetch(SQL[name], *subject.arguments(name))

    loop.run_until_complete(store(database, subject))
    measure(run)


@pytest.mark.benchmark(group="imports, a fresh interpreter each", timer=seconds_of_children)
@pytest.mark.parametrize("what", IMPORTS)
def test_import(what: str, benchmark: BenchmarkFixture) -> None:
    # As installed: bytecode is there, whatever the shell says about writing it.
    command = [sys.executable, "-c", IMPORTS[what]]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: subprocess.run(command, check=True, env=environment),
        rounds=STARTS,
        warmup_rounds=1,
    )
