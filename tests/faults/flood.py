"""Logins at a fixed rate, whatever is answered: `python -m tests.faults.flood`.

A process of its own, and a cheap one: its time is taken from the machine that answers. One
request, written beforehand, goes over raw connections, and of an answer only the head is read.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from typing import cast

import uvloop

from tests.faults.load import written
from tests.service import PASSWORD

_TURN_SECONDS = 0.005


class Line(asyncio.Protocol):
    """One kept connection, on which one request is under way or none."""

    def __init__(self, flood: "Flood") -> None:
        self._flood = flood
        self._transport: asyncio.WriteTransport | None = None
        self._came = b""
        self._started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No subclass of asyncio's in the faster loop.
        self._transport = cast(asyncio.WriteTransport, transport)

    def ask(self, request: bytes) -> None:
        assert self._transport is not None
        self._came, self._started = b"", time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        if not end:
            return
        _, _, announced = head.partition(b"content-length: ")
        if len(body) >= int(announced.partition(b"\r\n")[0] or b"0"):
            seconds, self._started = time.perf_counter() - self._started, 0.0
            self._flood.answered(self, head, seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._flood.lost(self, was_asked=bool(self._started))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Flood:
    """Open loop: the next request does not wait for the last."""

    def __init__(self, port: int, login: str) -> None:
        body = {"login": login, "password": PASSWORD}
        self._request = written("POST", "/v1/sessions", body)
        self._port = port
        self._idle: list[Line] = []
        self._busy: set[Line] = set()
        self._again_until = 0.0
        self._in_time = 0
        self._cpu = time.process_time()
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.wrong: Counter[str] = Counter()

    async def pour(self, rate: float, seconds: float) -> None:
        began, sent = time.monotonic(), 0
        while (now := time.monotonic() - began) < seconds:
            while sent < now * rate:
                await self._send()
                sent += 1
            await asyncio.sleep(_TURN_SECONDS)
        self._time_is_up()
        await self._finish()

    async def trickle(self, at_once: int, seconds: float) -> None:
        """Closed loop, for finding out how many there can be."""
        self._again_until = time.monotonic() + seconds
        for _ in range(at_once):
            await self._send()
        await asyncio.sleep(max(0.0, self._again_until - time.monotonic()))
        self._time_is_up()
        await self._finish()

    def answered(self, line: Line, head: bytes, seconds: float) -> None:
        status = head[9:12]
        if status == b"201":
            self.accepted.append(seconds)
        elif status in (b"429", b"503") and b"retry-after: " in head:
            self.refused.append(seconds)
        else:
            self.wrong[f"login: {status.decode()}"] += 1
        if time.monotonic() < self._again_until:
            line.ask(self._request)
        else:
            self._busy.discard(line)
            self._idle.append(line)

    def lost(self, line: Line, *, was_asked: bool) -> None:
        self._busy.discard(line)
        if was_asked:
            self.wrong["login: ConnectionError"] += 1
        elif line in self._idle:
            self._idle.remove(line)

    async def _send(self) -> None:
        if self._idle:
            line = self._idle.pop()
        else:
            loop = asyncio.get_running_loop()
            _, line = await loop.create_connection(lambda: Line(self), "127.0.0.1", self._port)
        self._busy.add(line)
        line.ask(self._request)

    def _time_is_up(self) -> None:
        self._in_time = len(self.accepted)
        self._cpu = time.process_time() - self._cpu

    async def _finish(self) -> None:
        while self._busy:  # noqa: ASYNC110
            await asyncio.sleep(_TURN_SECONDS)

    def told(self) -> str:
        """Say what was seen, for the process that started this one."""
        return json.dumps(
            {
                "requests": len(self.accepted) + len(self.refused) + self.wrong.total(),
                "accepted": self._in_time,
                "refused": self.refused,
                "wrong": self.wrong,
                "slowest": max((*self.accepted, *self.refused), default=0.0),
                "cpu_seconds": self._cpu,
            }
        )

    def close(self) -> None:
        for line in (*self._idle, *self._busy):
            line.close()


async def main(how: str, port: str, login: str, amount: str, seconds: str) -> None:
    flood = Flood(int(port), login)
    if how == "pour":
        await flood.pour(float(amount), float(seconds))
    else:
        await flood.trickle(int(amount), float(seconds))
    print(flood.told())  # noqa: T201
    flood.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
