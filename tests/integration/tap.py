"""A tap on the wire to PostgreSQL: what the server is asked and does, whichever adapter asks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit, urlunsplit

_WRITES = (b"INSERT", b"UPDATE", b"DELETE")
_TLS_REQUEST = 80877103
_IDLE = b"I"


@dataclass(frozen=True, slots=True)
class Counts:
    """Each round trip is a wait for the server; the commits are those that had something to."""

    round_trips: int = 0
    statements: int = 0
    rows_written: int = 0
    commits: int = 0


class Tap:
    """Passes everything on, and reads the messages of both sides (protocol 3, section 55.7)."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self.url = ""
        self.texts: set[bytes] = set()
        self.reset()

    def reset(self) -> None:
        self.round_trips = self.statements = self.rows_written = self.commits = 0

    @property
    def counts(self) -> Counts:
        return Counts(self.round_trips, self.statements, self.rows_written, self.commits)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Tap"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        who, at, _ = self._parts.netloc.rpartition("@")
        self.url = urlunsplit(self._parts._replace(netloc=f"{who}{at}127.0.0.1:{port}", query=""))
        try:
            yield self
        finally:
            server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await self._connect()
        tapped = _Tapped(self)
        await asyncio.gather(
            _pass_on(tapped.asking(reader), asks), _pass_on(tapped.answering(answers), writer)
        )

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        given = {name: values[0] for name, values in parse_qs(self._parts.query).items()}
        host = given.get("host", self._parts.hostname or "127.0.0.1")
        port = int(given.get("port", self._parts.port or 5432))
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)


class _Tapped:
    """One connection: which statement runs, and whether its transaction has written."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._written: dict[bytes, int] = {}
        self._running = 0
        self._has_written = False

    async def asking(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        while True:
            # What opens a connection has no kind; after a refusal of TLS it comes again.
            head = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(head, "big") - 4)
            yield head + body
            if int.from_bytes(body[:4], "big") != _TLS_REQUEST:
                break
        while True:
            kind, head, body = await _message(reader)
            if kind == b"Q":
                self._tap.texts.add(body.rstrip(b"\0"))
            elif kind == b"P":
                name, query, _ = body.split(b"\0", 2)
                self._tap.texts.add(query)
                self._written[name] = _most_written(query)
            elif kind == b"B":
                _, name, _ = body.split(b"\0", 2)
                self._running = self._written.get(name, 0)
            yield head + body

    async def answering(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        first = await reader.readexactly(1)
        yield first
        if first != b"N":
            # No answer to a request for TLS, but the first message.
            head = await reader.readexactly(4)
            yield head + await reader.readexactly(int.from_bytes(head, "big") - 4)
        while True:
            kind, head, body = await _message(reader)
            self._note(kind, body)
            yield head + body

    def _note(self, kind: bytes, body: bytes) -> None:
        if kind == b"C":
            tag = body.rstrip(b"\0").split(b" ")
            self._done(tag[0], int(tag[-1]) if tag[0] in _WRITES else 0)
        elif kind == b"s":
            # Asked for one row, the server stops at it and sends no tag.
            self._done(b"", self._running)
        elif kind == b"Z":
            self._tap.round_trips += 1
            if body == _IDLE:
                self._tap.commits += self._has_written
                self._has_written = False

    def _done(self, verb: bytes, written: int) -> None:
        self._tap.statements += 1
        self._tap.rows_written += written
        self._has_written = verb != b"ROLLBACK" and (self._has_written or written > 0)


def _most_written(query: bytes) -> int:
    """Count the rows of a statement that was asked for one: one for each insert in it."""
    verb = query.split(None, 1)[0].upper()
    return query.count(b"INSERT INTO") if verb == b"WITH" else int(verb in _WRITES)


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], head, await reader.readexactly(int.from_bytes(head[1:], "big") - 4)


async def _pass_on(messages: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    try:
        async for message in messages:
            writer.write(message)
    except (asyncio.IncompleteReadError, OSError):
        # One side has gone.
        pass
    writer.close()
