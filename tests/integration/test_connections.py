"""Connections of slow, silent and broken clients, over sockets and with short limits."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from uvicorn.server import ServerState

from gatepost.adapters.memory import memory_ports
from gatepost.entrypoints.http.connections import (
    Bounded,
    ConnectionLimits,
    connection_class,
)
from gatepost.entrypoints.http.deadlines import Deadline
from gatepost.entrypoints.http.h11_connections import H11Connection
from gatepost.entrypoints.http.httptools_connections import HttpToolsConnection
from gatepost.entrypoints.uvicorn import server
from tests.unit.entrypoints.http.service import OPTIONS, open_service

SHORT = 0.05
LONG = 20.0
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
POST = (
    b"POST /v1/register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 50\r\n\r\n"
)
CHUNKED = POST.replace(b"Content-Length: 50", b"Transfer-Encoding: chunked") + b"5\r\n{    \r\n"
# Answered before its body is read.
UNREAD = POST.replace(b"/v1/register", b"/nope")
PARSERS = (HttpToolsConnection, H11Connection)
Talk = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Server:
    limits: ConnectionLimits
    state: ServerState
    port: int

    @asynccontextmanager
    async def talk(self, sent: bytes = b"") -> AsyncIterator[Talk]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(sent)
            yield reader, writer
        finally:
            writer.close()

    async def said(self, sent: bytes, drip: bytes = b"") -> bytes:
        """Send, go on dripping, and return all that came until the connection was closed."""
        async with self.talk(sent) as (reader, writer):
            dripping = asyncio.create_task(_drip(writer, drip))
            try:
                async with asyncio.timeout(10):
                    return await _read(reader)
            finally:
                dripping.cancel()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Read to the end, which is a reset when something was sent after the last answer."""
    came = b""
    with suppress(ConnectionResetError):
        while piece := await reader.read(4096):
            came += piece
    return came


async def _drip(writer: asyncio.StreamWriter, drip: bytes) -> None:
    while drip:
        await asyncio.sleep(SHORT / 5)
        writer.write(drip)


@asynccontextmanager
async def serving(parser: type[Bounded], limit: float) -> AsyncIterator[Server]:
    limits = replace(
        ConnectionLimits.of(OPTIONS),
        head=Deadline(limit),
        body=Deadline(limit),
        unread=Deadline(limit),
    )
    config = server(await app_with(limit), limits).config
    config.load()
    config.timeout_keep_alive = int(LONG) if limit == LONG else limit  # type: ignore[assignment]
    made, state = type("Connection", (parser,), {"limits": limits}), ServerState()
    loop = asyncio.get_running_loop()

    def connect() -> asyncio.Protocol:
        connection: asyncio.Protocol = made(config, state, {}, loop)
        return connection

    listening = await loop.create_server(connect, "127.0.0.1", 0)
    try:
        yield Server(limits, state, listening.sockets[0].getsockname()[1])
        await ended(state)
        assert [len(each) for each in (limits.head, limits.body, limits.unread)] == [0, 0, 0]
    finally:
        listening.close()
        await listening.wait_closed()


_apps: dict[float, FastAPI] = {}


async def app_with(limit: float) -> FastAPI:
    if limit not in _apps:
        options = replace(OPTIONS, body_seconds=limit, work_seconds=LONG)
        _apps[limit] = (await open_service(options, ports=memory_ports())).app
        add_routes(_apps[limit])
    return _apps[limit]


def add_routes(app: FastAPI) -> None:
    async def slow(request: Request) -> PlainTextResponse:
        await asyncio.sleep(4 * SHORT)
        return PlainTextResponse("slow")

    async def large(request: Request) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield bytes(256 * 1024)
                await asyncio.sleep(0)

        return StreamingResponse(body())

    app.router.add_route("/slow", slow)
    app.router.add_route("/large", large)


async def ended(state: ServerState) -> None:
    """Wait until no connection is open and no request is worked on."""
    for _ in range(1000):
        if not state.connections and not state.tasks:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(state)


@pytest.fixture(params=PARSERS, ids=lambda parser: str(parser.__name__))
async def hasty(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    async with serving(request.param, SHORT) as started:
        yield started


@pytest.fixture(params=PARSERS, ids=lambda parser: str(parser.__name__))
async def patient(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    async with serving(request.param, LONG) as started:
        yield started


def problem_in(said: bytes, status: int, code: str) -> None:
    head, _, body = said.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0].startswith(b"http/1.1 %d " % status), said
    for line in (b"content-type: application/problem+json", b"connection: close"):
        assert line in lines
    assert b"x-content-type-options: nosniff" in lines
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)


def answers(said: bytes) -> list[bytes]:
    return [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]]


async def test_in_14_whoever_says_nothing_is_let_go_without_a_word(hasty: Server) -> None:
    assert await hasty.said(b"") == b""


async def test_in_14_headers_that_drip_are_refused(hasty: Server) -> None:
    problem_in(await hasty.said(GET[:-2], b"X: y\r\n"), 408, "head_too_slow")
    problem_in(await hasty.said(GET[:3]), 408, "head_too_slow")


async def test_in_14_so_are_those_of_a_further_request(hasty: Server) -> None:
    for drip in (b"X: y\r\n", b""):
        said = await hasty.said(GET + GET[:-2], drip)
        # h11 does not tell of a beginning, and goes by the time between two requests.
        assert answers(said) in ([b"200", b"408"], [b"200"])


