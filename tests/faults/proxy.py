"""What stands between two parties of a test, and breaks what passes through."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count

from tests.faults.load import Wire, until
from tests.service import free_port

CHUNK = 65536
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]


class Proxy:
    """Passes bytes on until it is told to cut, freeze, delay or refuse.

    It listens on a port of its own; `connect` opens the other side.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self.port = free_port()
        # Seconds for each way; a round trip takes twice as long.
        self.delay = 0.0
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._ends: set[asyncio.Task[None]] = set()
        self._marked: tuple[bytes, bool] | None = None
        self.struck = asyncio.Event()

    async def accept(self) -> None:
        """Listen, also again after `refuse`."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Listen no more, and cut what there is."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        await asyncio.sleep(0)

    def cut(self) -> None:
        """Break every connection off in the middle; new ones pass."""
        for writer in self._open:
            writer.transport.abort()

    def cut_at(self, mark: bytes, *, passed_on: bool) -> None:
        """Break the next connection that says `mark`, before or after that is `passed_on`."""
        self.struck.clear()
        self._marked = (mark, passed_on)

    def freeze(self) -> None:
        """Keep connections, and pass nothing on: a network that swallows everything."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def close(self) -> None:
        self.thaw()
        await self.refuse()
        for task in tuple(self._ends):
            task.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)
        self._open.add(writer)
        try:
            with suppress(OSError):
                there_reader, there_writer = await self._connect()
                self._open.add(there_writer)
                try:
                    await self._both(reader, writer, there_reader, there_writer)
                finally:
                    self._open.discard(there_writer)
                    there_writer.transport.abort()
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there_reader: asyncio.StreamReader,
        there_writer: asyncio.StreamWriter,
    ) -> None:
        out = asyncio.create_task(self._pump(reader, there_writer, watched=True))
        back = asyncio.create_task(self._pump(there_reader, writer))
        try:
            await asyncio.wait((out, back), return_when=asyncio.FIRST_COMPLETED)
            # What was on its way still arrives.
            await asyncio.sleep(0)
        finally:
            for task in (out, back):
                task.cancel()
            await asyncio.gather(out, back, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, watched: bool = False
    ) -> None:
        while data := await reader.read(CHUNK):
            await self._flowing.wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            marked = self._marked
            if watched and marked is not None and marked[0] in data:
                self._marked = None
                if marked[1]:
                    writer.write(data)
                    await writer.drain()
                    await asyncio.sleep(0.05)
                self.struck.set()
                return
            writer.write(data)
            await writer.drain()


class Balancer:
    """Shares connections out to those replicas whose `/readyz` says 200, as proxies do."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._ready: list[int] = []
        self._turn = count()
        self._proxy = Proxy(self._connect)
        self._probing: asyncio.Task[None] | None = None
        self.port = self._proxy.port

    async def open(self) -> None:
        await self._look()
        self._probing = asyncio.create_task(self._probe())
        await self._proxy.accept()

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        await self._proxy.close()

    async def has(self, *ports: int) -> None:
        """Wait until exactly these get connections."""

        async def has_them() -> bool:
            return sorted(ports) == sorted(self._ready)

        await until(has_them, 60)

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            await self._look()

    async def _look(self) -> None:
        ready = []
        for port in self._ports:
            wire = Wire(port)
            with suppress(OSError, EOFError, TimeoutError):
                if (await wire.ask("GET", "/readyz", patience=1)).status == 200:
                    ready.append(port)
            wire.close()
        self._ready = ready

    async def _connect(self) -> Streams:
        if not self._ready:
            raise ConnectionRefusedError
        port = self._ready[next(self._turn) % len(self._ready)]
        return await asyncio.open_connection("127.0.0.1", port)
