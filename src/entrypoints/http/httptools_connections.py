"""Connections read with httptools, which is not to be had everywhere."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .connections import Awaited, Bounded
from .errors import ProblemType


class HttpToolsConnection(Bounded, HttpToolsProtocol):
    """Told by the parser what comes next; by itself it takes headers of any size."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._awaited is not Awaited.HEAD:
            self._await(Awaited.HEAD)
            # What came in the same piece belongs to the request before.
            self._head = -self._came

    def on_headers_complete(self) -> None:
        if max(self._head, 0) + self._came > self.limits.head_bytes and self._is_head_too_large():
            self._head = self.limits.head_bytes + 1
            raise ValueError
        self._await(Awaited.BODY)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._await(Awaited.NOTHING)
        super().on_message_complete()

    def _refuse(self, type_: ProblemType) -> None:
        if self.pipeline and self.cycle.more_body:
            self._refuse_in_turn(type_)
        else:
            super()._refuse(type_)

    def _refuse_in_turn(self, type_: ProblemType) -> None:
        """Let a request that waits behind others be answered after them: answers have no names."""
        cycle = self.cycle

        async def refuse(*_: object) -> None:
            # The server itself would answer in place of an application that does not.
            cycle.disconnected = True
            super(HttpToolsConnection, self)._refuse(type_)

        self.pipeline[0] = cycle, refuse

    def _is_head_too_large(self) -> bool:
        sizes = (len(name) + len(value) for name, value in self.headers)
        return len(self.url) + sum(sizes) > self.limits.head_bytes
