"""Cheap clients, and an account of what they were told."""

import asyncio
import json
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.service import PASSWORD

# What a client that is not answered gives up after; nothing in the service takes that long.
PATIENCE = 30.0
BROKEN = (OSError, EOFError)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_documented_refusal(self) -> bool:
        return self.status in (429, 503) and b"retry-after" in self.headers


class Wire:
    """One kept connection; opened when it is needed, and never tried twice."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: str = "",
        patience: float = PATIENCE,
    ) -> Answer:
        """Send a request and read its answer; raises OSError (TimeoutError, too), EOFError."""
        try:
            async with asyncio.timeout(patience):
                return await self._ask(written(method, path, body, token, headers))
        except BaseException:
            self.close()
            raise

    async def _ask(self, request: bytes) -> Answer:
        if self._reader is None or self._reader.at_eof():
            self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._writer is not None
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, headers = _parsed(head)
        body = await self._reader.readexactly(int(headers.get(b"content-length", b"0")))
        if headers.get(b"connection") == b"close":
            self.close()
        return Answer(status, headers, body)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


def written(
    method: str, path: str, body: object = None, token: str | None = None, headers: str = ""
) -> bytes:
    """Write a whole request."""
    content = b"" if body is None else json.dumps(body).encode()
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    kind = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{bearer}{kind}{headers}\r\n"
    return head.encode() + content


def _parsed(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    lines = head[:-4].split(b"\r\n")
    pairs = (line.partition(b":") for line in lines[1:])
    return int(lines[0][9:12]), {name.lower(): value.strip() for name, _, value in pairs}


@dataclass
class Tally:
    """What clients saw: `wrong` is all that is neither right nor a documented refusal."""

    requests: int = 0
    refused: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    # By what was asked for.
    seconds: dict[str, "array[float]"] = field(
        default_factory=lambda: defaultdict(lambda: array("d"))
    )
    last_failure: float = 0.0

    async def ask(
        self,
        kind: str,
        right: int,
        wire: Wire,
        method: str,
        path: str,
        body: object = None,
        **more: Any,
    ) -> Answer | None:
        """Ask and note; return the answer if it was right."""
        started = time.perf_counter()
        outcome: Answer | Exception
        try:
            outcome = await wire.ask(method, path, body, **more)
        except BROKEN as broken:
            outcome = broken
        self.note(kind, started, outcome, right)
        return outcome if isinstance(outcome, Answer) and outcome.status == right else None

    def note(self, kind: str, started: float, outcome: Answer | Exception, right: int) -> None:
        """Judge what a request came to that began at `started` (of `time.perf_counter`)."""
        self.seconds[kind].append(time.perf_counter() - started)
        self.requests += 1
        if isinstance(outcome, Answer) and outcome.status == right:
            return
        self.last_failure = time.monotonic()
        if isinstance(outcome, Answer) and outcome.is_documented_refusal:
            self.refused += 1
            return
        said = outcome.status if isinstance(outcome, Answer) else type(outcome).__name__
        self.wrong[f"{kind}: {said}"] += 1

    @property
    def slowest(self) -> float:
        return max((max(each) for each in self.seconds.values() if each), default=0.0)

    def quantile(self, part: float, *kinds: str) -> float:
        return quantile([s for kind in kinds or self.seconds for s in self.seconds[kind]], part)

    def recovery(self, returned: float) -> float:
        """Seconds from a moment until nothing but right answers came."""
        return max(0.0, self.last_failure - returned)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Wait for what nothing tells of; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else 0.0


class Person:
    """Signs in, reads himself, refreshes, registers others; remembers what he was promised."""

    def __init__(self, port: int, name: str, tally: Tally) -> None:
        self.name, self.tally, self.wire = name, tally, Wire(port)
        self.access = self.refresh_token = ""
        self.promised: list[str] = []
        self._registered = 0

    async def arrive(self) -> None:
        """Register and sign in, while nothing is broken."""
        made = await self.wire.ask("POST", "/v1/register", self.form(self.name))
        assert made.status == 201, made.body
        await self.sign_in()
        assert self.access

    async def sign_in(self) -> bool:
        body = {"login": self.name, "password": PASSWORD}
        answer = await self.tally.ask("login", 201, self.wire, "POST", "/v1/sessions", body)
        return self._keep(answer)

    async def read(self) -> bool:
        path = "/v1/users/me"
        asked = self.tally.ask("me", 200, self.wire, "GET", path, token=self.access)
        return await asked is not None

    async def refresh(self) -> bool:
        body = {"refresh_token": self.refresh_token}
        path = "/v1/sessions/refresh"
        return self._keep(await self.tally.ask("refresh", 200, self.wire, "POST", path, body))

    async def register(self) -> bool:
        self._registered += 1
        name = f"{self.name}-{self._registered}"
        path, body = "/v1/register", self.form(name)
        answer = await self.tally.ask("register", 201, self.wire, "POST", path, body)
        if answer is not None:
            self.promised.append(name)
        return answer is not None

    async def keys(self) -> bool:
        path = "/.well-known/jwks.json"
        return await self.tally.ask("keys", 200, self.wire, "GET", path) is not None

    def _keep(self, answer: Answer | None) -> bool:
        if answer is None:
            return False
        tokens = answer.json()
        self.access, self.refresh_token = tokens["access_token"], tokens["refresh_token"]
        return True

    @staticmethod
    def form(name: str) -> dict[str, str]:
        return {"username": name, "email": f"{name}@example.com", "password": PASSWORD}


Step = Callable[[], Awaitable[bool]]


class Crowd:
    """People at work, each on a connection of his own; nobody asks for everything at once."""

    def __init__(self, port: int, name: str, size: int = 6) -> None:
        self.tally = Tally()
        self.people = [Person(port, f"{name}-{number}", self.tally) for number in range(size)]

    @asynccontextmanager
    async def working(self, pause: float = 0.01) -> AsyncIterator[Tally]:
        for person in self.people:
            if not person.access:
                await person.arrive()
        stop = asyncio.Event()
        work = [asyncio.create_task(self._work(one, stop, pause)) for one in self.people]
        try:
            yield self.tally
        finally:
            stop.set()
            try:
                await asyncio.gather(*work)
            finally:
                self._leave()

    async def _work(self, one: Person, stop: asyncio.Event, pause: float) -> None:
        steps: tuple[Step, ...] = (
            one.read,
            one.register,
            one.read,
            one.keys,
            one.refresh,
            one.read,
            one.sign_in,
        )
        while not stop.is_set():
            for step in steps:
                # Sooner than Retry-After says: the tests look for the moment of recovery.
                await asyncio.sleep(pause if await step() else 0.1)

    @property
    def promised(self) -> list[str]:
        """The names of all accounts that were confirmed."""
        return [name for one in self.people for name in (one.name, *one.promised)]

    async def sessions_lost(self) -> int:
        """Count those whose last confirmed session is no more."""
        lost = sum([not await one.refresh() for one in self.people])
        self._leave()
        return lost

    def _leave(self) -> None:
        for one in self.people:
            one.wire.close()
