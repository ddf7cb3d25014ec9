"""What an operation costs with ten thousand accounts, and with ten million.

`python -m benchmarks.growth 10000 1000000 10000000`: for each size a fresh PostgreSQL is filled
with COPY; every account has a session, and two entries in the audit trail. Cost is the CPU time of
this process, which answers, and of PostgreSQL.
"""

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx2

from gatepost.adapters.argon2 import Argon2PasswordHasher
from gatepost.adapters.embedded import start
from gatepost.adapters.postgres.migrate import upgrade
from gatepost.domain.audit import ClientContext
from gatepost.domain.roles import Principal
from gatepost.entrypoints.container import open_gatepost
from gatepost.entrypoints.http.app import create_app
from gatepost.entrypoints.settings import load
from tests.service import PASSWORD

SETTINGS = {
    "GATEPOST_ACCOUNTS__REQUIRE_VERIFIED_EMAIL": "false",
    "GATEPOST_LIMITS__ENABLED": "false",
    "GATEPOST_PASSWORD__MEMORY_KIB": "8",
    "GATEPOST_PASSWORD__TIME_COST": "1",
    "LOG_LEVEL": "WARNING",
}
TICKS = os.sysconf("SC_CLK_TCK")
CALLS = 1000
BATCH = 20_000
FIRST_DAY = datetime(2025, 1, 1, tzinfo=UTC)
ACCOUNTS = [
    *("id", "username", "username_key", "email", "email_key", "email_verified"),
    *("is_placeholder", "password_hash", "locale", "status", "roles", "created_at", "updated_at"),
]
SESSIONS = [
    *("id", "account_id", "secret_hash", "generation", "created_at", "rotated_at"),
    *("idle_until", "absolute_until"),
]
EVENTS = ["id", "created_at", "type", "result", "actor", "subject"]

Rows = Iterator[tuple[Any, ...]]
Ask = Callable[[], Awaitable[httpx2.Response]]


def id_of(table: int, number: int) -> UUID:
    """Make ids that grow with time, as those of version 7 do."""
    return UUID(int=(number << 64) + (table << 60) + number * 2_654_435_761 % 2**60)


def moment(number: int) -> datetime:
    return FIRST_DAY + timedelta(seconds=number)


def accounts(size: int, password_hash: str) -> Rows:
    for number in range(size):
        name, when = f"user-{number:08}", moment(number)
        address = f"{chr(97 + number % 26)}.{number}@example.com"
        roles = ["staff"] if number % 1000 == 0 else []
        yield (
            id_of(1, number), name, name, address, address, True, False, password_hash, "en",
            "active", roles, when, when,
        )  # fmt: skip


def sessions(size: int) -> Rows:
    until = datetime.now(UTC) + timedelta(days=300)
    for number in range(size):
        when = moment(number)
        owner = id_of(1, number)
        yield id_of(2, number), owner, bytes(32), 0, when, when, until, until


