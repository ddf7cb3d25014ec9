"""Connections read with h11, where httptools is not to be had."""

from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .connections import Awaited, Bounded


class H11Connection(Bounded, H11Protocol):
    _seen: Any = None

    def handle_events(self) -> None:
        super().handle_events()
        state = self.conn.their_state
        awaited = Awaited.NOTHING
        if state is h11.SEND_BODY:
            awaited = Awaited.BODY
        elif state is h11.IDLE and self.timeout_keep_alive_task is None:
            awaited = Awaited.HEAD
        if awaited is not self._awaited or self.cycle is not self._seen:
            self._seen = self.cycle
            self._await(awaited)
        if awaited is not Awaited.NOTHING:
            # Not only when data came: a request may have waited for the answer to another.
            self._watch()

    def _has_large_head(self) -> bool:
        return len(self.conn.trailing_data[0]) > self.limits.head_bytes
