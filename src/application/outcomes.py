"""Moments in which giving up would leave nobody knowing what was done."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Task

_deciding: set["Task[object] | None"] = set()


class deciding(AbstractContextManager[None]):
    """Mark the current task as waiting for an outcome, as a commit does.

    Whoever sets deadlines lets it wait a little longer: what was done is not to be told as failed.
    """

    __slots__ = ("_task",)

    def __enter__(self) -> None:
        from asyncio import current_task

        self._task = current_task()
        _deciding.add(self._task)

    def __exit__(self, *_: object) -> None:
        _deciding.discard(self._task)


def is_deciding(task: "Task[object] | None") -> bool:
    return task in _deciding
