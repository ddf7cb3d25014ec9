"""People who use the service, at each size of its database."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from benchmarks import seed
from benchmarks.asgi import Direct
from benchmarks.cpu import nanoseconds
from gatepost import Gatepost
from gatepost.domain.audit import ClientContext
from gatepost.domain.roles import Principal
from gatepost.domain.sessions import SessionId
from gatepost.domain.tokens import FIRST_PARTY_CLIENT, AccessClaims, TokenPolicy
from gatepost.entrypoints.container import open_gatepost
from gatepost.entrypoints.http.app import create_app
from gatepost.entrypoints.settings import load
from tests.service import PASSWORD

# How many are active, all of whom ask in each round.
ACTIVE = 60
ADMIN = "root"
Ask = Callable[[], Awaitable[object]]


@dataclass
class Person:
    """Somebody who has an account, and shows the tokens of its session."""

    number: int
    username: str
    access_token: str
    refresh_token: str


@dataclass
class Population:
    """The service with so many accounts."""

    size: int
    url: str
    app: Direct
    watch: asyncpg.Connection
    gatepost: Gatepost
    admin: str = ""
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
        ports = self.gatepost._parts.ports
        who = seed.account_id(number), seed.session_id(number)
        access_token = ports.access_tokens.sign(claims(*who, self.gatepost.policies.tokens))
        # Remembered from now on: a signature costs the same at every size.
        ports.access_tokens.verify(access_token)
        refresh_token = ports.refresh_tokens.seal(seed.claim(number))
        return Person(number, seed.username(number, self.size), access_token, refresh_token)

    def asks(self, operation: str, people: Sequence[Person]) -> list[Ask]:
        return [self._ask(operation, person) for person in people]

    def _ask(self, operation: str, person: Person) -> Ask:
        users, events = "/v1/users?limit=50", "/v1/audit-events?limit=50"
        match operation:
            case "me":
                return lambda: self.app.ask("GET", "/v1/users/me", person.access_token)
            case "refresh":
                return lambda: self._refresh(person)
            case "log in":
                return lambda: self.sign_in(person.username)
            case "list":
                return self._administered(users)
            case "search":
                return self._administered(f"{users}&q={person.username}")
            case "audit":
                return self._administered(f"{events}&subject={seed.account_id(person.number)}")
        return self._administered(events)

    def _administered(self, path: str) -> Ask:
        return lambda: self.app.ask("GET", path, self.admin)

    async def sign_in(self, name: str) -> str:
        """Return an access token."""
        body = {"login": name, "password": PASSWORD}
        answer = await self.app.ask("POST", "/v1/sessions", body=body)
        return str(json.loads(answer)["access_token"])

    async def _refresh(self, person: Person) -> None:
        body = {"refresh_token": person.refresh_token}
        answer = await self.app.ask("POST", "/v1/sessions/refresh", body=body)
        person.refresh_token = json.loads(answer)["refresh_token"]

    async def cost(self, asks: Sequence[Ask]) -> float:
        """Return microseconds of CPU a call."""
        backends = await self.watch.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        pids = [row["pid"] for row in backends]
        before = time.process_time_ns() + sum(map(nanoseconds, pids))
        for ask in asks:
            await ask()
        spent = time.process_time_ns() + sum(map(nanoseconds, pids)) - before
        return spent / len(asks) / 1000

    async def restore(self) -> None:
        """Let the next run find the sessions as they were filled in."""
        await self.watch.execute(
            "UPDATE sessions SET generation = 0 WHERE id = ANY ($1)",
            [seed.session_id(number) for number in self.met],
        )


def claims(account: UUID, session: SessionId, policy: TokenPolicy) -> AccessClaims:
    now = datetime.now(UTC)
    return AccessClaims(
        issuer=policy.issuer,
        audience=policy.audience,
        subject=account,
        session_id=session,
        client_id=FIRST_PARTY_CLIENT,
        scope="account:read account:write",
        roles=("user",),
        token_id=account,
        issued_at=now,
        expires_at=now + policy.access_ttl,
    )


@asynccontextmanager
async def opened(url: str, size: int) -> AsyncIterator[Population]:
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
        people = Population(size, url, Direct(create_app(gatepost)), watch, gatepost)
        people.admin = await people.sign_in(ADMIN)
        people.active = people.meet(ACTIVE)
        try:
            yield people
        finally:
            await people.restore()
            await watch.close()
