"""What leads outside: exports, webhooks, and jobs with the worker that does them."""

import asyncio
import json
import random
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID

from gatepost.application.ports.delivery import Job, JobName
from gatepost.application.ports.exports import ExportRepository
from gatepost.application.ports.security import Clock
from gatepost.application.ports.storage import JobQueue
from gatepost.application.ports.webhooks import WebhookRepository
from gatepost.domain.accounts import AccountId
from gatepost.domain.exports import CLOSED, Export, ExportId
from gatepost.domain.jobs import JobFilter, JobRecord, JobState, RetryPolicy
from gatepost.domain.webhooks import Delivery, DeliveryId, DeliveryStatus, Endpoint, EndpointId

from .database import Connection, Rows, marks

if TYPE_CHECKING:
    from . import SqliteStorage

_CLOSED = tuple(CLOSED)
_POLL_SECONDS = 0.01


class SqliteExports(ExportRepository):
    def __init__(self, connection: Connection) -> None:
        self._rows = Rows(connection, "exports", Export)

    async def add(self, export: Export) -> None:
        await self._rows.insert(export)

    async def get(self, export_id: ExportId, *, lock: bool = False) -> Export | None:
        return await self._rows.first("id = ?", export_id)

    async def save(self, export: Export) -> None:
        await self._rows.update(export)

    async def note_progress(self, export_id: ExportId, percent: int) -> None:
        sql = "UPDATE exports SET progress = ? WHERE id = ? AND progress < ?"
        await self._rows.connection.change(sql, percent, export_id, percent)

    async def count_items(self, account_id: AccountId) -> int:
        sql = (
            "SELECT (SELECT count(*) FROM sessions WHERE account_id = ?)"
            " + (SELECT count(*) FROM audit WHERE ? IN (actor, subject))"
        )
        ((counted,),) = await self._rows.connection.rows(sql, account_id, account_id)
        return int(counted)

    async def list_of(self, account_id: AccountId) -> Sequence[Export]:
        tail = "ORDER BY created_at DESC, id DESC"
        return await self._rows.find("account_id = ?", account_id, tail=tail)

    async def list_due(self, now: datetime, limit: int) -> Sequence[Export]:
        condition = f"expires_at <= ? AND status NOT IN {marks(_CLOSED)}"
        return await self._rows.find(condition, now, *_CLOSED, tail=f"LIMIT {int(limit)}")

    async def remove_all(self, account_id: AccountId) -> Sequence[ExportId]:
        ids = [export.id for export in await self.list_of(account_id)]
        await self._rows.remove("account_id = ?", account_id)
        return ids

    async def remove_closed(self, before: datetime, limit: int) -> int:
        condition = f"expires_at < ? AND status IN {marks(_CLOSED)}"
        return await self._rows.remove(condition, before, *_CLOSED, limit=limit)


class SqliteWebhooks(WebhookRepository):
    def __init__(self, connection: Connection) -> None:
        self._endpoints = Rows(connection, "endpoints", Endpoint)
        self._deliveries = Rows(connection, "deliveries", Delivery)

    async def add(self, endpoint: Endpoint) -> None:
        await self._endpoints.insert(endpoint)

    async def get(self, endpoint_id: EndpointId, *, lock: bool = False) -> Endpoint | None:
        return await self._endpoints.first("id = ?", endpoint_id)

    async def list_all(self) -> Sequence[Endpoint]:
        return await self._endpoints.find(tail="ORDER BY id")

    async def save(self, endpoint: Endpoint) -> None:
        await self._endpoints.update(endpoint)

    async def remove(self, endpoint_id: EndpointId) -> bool:
        return bool(await self._endpoints.remove("id = ?", endpoint_id))

    async def add_delivery(self, delivery: Delivery) -> bool:
        told = (delivery.endpoint_id, delivery.event_id)
        if await self._deliveries.first("endpoint_id = ? AND event_id = ?", *told):
            return False
        return await self._deliveries.insert(delivery)

    async def get_delivery(
        self, delivery_id: DeliveryId, *, lock: bool = False
    ) -> Delivery | None:
        return await self._deliveries.first("id = ?", delivery_id)

    async def save_delivery(self, delivery: Delivery) -> None:
        await self._deliveries.update(delivery)

    async def list_deliveries(
        self, endpoint_id: EndpointId, *, status: DeliveryStatus | None = None, limit: int
    ) -> Sequence[Delivery]:
        return await self._deliveries.find(
            "endpoint_id = ? AND status = COALESCE(?, status)",
            *(endpoint_id, status),
            tail=f"ORDER BY id DESC LIMIT {int(limit)}",
        )

    async def release_held(self, endpoint_id: EndpointId, limit: int) -> Sequence[DeliveryId]:
        held = await self.list_deliveries(endpoint_id, status=DeliveryStatus.HELD, limit=limit)
        for delivery in held:
            await self._deliveries.update(delivery.again())
        return [delivery.id for delivery in held]

    async def remove_deliveries(self, before: datetime, limit: int) -> int:
        return await self._deliveries.remove("created_at < ?", before, limit=limit)


