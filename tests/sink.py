"""A small mail server that keeps what it is sent, and misbehaves where it is told to."""

import asyncio
import base64
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Instead of a reply: say nothing more, or hang up.
HANG, CUT = "hang", "cut"

# Asked with the command (`CONNECT`, `MAIL`, ... and `END` after a message, already kept) and its
# argument, or the recipient at `DATA` and `END`; None stands for the ordinary reply.
Answer = Callable[[str, str], str | None]


@dataclass(frozen=True, slots=True)
class Received:
    sender: str
    recipient: str
    data: bytes
    encrypted: bool


class _Over(Exception):
    """The connection is done with."""


@dataclass
class Sink:
    answer: Answer = lambda command, argument: None
    certificate: Path | None = None
    implicit_tls: bool = False
    users: Mapping[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    commands: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Sink"]:
        tls = self.tls() if self.implicit_tls else None
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            yield self
        finally:
            server.close()
            self.hang_up()
            self.released.set()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reached(self, recipients: int) -> None:
        """Wait until so many have mail."""
        while len({each.recipient for each in self.received}) < recipients:
            self.arrival.clear()
            await self.arrival.wait()

    def hang_up(self) -> None:
        """End every connection without a word."""
        for writer in list(self._open):
            writer.transport.abort()

    def tls(self) -> ssl.SSLContext:
        assert self.certificate is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        return context

    def url(self, scheme: str = "smtp", login: str = "") -> str:
        return f"{scheme}://{login}{'@' if login else ''}127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await _Conversation(self, reader, writer, self.implicit_tls).hold()
        except (_Over, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            self.at_once -= 1
            writer.close()


@dataclass
class _Conversation:
    sink: Sink
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    encrypted: bool
    sender: str = ""
    recipient: str = ""
    signed_in: bool = False

    async def hold(self) -> None:
        await self._reply("CONNECT", "", "220 sink.example.com ESMTP")
        while line := await self.reader.readline():
            verb, _, argument = line.decode().strip().partition(" ")
            await self._take(verb.upper(), argument)

    async def _take(self, verb: str, argument: str) -> None:
        own: dict[str, Callable[[str], Awaitable[None]]] = {
            "STARTTLS": self._encrypt,
            "MAIL": self._begin,
            "RCPT": self._address,
            "DATA": self._message,
            "QUIT": self._end,
        }
        if verb in own:
            await own[verb](argument)
        elif verb == "EHLO":
            await self._reply(verb, argument, self._greeting())
        elif verb == "AUTH":
            await self._reply(verb, argument, self._checked(argument))
        else:
            await self._reply(
                verb, argument, "250 ok" if verb in ("RSET", "NOOP") else "502 what?"
            )

    async def _encrypt(self, argument: str) -> None:
        await self._reply("STARTTLS", argument, "220 go ahead")
        plain = self.writer.transport
        try:
            await self.writer.start_tls(self.sink.tls())
        except AttributeError:
            # Gone right after the handshake: asyncio stumbles, and leaves a writer behind that
            # cannot be disposed of.
            self.writer._transport = plain  # type: ignore[attr-defined]
            raise _Over from None
        self.encrypted = True

    async def _begin(self, argument: str) -> None:
        self.sender, self.recipient = _address(argument), ""
        allowed = self.signed_in or not self.sink.users
        await self._reply("MAIL", argument, "250 ok" if allowed else "530 5.7.0 sign in first")

    async def _address(self, argument: str) -> None:
        if (await self._reply("RCPT", _address(argument), "250 ok")).startswith("2"):
            self.recipient = _address(argument)

    async def _end(self, argument: str) -> None:
        await self._reply("QUIT", argument, "221 bye")
        raise _Over

    def _greeting(self) -> str:
        offered = ["250-sink.example.com"]
        if self.sink.certificate and not self.encrypted:
            offered.append("250-STARTTLS")
        if self.sink.users:
            offered.append("250-AUTH PLAIN")
        return "\r\n".join([*offered, "250 HELP"])

    def _checked(self, argument: str) -> str:
        _, user, password = base64.b64decode(argument.split()[1]).decode().split("\0")
        self.signed_in = self.sink.users.get(user) == password
        return "235 welcome" if self.signed_in else "535 5.7.8 no"

    async def _message(self, argument: str) -> None:
        if not self.recipient:
            await self._reply("DATA", "", "503 whom to?")
            return
        if not (await self._reply("DATA", self.recipient, "354 go on")).startswith("3"):
            return
        data = await self.reader.readuntil(b"\r\n.\r\n")
        kept = Received(self.sender, self.recipient, data[:-3], self.encrypted)
        self.sink.received.append(kept)
        self.sink.arrival.set()
        if not (await self._reply("END", self.recipient, "250 taken")).startswith("2"):
            self.sink.received.remove(kept)

    async def _reply(self, command: str, argument: str, usual: str) -> str:
        self.sink.commands[command] += 1
        reply = self.sink.answer(command, argument) or usual
        if reply == HANG:
            await self.sink.released.wait()
            raise _Over
        if reply == CUT:
            self.writer.transport.abort()
            raise _Over
        self.writer.write(reply.encode() + b"\r\n")
        await self.writer.drain()
        return reply


def _address(argument: str) -> str:
    return argument.partition("<")[2].partition(">")[0]


def make_certificate(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 that nobody else vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "sink.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