def events(size: int) -> Rows:
    for number in range(2 * size):
        who = id_of(1, number // 2)
        kind = ("account.registered", "session.created")[number % 2]
        yield id_of(3, number), moment(number // 2), kind, "success", who, who


async def fill(url: str, size: int) -> None:
    """Fill the tables with COPY, and let PostgreSQL look at them."""
    hasher = Argon2PasswordHasher(memory_kib=8, time_cost=1)
    password_hash = await hasher.hash(PASSWORD)
    hasher.close()
    connection = await asyncpg.connect(url)
    await connection.execute("SET synchronous_commit = off")
    for table, columns, rows in (
        ("accounts", ACCOUNTS, accounts(size, password_hash)),
        ("sessions", SESSIONS, sessions(size)),
        ("audit_events", EVENTS, events(size)),
    ):
        await connection.copy_records_to_table(table, records=rows, columns=columns)
        await connection.execute(f"VACUUM (FREEZE, ANALYZE) {table}")
    await connection.execute("CHECKPOINT")
    await connection.close()


class Costs:
    """CPU time of this process and of the backends that answer it."""

    def __init__(self, watch: asyncpg.Connection) -> None:
        self._watch = watch

    async def microseconds(self, asks: list[Ask]) -> float:
        before = await self._spent()
        for ask in asks:
            answer = await ask()
            assert answer.is_success, answer.text
        return (await self._spent() - before) / len(asks) * 1_000_000

    async def _spent(self) -> float:
        sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        rows = await self._watch.fetch(f"{sql} AND pid <> pg_backend_pid()")
        return time.process_time() + sum(cpu_seconds(row["pid"]) for row in rows)


def cpu_seconds(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


@asynccontextmanager
async def client(url: str) -> AsyncIterator[tuple[httpx2.AsyncClient, dict[str, str]]]:
    """Open the service on a database, and sign an administrator in."""
    async with open_gatepost(load(database_url=url)) as gatepost:
        await gatepost.administration.create_administrator(
            actor=Principal.operator(),
            username="root",
            email="root@example.com",
            password=PASSWORD,
            client=ClientContext(),
        )
        transport = httpx2.ASGITransport(create_app(gatepost))
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
            signed_in = await http.post("/v1/sessions", json=login("root"))
            yield http, {"Authorization": f"Bearer {signed_in.json()['access_token']}"}


def login(name: str) -> dict[str, str]:
    return {"login": name, "password": PASSWORD}


async def measured(url: str, size: int) -> dict[str, float]:
    """Ask for what is hot, and for what administrators ask, about people by chance."""
    chance = random.Random(size)  # noqa: S311
    people = [chance.randrange(size) for _ in range(CALLS)]
    watch = await asyncpg.connect(url)
    costs, found = Costs(watch), {}
    async with client(url) as (http, admin):
        tokens: list[dict[str, str]] = []

        def entering(number: int) -> Ask:
            async def ask() -> httpx2.Response:
                answer = await http.post("/v1/sessions", json=login(f"user-{number:08}"))
                tokens.append(answer.json())
                return answer

            return ask

        def getting(path: str, headers: dict[str, str]) -> Ask:
            return lambda: http.get(path, headers=headers)

        def refreshing(token: str) -> Ask:
            form = {"refresh_token": token}
            return lambda: http.post("/v1/sessions/refresh", json=form)

        logins = [entering(number) for number in people]
        await costs.microseconds(logins[:50])
        tokens.clear()
        found["log in"] = await costs.microseconds(logins)
        bearers = [{"Authorization": f"Bearer {each['access_token']}"} for each in tokens]
        asked = {
            "me": [getting("/v1/users/me", bearer) for bearer in bearers],
            "refresh": [refreshing(each["refresh_token"]) for each in tokens],
            "list": [getting("/v1/users?limit=50", admin)] * CALLS,
            "search": [getting(f"/v1/users?q=user-{number:08}", admin) for number in people],
            "audit": [
                getting(f"/v1/audit-events?subject={id_of(1, number)}", admin) for number in people
            ],
        }
        for name, asks in asked.items():
            await costs.microseconds(asks[:20] if name != "refresh" else asks[:1])
            found[name] = await costs.microseconds(asks[20:])
    await watch.close()
    return found


def main(sizes: list[int]) -> None:
    os.environ |= SETTINGS
    result: dict[int, dict[str, float]] = {}
    for size in sizes:
        with (
            tempfile.TemporaryDirectory() as folder,
            start(Path(folder) / "postgres") as database,
        ):
            os.environ["GATEPOST_DATA_DIR"] = folder
            began = time.monotonic()
            asyncio.run(upgrade(database.url))
            asyncio.run(fill(database.url, size))
            print(f"{size:,} accounts in {time.monotonic() - began:.0f} s", flush=True)
            result[size] = asyncio.run(measured(database.url, size))
            print(json.dumps({name: round(us) for name, us in result[size].items()}), flush=True)
    first, last = result[sizes[0]], result[sizes[-1]]
    print("| operation | " + " | ".join(f"{size:,}" for size in sizes) + " | ratio |")
    for name in first:
        costs = " | ".join(f"{result[size][name]:.0f} µs" for size in sizes)
        print(f"| {name} | {costs} | {last[name] / first[name]:.2f} |")


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [10_000, 1_000_000])
