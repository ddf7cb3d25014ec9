"""Celery as the engine that does the jobs: its messages carry which, and come with no result.

Importing this module needs the extra `celery`.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from celery import Celery
from kombu.entity import Queue

from ..domain.errors import Unavailable

TASK = QUEUE = "gatepost.jobs"
_SECONDS = 2.0
# RabbitMQ's highest, at which ours with the highest priority goes.
_HIGHEST, _OURS = 9, 20

Do = Callable[[int, UUID], Awaitable[None]]
Opened = Callable[[], AbstractAsyncContextManager[Do]]


def make_app(url: str, open_jobs: Opened | None = None) -> Celery:
    """Make the Celery application; nothing is connected yet. Only workers need `open_jobs`."""
    app = Celery("gatepost", broker=url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_queues=[Queue(QUEUE, max_priority=_HIGHEST)],  # type: ignore[no-untyped-call]
        # A message that comes again finds its job begun, and does nothing: PostgreSQL decides
        # whether a job is tried again, and when.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # Whoever publishes tells at once that he cannot, and keeps the job.
        task_publish_retry=False,
        broker_connection_timeout=_SECONDS,
        broker_connection_retry_on_startup=True,
    )
    if open_jobs is not None:
        hands = _Hands(open_jobs)

        @app.task(name=TASK)  # type: ignore[untyped-decorator]
        def do(row: int, relay: str, name: str, job_id: str) -> None:
            hands.do(row, UUID(relay))

    return app


def _is_redis(url: str) -> bool:
    return url.startswith(("redis", "unix"))


class CeleryPublisher:
    """Sends messages, one at a time, and gives up soon; `close` at the end."""

    def __init__(self, url: str) -> None:
        self._app = make_app(url)
        self._app.conf.broker_transport_options = {"max_retries": 0} | (
            {"socket_connect_timeout": _SECONDS, "socket_timeout": _SECONDS}
            if _is_redis(url)
            else {"confirm_publish": True, "read_timeout": _SECONDS, "write_timeout": _SECONDS}
        )
        self._urgent_is_low = _is_redis(url)
        self._thread = ThreadPoolExecutor(1, "celery-publisher")

    async def publish(
        self, *, row: int, relay: UUID, name: str, job_id: str, priority: int, seconds: float
    ) -> None:
        """Send one, which is of no use after so many seconds; raises Unavailable."""
        scaled = min(_HIGHEST, priority * _HIGHEST // _OURS)

        def send() -> None:
            self._app.send_task(
                TASK,
                args=(row, str(relay), name, job_id),
                task_id=job_id,
                priority=_HIGHEST - scaled if self._urgent_is_low else scaled,
                # RabbitMQ drops it by itself; Redis knows nothing of that.
                expiration=seconds,
            )

        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, send)
        # Each transport has errors of its own; after any of them the message may not be there.
        except Exception as error:
            raise Unavailable from error

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._app.close()


class _Hands:
    """Runs coroutines for the tasks of this process, on one loop in a thread beside them.

    It begins with the first task: a pool forks its processes before. What was opened stays open.
    """

    def __init__(self, open_jobs: Opened) -> None:
        self._open_jobs = open_jobs
        self._lock = threading.Lock()
        self._live: tuple[asyncio.AbstractEventLoop, Do] | None = None

    def do(self, row: int, relay: UUID) -> None:
        loop, do = self._opened()

        async def done() -> None:
            await do(row, relay)

        asyncio.run_coroutine_threadsafe(done(), loop).result()

    def _opened(self) -> tuple[asyncio.AbstractEventLoop, Do]:
        with self._lock:
            if self._live is None:
                live: Future[tuple[asyncio.AbstractEventLoop, Do]] = Future()
                threading.Thread(
                    target=lambda: asyncio.run(self._stay_open(live)), daemon=True
                ).start()
                self._live = live.result()
            return self._live

    async def _stay_open(self, live: Future[tuple[asyncio.AbstractEventLoop, Do]]) -> None:
        try:
            async with self._open_jobs() as do:
                live.set_result((asyncio.get_running_loop(), do))
                await asyncio.Event().wait()
        except Exception as failed:
            # What cannot be opened now is tried again by the next task.
            live.set_exception(failed)
