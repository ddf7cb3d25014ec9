"""Moments in which giving up would leave nobody knowing what was done."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Task

_deciding: set["Task[object] | None"] = set()


@contextmanager
def deciding() -> Iterator[None]:
    """Mark the current task as waiting for an outcome, as a commit does.

    Whoever sets deadlines lets it wait a little longer: what was done is not to be told as failed.
    """
    from asyncio import current_task

    task = current_task()
    _deciding.add(task)
    try:
        yield
    finally:
        _deciding.discard(task)


def is_deciding(task: "Task[object] | None") -> bool:
    return task in _deciding
