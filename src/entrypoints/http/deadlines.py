"""How long a request may take: its body to arrive, and the work on it."""

import asyncio
from collections.abc import Callable

from ...application.outcomes import is_deciding
from ...domain.errors import Unavailable
from .errors import BODY_TOO_SLOW, RequestRefused

_COMMIT_SECONDS = 0.5


class Deadline:
    """One length of time for many: whoever began first is due first, so one timer serves all.

    A timer of its own for each request would cost more than some requests do.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, who: object, on_due: Callable[[], None]) -> None:
        """Call `on_due` in time, unless `who` is stopped; who is started again begins again."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # The application was served before by a loop that has ended, and its timer with it.
            self._loop, self._timer = loop, None
            self._due.clear()
        self._due.pop(who, None)
        when = loop.time() + self._seconds
        self._due[who] = when, on_due
        if self._timer is None:
            self._timer = loop.call_at(when, self._look, loop)

    def stop(self, who: object) -> None:
        self._due.pop(who, None)

    def __len__(self) -> int:
        return len(self._due)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        # What is due may start or stop others; until the end this timer counts as set.
        now = loop.time()
        try:
            while self._due:
                who, (when, on_due) = next(iter(self._due.items()))
                if when > now:
                    break
                del self._due[who]
                on_due()
        finally:
            self._timer = None
            if self._due:
                when, _ = next(iter(self._due.values()))
                self._timer = loop.call_at(when, self._look, loop)


class RequestDeadlines:
    """The deadlines that all requests of an application share."""

    def __init__(self, body_seconds: float, work_seconds: float) -> None:
        self.body = Deadline(body_seconds)
        self.work = Deadline(work_seconds)
        self.commit = Deadline(_COMMIT_SECONDS)


class RequestTime:
    """The time of one request, from its headers to the start of its answer.

    When it is up the task is cancelled, which rolls back and closes what it was waiting for, and
    `refusal` says why. Waiting for the body is not work, so that the two never add up.
    """

    __slots__ = ("_before", "_deadlines", "_may_read", "_running", "_task", "refusal")

    def __init__(self, deadlines: RequestDeadlines) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A request is a task.")
        self._task = task
        self._before = task.cancelling()
        self._deadlines = deadlines
        self._may_read = True
        self._running: Deadline | None = None
        self.refusal: RequestRefused | None = None
        self._start(deadlines.work, self._work_is_up)

    def reading(self) -> None:
        """Go over from work to waiting for the body; only the first time counts."""
        if self._may_read:
            self._may_read = False
            self._start(self._deadlines.body, self._body_is_late)

    def read(self) -> None:
        """Go over to work again, with all of its time; the body is there."""
        if self._running is self._deadlines.body:
            self._start(self._deadlines.work, self._work_is_up)

    def stop(self) -> None:
        """Set no deadline any more: an answer has begun, which must not be cut."""
        self._may_read = False
        if self._running is not None:
            self._running.stop(self)
            self._running = None

    def was_cancelled_by_others(self) -> bool:
        """Take back what a deadline cancelled, and tell whether that was not all."""
        return self.refusal is None or self._task.uncancel() > self._before

    def _start(self, deadline: Deadline, on_due: Callable[[], None]) -> None:
        if self._running is not None:
            self._running.stop(self)
        self._running = deadline
        deadline.start(self, on_due)

    def _body_is_late(self) -> None:
        self._give_up(RequestRefused(BODY_TOO_SLOW, headers={"Connection": "close"}))

    def _work_is_up(self) -> None:
        if is_deciding(self._task):
            self._start(self._deadlines.commit, self._commit_is_late)
        else:
            self._commit_is_late()

    def _commit_is_late(self) -> None:
        self._give_up(RequestRefused.because(Unavailable()))

    def _give_up(self, refusal: RequestRefused) -> None:
        self._running = None
        self.refusal = refusal
        self._task.cancel()