async def test_in_14_line_breaks_between_requests_hold_no_connection(hasty: Server) -> None:
    said = answers(await hasty.said(GET, b"\r\n"))
    assert said in ([b"200"], [b"200", b"408"], [b"200", b"400"])


async def test_in_14_bodies_that_drip_or_never_end_are_refused(hasty: Server) -> None:
    for sent, drip in ((POST, b" "), (POST, b""), (CHUNKED, b"1\r\n \r\n"), (CHUNKED, b"")):
        problem_in(await hasty.said(sent, drip), 408, "body_too_slow")


async def test_in_14_a_body_that_nobody_reads_holds_no_connection(hasty: Server) -> None:
    for drip in (b" ", b""):
        assert answers(await hasty.said(UNREAD, drip)) == [b"404"]


async def test_in_14_waiting_for_an_answer_is_not_the_fault_of_the_client(hasty: Server) -> None:
    slow = GET.replace(b"/livez", b"/slow")
    for rest in (b"", GET[:9], POST.replace(b"/v1/register", b"/slow")):
        said = await hasty.said(slow + rest)
        assert answers(said)[0] == b"200"
        assert b"slow" in said


async def test_in_14_whoever_does_not_take_an_answer_is_let_go(hasty: Server) -> None:
    async with hasty.talk(GET.replace(b"/livez", b"/large")) as (reader, _):
        await reader.readexactly(15)
        await ended(hasty.state)


async def test_a_connection_that_was_reset_while_idle_is_forgotten_at_once(hasty: Server) -> None:
    async with hasty.talk(GET) as (reader, writer):
        await reader.readuntil(b"}")
        # Closing sends a reset, as it does for a client that crashed.
        lingering = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
        writer.transport.abort()
    await ended(hasty.state)
    held = []
    for _ in range(10):
        await asyncio.sleep(SHORT / 5)
        held.append(len(hasty.limits.unread))
    assert set(held) == {0}


async def test_in_14_honest_ones_are_served_beside_many_that_drip(patient: Server) -> None:
    held = [await asyncio.open_connection("127.0.0.1", patient.port) for _ in range(40)]
    for _, writer in held:
        writer.write(GET[:9])
    async with patient.talk(GET) as (reader, writer):
        for _ in range(3):
            assert (await reader.readuntil(b"live"))[:15] == b"HTTP/1.1 200 OK"
            await reader.readuntil(b"}")
            writer.write(GET)
        assert len(patient.state.connections) == 41
    for _, writer in held:
        writer.close()


async def test_a_request_may_come_in_pieces(patient: Server) -> None:
    async with patient.talk() as (reader, writer):
        for sent in (GET, POST + b"{" + b" " * 48 + b"}", GET):
            for at in range(0, len(sent), 7):
                writer.write(sent[at : at + 7])
                await asyncio.sleep(0)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            assert head[9:12] == (b"422" if sent[:4] == b"POST" else b"200")
        writer.write(GET.replace(b"Host", b"Connection: close\r\nHost"))
        assert answers(await reader.read()) == [b"200"]


async def test_what_is_no_request_gets_a_problem(patient: Server) -> None:
    for sent in (b"\x16\x03\x01 rubbish\r\n\r\n", b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n"):
        problem_in(await patient.said(sent), 400, "malformed_request")
    problem_in(await patient.said(CHUNKED + b"zzz\r\n"), 400, "malformed_request")


async def test_rubbish_behind_a_request_does_not_spoil_its_answer(patient: Server) -> None:
    said = await patient.said(GET.replace(b"/livez", b"/slow") + b"\x00rubbish\r\n\r\n")
    assert answers(said)[0] == b"200"
    assert b"slow" in said


async def test_rubbish_in_a_body_that_waits_does_not_take_the_place_of_an_earlier_answer(
    patient: Server,
) -> None:
    slow = GET.replace(b"/livez", b"/slow")
    said = await patient.said(slow + slow + CHUNKED + b"zzz\r\n")
    assert answers(said) == [b"200", b"200", b"400"]
    assert said.count(b"slow") == 2


async def test_headers_beyond_the_limit_are_not_read_on_behind_a_request(patient: Server) -> None:
    async with patient.talk(GET.replace(b"/livez", b"/slow") + GET[:-2]) as (reader, writer):
        for _ in range(64):
            writer.write(b"X: " + b"y" * 65_000 + b"\r\n")
        await reader.readuntil(b"slow")
        assert writer.transport.get_write_buffer_size() > 0
        assert answers(await _read(reader)) in ([], [b"431"])


async def test_headers_beyond_the_limit_are_refused(patient: Server) -> None:
    large = GET[:-2] + b"X: " + b"y" * 40_000
    said = await patient.said(large, b"y" * 1000)
    assert answers(said) in ([b"431"], [b"400"])
    fitting = GET[:-2] + b"X: " + b"y" * 20_000 + b"\r\nConnection: close\r\n\r\n"
    assert answers(await patient.said(fitting)) == [b"200"]


@pytest.mark.parametrize("before", [b"", GET])
async def test_headers_beyond_the_limit_are_refused_in_one_piece_too(before: bytes) -> None:
    async with serving(HttpToolsConnection, LONG) as patient:
        large = GET[:-2] + b"X: " + b"y" * 40_000 + b"\r\n\r\n"
        async with patient.talk(before) as (reader, writer):
            if before:
                await reader.readuntil(b"}")
            writer.write(large)
            problem_in(await reader.read(), 431, "head_too_large")


def test_the_faster_parser_is_taken_where_it_is() -> None:
    assert issubclass(connection_class(ConnectionLimits.of(OPTIONS)), HttpToolsConnection)