class SqliteJobs(JobQueue):
    """Jobs with a record of how each stands; what is done leaves no trace."""

    def __init__(self, connection: Connection, now: Clock) -> None:
        self._rows = Rows(connection, "jobs", JobRecord)
        self._now = now

    async def enqueue(self, job: Job) -> None:
        now, payload = self._now(), json.dumps(dict(job.payload))
        record = JobRecord(
            id=job.id,
            name=job.name,
            state=JobState.WAITING,
            attempts=0,
            error=None,
            created_at=now,
            due_at=now,
            changed_at=now,
        )
        told = {"payload": payload, "account_id": job.account_id, "lane": job.lane}
        await self._rows.insert(record, "IGNORE", **told)

    async def drop_of(self, account_id: AccountId) -> None:
        await self._rows.remove("account_id = ? AND state <> ?", account_id, JobState.RUNNING)

    async def list_oldest(self, filter_: JobFilter, *, limit: int) -> Sequence[JobRecord]:
        condition, values = _admitted(filter_)
        return await self._rows.find(condition, *values, tail=f"ORDER BY place LIMIT {int(limit)}")

    async def revive(self, filter_: JobFilter, *, limit: int) -> int:
        found, now = await self.list_oldest(_dead(filter_), limit=limit), self._now()
        for one in found:
            alive = replace(one, state=JobState.WAITING, attempts=0, due_at=now, changed_at=now)
            await self._rows.update(alive)
        return len(found)

    async def remove_dead(self, filter_: JobFilter, *, older: timedelta, limit: int) -> int:
        condition, values = _admitted(_dead(filter_))
        before = self._now() - older
        return await self._rows.remove(
            f"{condition} AND changed_at < ?", *values, before, limit=limit
        )

    async def forget_done(self, *, older: timedelta, limit: int) -> int:
        return 0

    async def queued(self) -> list[Job]:
        sql = "SELECT * FROM jobs WHERE state = ? ORDER BY place"
        rows = await self._rows.connection.rows(sql, JobState.WAITING)
        return [_job(row) for row in rows]

    async def take(self) -> Job | None:
        """Mark the most urgent job that is due as running; the oldest of those alike."""
        now = self._now()
        due = await self._rows.find(
            "state = ? AND due_at <= ?", JobState.WAITING, now, tail="ORDER BY place"
        )
        best = max(due, key=lambda one: JobName(one.name).priority, default=None)
        if best is None:
            return None
        await self._rows.update(replace(best, state=JobState.RUNNING, changed_at=now))
        sql = "SELECT * FROM jobs WHERE id = ?"
        return _job((await self._rows.connection.rows(sql, best.id))[0])

    async def finish(self, job: Job) -> None:
        await self._rows.remove("id = ?", job.id)

    async def put_back(self, job: Job, error: str, retries: RetryPolicy) -> None:
        record = await self._rows.first("id = ?", job.id)
        if record is None:
            return
        now, attempts = self._now(), record.attempts + 1
        is_dead = retries.gives_up(attempts, 0)
        delay = retries.delay(attempts, random.random(), job.name.longest_wait)  # noqa: S311
        await self._rows.update(
            replace(
                record,
                state=JobState.DEAD if is_dead else JobState.WAITING,
                attempts=attempts,
                error=error,
                due_at=now if is_dead else now + delay,
                changed_at=now,
            )
        )


class SqliteWorker:
    """Does committed jobs one after the other, until it is stopped. One for each file."""

    def __init__(self, storage: "SqliteStorage", retries: RetryPolicy | None = None) -> None:
        self._storage = storage
        self._retries = retries or RetryPolicy()

    async def __call__(self, run: Callable[[Job], Awaitable[None]], stop: asyncio.Event) -> None:
        while not stop.is_set():
            async with self._storage.uow() as tx:
                job = await tx.jobs.take()
                await tx.commit()
            if job is None:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            failed = None
            try:
                await run(job)
            except Exception as error:
                failed = type(error).__name__
            async with self._storage.uow() as tx:
                if failed is None:
                    await tx.jobs.finish(job)
                else:
                    await tx.jobs.put_back(job, failed, self._retries)
                await tx.commit()


def _job(row: sqlite3.Row) -> Job:
    owner, lane = (UUID(row[name]) if row[name] else None for name in ("account_id", "lane"))
    return Job(
        id=UUID(row["id"]),
        name=JobName(row["name"]),
        payload=MappingProxyType(json.loads(row["payload"])),
        account_id=owner,
        lane=lane,
    )


def _dead(filter_: JobFilter) -> JobFilter:
    return replace(filter_, state=JobState.DEAD)


def _admitted(filter_: JobFilter) -> tuple[str, list[object]]:
    condition = "state = COALESCE(?, state) AND name = COALESCE(?, name)"
    values: list[object] = [filter_.state, filter_.name]
    if filter_.ids is not None:
        condition += f" AND id IN {marks(filter_.ids)}"
        values += filter_.ids
    return condition, values
