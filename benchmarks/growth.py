"""What an operation costs with ten thousand accounts, and with ten million.

`python -m benchmarks.growth 10000 1000000 10000000`: a database for each size in one PostgreSQL,
each served in turn by an application of its own in this process. Cost is the CPU time of this
process, which answers, and of the PostgreSQL that answers it.

As many people are active at each size, and have been here before: their pages are in memory, as
those of active people are. What it costs to meet somebody for the first time stands beside it.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from benchmarks import plans, seed
from benchmarks.cpu import nanoseconds
from benchmarks.macro import facts
from benchmarks.plot import bars
from gatepost import Gatepost
from gatepost.adapters.embedded import EmbeddedPostgres
from gatepost.application.ports.delivery import Grant
from gatepost.domain.accounts import AccountId
from gatepost.domain.audit import ClientContext
from gatepost.domain.roles import Principal
from gatepost.entrypoints.container import open_gatepost
from gatepost.entrypoints.http.app import create_app
from gatepost.entrypoints.settings import load
from gatepost.testing.builders import a_session, an_account
from tests.service import PASSWORD

SETTINGS = {
    "GATEPOST_ACCOUNTS__REQUIRE_VERIFIED_EMAIL": "false",
    "GATEPOST_LIMITS__ENABLED": "false",
    "GATEPOST_PASSWORD__MEMORY_KIB": "8",
    "GATEPOST_PASSWORD__TIME_COST": "1",
    "LOG_LEVEL": "WARNING",
}
# People who are active, all of whom ask in each round; and those who then come for the first time.
ACTIVE, NEW = 100, 50
ADMIN = "root"
PERSONAL = ("me", "refresh", "log in", "search", "audit")
OPERATIONS = (*PERSONAL, "list", "newest of the trail")
Ask = Callable[[], Awaitable[httpx2.Response]]
Found = dict[str, dict[int, list[float]]]


@dataclass
class Person:
    """Somebody who has an account, and shows the tokens of its session."""

    number: int
    username: str
    access_token: str
    refresh_token: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}


@dataclass
class Town:
    """The service with so many accounts."""

    size: int
    url: str
    http: httpx2.AsyncClient
    watch: asyncpg.Connection
    gatepost: Gatepost
    admin: dict[str, str] = field(default_factory=dict)
    met: list[int] = field(default_factory=list)
    active: list[Person] = field(default_factory=list)
    strangers: int = 0

    def meet(self, many: int) -> list[Person]:
        """Bring people that nobody has seen since the database was filled, if there are any."""
        # Spread over all of the tables, in an order of chance; the same each time.
        found = [(self.strangers + n) * 7_919 % self.size for n in range(many)]
        self.strangers += many
        self.met += found
        return [self._person(number) for number in found]

    def _person(self, number: int) -> Person:
        parts, now = self.gatepost._parts, datetime.now(UTC)
        account = replace(an_account(), id=AccountId(seed.account_id(number)))
        session = replace(a_session(account, now=now), id=seed.session_id(number))
        sealed = parts.ports.refresh_tokens.seal(seed.claim(number))
        scopes = ("account:read", "account:write")
        tokens = parts.issuer.issue(account, session, sealed, now, scopes, Grant.PASSWORD)
        # Remembered from now on: a signature costs the same at every size.
        parts.ports.access_tokens.verify(tokens.access_token)
        name = seed.username(number, self.size)
        return Person(number, name, tokens.access_token, tokens.refresh_token)

    def asks(self, operation: str, people: Sequence[Person]) -> list[Ask]:
        return [self._ask(operation, person) for person in people]

    def _ask(self, operation: str, person: Person) -> Ask:
        users, events = "/v1/users?limit=50", "/v1/audit-events?limit=50"
        match operation:
            case "me":
                return lambda: self.http.get("/v1/users/me", headers=person.bearer)
            case "refresh":
                return lambda: self._refresh(person)
            case "log in":
                return lambda: self.http.post("/v1/sessions", json=login(person.username))
            case "list":
                return self._administered(users)
            case "search":
                return self._administered(f"{users}&q={person.username}")
            case "audit":
                return self._administered(f"{events}&subject={seed.account_id(person.number)}")
        return self._administered(events)

    def _administered(self, path: str) -> Ask:
        return lambda: self.http.get(path, headers=self.admin)

    async def _refresh(self, person: Person) -> httpx2.Response:
        form = {"refresh_token": person.refresh_token}
        answer = await self.http.post("/v1/sessions/refresh", json=form)
        person.refresh_token = answer.json().get("refresh_token", "")
        return answer

    async def cost(self, asks: Sequence[Ask]) -> float:
        """Return microseconds of CPU a call."""
        backends = await self.watch.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        pids = [row["pid"] for row in backends]
        before = time.process_time_ns() + sum(map(nanoseconds, pids))
        for ask in asks:
            answer = await ask()
            assert answer.is_success, answer.text
        spent = time.process_time_ns() + sum(map(nanoseconds, pids)) - before
        return spent / len(asks) / 1000

    async def restore(self) -> None:
        """Let the next run find the sessions as they were filled in."""
        await self.watch.execute(
            "UPDATE sessions SET generation = 0 WHERE id = ANY ($1)",
            [seed.session_id(number) for number in self.met],
        )


def login(name: str) -> dict[str, str]:
    return {"login": name, "password": PASSWORD}


@asynccontextmanager
async def opened(url: str, size: int) -> AsyncIterator[Town]:
    """Open the service on a database, sign an administrator in, and let the active come once."""
    watch = await asyncpg.connect(url)
    async with open_gatepost(load(database_url=url)) as gatepost:
        if not await watch.fetchval("SELECT true FROM accounts WHERE username_key = $1", ADMIN):
            await gatepost.administration.create_administrator(
                actor=Principal.operator(),
                username=ADMIN,
                email=f"{ADMIN}@example.com",
                password=PASSWORD,
                client=ClientContext(),
            )
        transport = httpx2.ASGITransport(create_app(gatepost))
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
            town = Town(size, url, http, watch, gatepost)
            signed_in = await http.post("/v1/sessions", json=login(ADMIN))
            town.admin = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
            town.active = town.meet(ACTIVE)
            try:
                yield town
            finally:
                await town.restore()
                await watch.close()


async def compared(towns: Sequence[Town], rounds: int) -> Found:
    """Ask all sizes in turn in each round: what else the machine does meets all of them."""
    found: Found = {}
    for turn in range(-1, rounds):
        for operation in OPERATIONS:
            for town in random.sample(towns, len(towns)):
                spent = {operation: await town.cost(town.asks(operation, town.active))}
                if operation in PERSONAL:
                    asks = town.asks(operation, town.meet(NEW))
                    spent[f"{operation}, first time"] = await town.cost(asks)
                # The round before the first makes ready: statements, pages, connections.
                for name, cost in spent.items() if turn >= 0 else ():
                    found.setdefault(name, {}).setdefault(town.size, []).append(cost)
        print(f"round {turn + 1} of {rounds}", flush=True)
    return found


def judged(found: Found, sizes: Sequence[int]) -> dict[str, Any]:
    """Form ratios to the smallest size inside of each round."""
    return {
        name: {
            "microseconds": {size: spread(costs[size]) for size in sizes},
            "ratio": {
                size: spread([ours / least for ours, least in zip(*pair, strict=True)])
                for size in sizes[1:]
                for pair in [(costs[size], costs[sizes[0]])]
            },
        }
        for name, costs in found.items()
    }


def spread(values: Sequence[float]) -> list[float]:
    return [round(each, 3) for each in (min(values), statistics.median(values), max(values))]


async def measured(urls: dict[int, str], rounds: int) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        towns = [await stack.enter_async_context(opened(url, size)) for size, url in urls.items()]
        sizes = {
            town.size: await town.watch.fetchval("SELECT pg_database_size(current_database())")
            for town in towns
        }
        found = await compared(towns, rounds)
    return {"machine": facts(), "bytes": sizes, "operations": judged(found, list(urls))}


def table(result: dict[str, Any]) -> str:
    sizes = list(result["bytes"])
    lines = [
        "| operation | " + " | ".join(f"{size:,}" for size in sizes) + " | ratio |",
        "| --- |" + " --- |" * (len(sizes) + 1),
    ]
    for name, each in result["operations"].items():
        costs = " | ".join(f"{each['microseconds'][size][1]:,.0f} µs" for size in sizes)
        low, middle, high = each["ratio"][sizes[-1]]
        lines.append(f"| {name} | {costs} | {middle:.2f} [{low:.2f}-{high:.2f}] |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--into", type=Path, default=Path(".gatepost/bench"))
    parser.add_argument("--data", type=Path, help="keep the databases here, for the next run")
    parser.add_argument("--plans", type=Path, help="write the plans at the last size here")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder)
        os.environ |= SETTINGS | {"GATEPOST_DATA_DIR": str(data / "service")}
        with seed.cluster(data / "postgres") as server:
            urls = {size: filled(server, size) for size in options.sizes}
            result = asyncio.run(measured(urls, options.rounds))
            if options.plans:
                size = options.sizes[-1]
                options.plans.write_text(asyncio.run(plans.page(urls[size], size)))
    (options.into / "growth.json").write_text(json.dumps(result, indent=2) + "\n")
    last, title = (
        options.sizes[-1],
        f"CPU time with {options.sizes[-1]:,} accounts, in times of {options.sizes[0]:,}",
    )
    ratios = {name: each["ratio"][last] for name, each in result["operations"].items()}
    (options.into / "growth.svg").write_text(bars(title, ratios, ".2f"))
    print(table(result))


def filled(server: EmbeddedPostgres, size: int) -> str:
    began = time.monotonic()
    url = asyncio.run(seed.database(server, size))
    print(f"{size:,} accounts in {time.monotonic() - began:.0f} s", flush=True)
    return url


if __name__ == "__main__":
    main()
