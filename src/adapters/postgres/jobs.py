"""Jobs on PgQueuer, queued by the transaction that causes them."""

import asyncio
import json
from typing import Self
from uuid import UUID

from pgqueuer.core.tm import TaskManager
from pgqueuer.domain.models import Job as QueuedJob
from pgqueuer.domain.settings import DBSettings
from pgqueuer.ports.driver import Driver, NotifyCallback, TaskManagerPort
from pgqueuer.queries import Queries
from sqlalchemy.ext.asyncio import AsyncConnection

from ...application.ports.delivery import Job, JobName
from ...application.ports.storage import JobQueue
from ...domain.accounts import AccountId
from .queue_names import MIGRATED

# Somebody waits for a mail; nobody waits for the cleaning, and an export takes its time.
_PRIORITY = {JobName.SEND_MAIL: 20, JobName.BUILD_EXPORT: 5, JobName.PURGE: 0}
_ORDINARY = 10

# Reads the whole queue, which is short, for what happens seldom.
_DROP_OF = "DELETE FROM pgqueuer WHERE status = 'queued' AND headers ->> 'account_id' = $1"


def refuse_renamed_queue() -> None:
    """Raise ValueError when the environment renames PgQueuer's objects."""
    present = DBSettings().model_dump(mode="json")
    renamed = sorted(name for name, value in MIGRATED.items() if present[name] != value)
    if renamed:
        names = ", ".join(name.upper() for name in renamed)
        raise ValueError(f"The environment renames parts of the job queue; unset: {names}.")


def job_of(queued: QueuedJob) -> Job:
    """Read back what `enqueue` wrote, for a worker."""
    headers, payload = queued.headers or {}, queued.payload or b"{}"
    return Job(
        id=UUID(str(headers["job_id"])),
        name=JobName(queued.entrypoint),
        payload=json.loads(payload),
        account_id=UUID(str(headers["account_id"])) if "account_id" in headers else None,
    )


class ConnectionDriver(Driver):
    """As much of a driver as enqueueing needs, on the connection of a transaction.

    Never the raw asyncpg connection: SQLAlchemy begins late, so that a job queued first would
    survive the rollback.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._shutdown = asyncio.Event()
        self._tasks = TaskManager()

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        rows = await self._connection.exec_driver_sql(query, args)
        return [dict(row) for row in rows.mappings()]

    async def execute(self, query: str, *args: object) -> str:
        await self._connection.exec_driver_sql(query, args)
        return ""

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        raise NotImplementedError

    async def notify(self, channel: str, payload: str) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave the connection to its transaction."""

    @property
    def shutdown(self) -> asyncio.Event:
        return self._shutdown

    @property
    def tm(self) -> TaskManagerPort:
        return self._tasks


class PgQueuerJobs(JobQueue):
    def __init__(self, connection: AsyncConnection) -> None:
        self._driver = ConnectionDriver(connection)
        self._queries = Queries(self._driver)

    async def enqueue(self, job: Job) -> None:
        await self._queries.enqueue(
            job.name.value,
            json.dumps(dict(job.payload)).encode(),
            priority=_PRIORITY.get(job.name, _ORDINARY),
            dedupe_key=str(job.id),
            # Workers are not given the dedupe key.
            headers=_headers(job),
            # A duplicate that raised would spoil the caller's transaction.
            on_conflict="skip",
        )

    async def drop_of(self, account_id: AccountId) -> None:
        await self._driver.execute(_DROP_OF, str(account_id))


def _headers(job: Job) -> dict[str, str]:
    owner = {} if job.account_id is None else {"account_id": str(job.account_id)}
    return {"job_id": str(job.id), **owner}
