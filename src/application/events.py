"""Events on their way out: queued with the change, told by a worker after the commit."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from uuid import UUID

from ..domain.dataclasses import dataclass
from ..domain.events import DomainEvent, data_of, event_from
from .ports.delivery import Job, JobName
from .ports.security import Cipher
from .ports.storage import Transaction
from .sealed_jobs import sealed_job, unseal

Subscriber = Callable[[DomainEvent], Awaitable[None]]
"""Told of every event, by the worker, at least once: idempotent by `event.id`.

What it raises brings the event again later, to all subscribers of the process.
"""


@dataclass(frozen=True, slots=True)
class Outbox:
    """Queues events in the caller's transaction, so that none is lost and none is false."""

    cipher: Cipher
    has_subscribers: bool

    async def put(self, tx: Transaction, event: DomainEvent, *, is_hidden: bool) -> None:
        """Queue an event, or a job of the same cost that tells nobody.

        What subscribers are to hear bears a name that a worker without any leaves alone.
        """
        name = JobName.TELL_SUBSCRIBERS if self.has_subscribers else JobName.PUBLISH_EVENT
        values: dict[str, str | None] = {
            "name": None if is_hidden else event.name,
            "occurred_at": event.occurred_at.isoformat(),
            "data": json.dumps(data_of(event)),
        }
        await tx.jobs.enqueue(sealed_job(self.cipher, event.id, name, values))


@dataclass(frozen=True, slots=True)
class PublishEvent:
    """Tell a queued event to all subscribers at once.

    One that fails, or hangs until the job's deadline, keeps no other from hearing it.
    """

    cipher: Cipher
    subscribers: Sequence[Subscriber]

    async def __call__(self, job: Job) -> None:
        event = _event(job.id, unseal(self.cipher, job))
        if event is None:
            return
        from asyncio import gather

        told = (_tell(subscriber, event) for subscriber in self.subscribers)
        for result in await gather(*told, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


async def _tell(subscriber: Subscriber, event: DomainEvent) -> None:
    # In here also what is raised before there is anything to await is its own failure.
    await subscriber(event)


def _event(event_id: UUID, values: dict[str, str | None]) -> DomainEvent | None:
    name = values["name"]
    if name is None:
        return None
    occurred_at = datetime.fromisoformat(values["occurred_at"] or "")
    return event_from(name, event_id, occurred_at, json.loads(values["data"] or ""))
