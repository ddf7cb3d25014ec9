"""Moments in which giving up would leave nobody knowing what was done."""

import asyncio
from contextlib import AbstractContextManager

_deciding: set[asyncio.Task[object] | None] = set()


class deciding(AbstractContextManager[None]):
    """Mark the current task as waiting for an outcome, as a commit does.

    Whoever sets deadlines lets it wait a little longer: what was done is not to be told as failed.
    """

    __slots__ = ("_task",)

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        _deciding.add(self._task)

    def __exit__(self, *_: object) -> None:
        _deciding.discard(self._task)


def is_deciding(task: asyncio.Task[object] | None) -> bool:
    return task in _deciding
