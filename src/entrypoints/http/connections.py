"""Connections: what slow, silent and broken clients may cost, whichever parser reads them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from ...domain.audit import ClientContext
from .client_address import CLIENT_KEY
from .deadlines import Deadline
from .errors import (
    HEAD_TOO_LARGE,
    HEAD_TOO_SLOW,
    MALFORMED,
    Problems,
    ProblemType,
    RequestRefused,
)
from .middleware import safe_headers
from .options import BODY_SECONDS, HttpOptions

_HEAD_SECONDS = 15.0
# Until a client that does not take its answer is let go: a buffer of 64 KiB must shrink to 16.
_UNREAD_SECONDS = 30.0
_HEAD_BYTES = 32 * 1024


class Awaited(Enum):
    HEAD = "head"
    BODY = "body"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What all connections of a server share; `refusal` writes a whole answer."""

    refusal: Callable[[ProblemType], bytes]
    head: Deadline = field(default_factory=lambda: Deadline(_HEAD_SECONDS))
    body: Deadline = field(default_factory=lambda: Deadline(BODY_SECONDS))
    unread: Deadline = field(default_factory=lambda: Deadline(_UNREAD_SECONDS))
    head_bytes: int = _HEAD_BYTES

    @classmethod
    def of(cls, options: HttpOptions) -> "ConnectionLimits":
        problems, headers = Problems(options.public_url), safe_headers(options)

        def refusal(type_: ProblemType) -> bytes:
            return _written(problems, headers, type_)

        return cls(refusal)


def _written(problems: Problems, headers: list[tuple[bytes, bytes]], type_: ProblemType) -> bytes:
    """Write an answer to what never became a request."""
    client = ClientContext(request_id=str(uuid4()))
    answer = problems.answer({"path": "/", CLIENT_KEY: client}, RequestRefused(type_))
    own = [(b"x-request-id", str(client.request_id).encode()), (b"connection", b"close")]
    lines = [name + b": " + value for name, value in [*answer.raw_headers, *headers, *own]]
    status = HTTPStatus(type_.status)
    start = f"HTTP/1.1 {status.value} {status.phrase}".encode()
    return b"\r\n".join([start, *lines, b"", bytes(answer.body)])


class Bounded(asyncio.Protocol):
    """What is the same for both parsers; most requests come in one piece and set no timer.

    A request whose body is late while its answer is being worked on is refused by the layer, as
    only that can answer; here its connection is closed.
    """

    limits: ConnectionLimits
    transport: asyncio.Transport
    cycle: Any
    timeout_keep_alive_task: asyncio.TimerHandle | None

    _awaited = Awaited.HEAD
    _running: Deadline | None = None
    _has_sent = False
    _came = 0
    _head = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._run()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self.limits.unread.stop(self)
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            # After a reset the server lets it run, and it would hold this connection.
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def data_received(self, data: bytes) -> None:
        self._has_sent = True
        self._came = len(data)
        super().data_received(data)
        if self._awaited is Awaited.HEAD:
            self._count_head()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.limits.unread.start(self, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.limits.unread.stop(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # type: ignore[misc]
        self._see_it_read()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()  # type: ignore[misc]
        self._see_it_read()

    def send_400_response(self, msg: str) -> None:
        """Answer in our own form; called by the parsers for what they cannot read."""
        self._refuse(HEAD_TOO_LARGE if self._has_large_head() else MALFORMED)

    def _see_it_read(self) -> None:
        """Let go of a connection whose last bytes nobody takes: closing waits for that."""
        if self.transport.is_closing():
            self.limits.unread.start(self, self.transport.abort)

    def _has_large_head(self) -> bool:
        return self._awaited is Awaited.HEAD and self._head > self.limits.head_bytes

    def _count_head(self) -> None:
        self._head += self._came
        if self._has_large_head():
            self._refuse(HEAD_TOO_LARGE)

    def _await(self, awaited: Awaited) -> None:
        """Go on to the next part of a request; its time begins with it."""
        self._awaited = awaited
        self._head = 0
        self._stop()

    def _watch(self) -> None:
        """Set a timer for what is awaited now, unless one runs."""
        if self._running is None and (self._awaited is not Awaited.NOTHING or self._is_idle()):
            self._run()

    def _run(self) -> None:
        late = self._awaited is Awaited.BODY
        self._running = self.limits.body if late else self.limits.head
        self._running.start(self, self._body_is_late if late else self._head_is_late)

    def _stop(self) -> None:
        if self._running is not None:
            self._running.stop(self)
            self._running = None

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_idle(self) -> bool:
        """Tell of line breaks between two requests: they end the keep-alive, and begin nothing."""
        return self.timeout_keep_alive_task is None and not self._is_busy()

    def _head_is_late(self) -> None:
        self._running = None
        if self._is_busy():
            # Not the client's fault: reading pauses while an earlier request is answered.
            self._run()
        elif self._has_sent:
            self._refuse(HEAD_TOO_SLOW)
        else:
            self.transport.close()

    def _body_is_late(self) -> None:
        self._running = None
        if self._is_busy():
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _refuse(self, type_: ProblemType) -> None:
        """Answer and close, unless an earlier request is being answered: that one ends first."""
        if self.transport.is_closing():
            return
        if self._is_busy() and not self.cycle.more_body:
            self.cycle.keep_alive = False
            # What cannot become a request is not worth the memory.
            self.transport.pause_reading()
            return
        if not (self._is_busy() and self.cycle.response_started):
            self.transport.write(self.limits.refusal(type_))
        self.transport.close()
        self._see_it_read()


def connection_class(limits: ConnectionLimits) -> type[Bounded]:
    """Make the class of a server's connections, with the faster parser if it is there."""
    parser: type[Bounded]
    try:
        from .httptools_connections import HttpToolsConnection as parser
    except ImportError:
        from .h11_connections import H11Connection as parser
    return type("Connection", (parser,), {"limits": limits})
