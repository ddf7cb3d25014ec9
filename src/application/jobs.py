"""What workers do: one handler a job name, each safe to repeat; and what became of the jobs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from ..domain.addresses import EmailAddress
from ..domain.audit import AuditPolicy, AuditType, ClientContext
from ..domain.dataclasses import dataclass
from ..domain.errors import NotFound, Unavailable
from ..domain.jobs import JobFilter, JobRecord
from ..domain.limits import Rule, address_key
from ..domain.webhooks import DELIVERIES_KEPT
from .audit import Auditor
from .limits import Limits
from .ports.delivery import BacklogReader, Job, JobName, Metrics
from .ports.exports import ExportStore
from .ports.limits import RateLimiter
from .ports.security import Cipher, Clock, Secrets
from .ports.storage import Transaction, UnitOfWork
from .sealed_jobs import sealed_job

Handler = Callable[[Job], Awaitable[None]]

# Small batches keep locks short beside live traffic.
_BATCH = 500
# Of sessions, ended or not.
_LOOKED_AT = 2000
# A worker that lives takes what is due at once; after this long somebody should look.
_LONGEST_WAIT_SECONDS = 300
# Ended sessions stay visible to support and audit for a while.
_ENDED_SESSIONS_KEPT = timedelta(days=7)
# So that who looks for one is told what became of it.
_CLOSED_EXPORTS_KEPT = timedelta(days=7)
# What the queue writes down of jobs is for who looks into a failure.
_JOB_TRACES_KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class RequestByEmail:
    """Queue a job about an address, known or not.

    Looking it up here would show in the time of the answer; the worker does it. With no mail left
    for the address the answer is the same. Raises RateLimited, ValidationFailed.
    """

    uow: UnitOfWork
    limits: Limits
    secrets: Secrets
    cipher: Cipher
    job: JobName

    async def __call__(self, *, email: str, client: ClientContext) -> None:
        await self.limits.spend(Rule.MAIL_ADDRESS, address_key(client.ip))
        address = EmailAddress.parse(email)
        if await self.limits.try_to_spend(Rule.MAIL, address.key) is None:
            return
        values: dict[str, str | None] = {
            "email": address.value,
            "ip": client.ip,
            "user_agent": client.user_agent,
            "request_id": client.request_id,
        }
        job = sealed_job(self.cipher, self.secrets.new_id(), self.job, values)
        async with self.uow() as tx:
            await tx.jobs.enqueue(job)
            await tx.commit()


def client_of(values: dict[str, str | None]) -> ClientContext:
    """Read back the client that a queued request came from."""
    return ClientContext(
        ip=values["ip"], user_agent=values["user_agent"], request_id=values["request_id"]
    )


@dataclass(frozen=True, slots=True)
class PurgeExpired:
    """Delete what has run out: registrations, tokens, sessions, answers, exports, deliveries,
    audit entries, counts, and what the queue wrote down of jobs.
    """

    uow: UnitOfWork
    exports: ExportStore
    limiter: RateLimiter
    audit: AuditPolicy
    now: Clock

    async def __call__(self, job: Job | None = None) -> None:
        while await self._batch() >= _BATCH:
            continue
        await self._remove_sessions()
        while await self.limiter.sweep(_BATCH) >= _BATCH:
            continue
        # Last: where their store is down, all else is done.
        while await self._close_exports() >= _BATCH:
            continue

    async def _batch(self) -> int:
        async with self.uow() as tx:
            most = await self._remove(tx)
            await tx.commit()
        return most

    async def _remove(self, tx: Transaction) -> int:
        now = self.now()
        return max(
            await tx.accounts.remove_expired(now, _BATCH),
            await tx.tokens.remove_expired(now, _BATCH),
            await tx.idempotency.remove_expired(now, _BATCH),
            await tx.exports.remove_closed(now - _CLOSED_EXPORTS_KEPT, _BATCH),
            await tx.audit.remove_before(now - self.audit.retention, _BATCH),
            await tx.jobs.forget_done(older=_JOB_TRACES_KEPT, limit=_BATCH),
            await tx.webhooks.remove_deliveries(now - DELIVERIES_KEPT, _BATCH),
        )

    async def _remove_sessions(self) -> None:
        """Look at every one, some at a time: no index can tell, or each refresh would write it."""
        before, after = self.now() - _ENDED_SESSIONS_KEPT, None
        while True:
            async with self.uow() as tx:
                _, after = await tx.sessions.remove_ended(after, before, _LOOKED_AT)
                await tx.commit()
            if after is None:
                return

    async def _close_exports(self) -> int:
        """Remove the files first: a row that is not closed brings the next run back to its own."""
        now = self.now()
        async with self.uow() as tx:
            due = await tx.exports.list_due(now, _BATCH)
        if not due:
            return 0
        for export in due:
            await self.exports.remove(export.id)
        async with self.uow() as tx:
            for export in due:
                # Anew, under lock: one may have gone or been finished meanwhile.
                if found := await tx.exports.get(export.id, lock=True):
                    await tx.exports.save(found.at(now))
            await tx.commit()
        return len(due)


@dataclass(frozen=True, slots=True)
class JobsCheck:
    """Raises Unavailable when a job that is due has waited too long: no worker takes it."""

    backlog: BacklogReader

    async def __call__(self) -> None:
        if (await self.backlog.read()).oldest_seconds > _LONGEST_WAIT_SECONDS:
            raise Unavailable


@dataclass(frozen=True, slots=True)
class ListJobs:
    """List jobs that wait, run or were given up, oldest first; nothing of what they are about."""

    uow: UnitOfWork

    async def __call__(self, *, filter_: JobFilter, limit: int) -> Sequence[JobRecord]:
        async with self.uow() as tx:
            return await tx.jobs.list_oldest(filter_, limit=limit)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Does something to jobs that were given up, in small batches, and notes it once.

    For whoever runs commands on the machine: no scope lets a caller in.
    """

    uow: UnitOfWork
    auditor: Auditor
    now: Clock

    async def retry(self, *, filter_: JobFilter, client: ClientContext) -> int:
        """Let them be tried again, as if for the first time; returns how many.

        Raises NotFound when none of the ids of the filter is a job that was given up.
        """

        async def step(tx: Transaction) -> int:
            return await tx.jobs.revive(filter_, limit=_BATCH)

        count = await self._each_batch(step, AuditType.JOBS_RETRIED, client)
        if filter_.ids is not None and count == 0:
            raise NotFound
        return count

    async def purge(self, *, filter_: JobFilter, older: timedelta, client: ClientContext) -> int:
        """Delete those that were given up longer ago; returns how many."""

        async def step(tx: Transaction) -> int:
            return await tx.jobs.remove_dead(filter_, older=older, limit=_BATCH)

        return await self._each_batch(step, AuditType.JOBS_PURGED, client)

    async def _each_batch(
        self,
        step: Callable[[Transaction], Awaitable[int]],
        type_: AuditType,
        client: ClientContext,
    ) -> int:
        total, count = 0, _BATCH
        while count >= _BATCH:
            async with self.uow() as tx:
                count = await step(tx)
                if count and not total:
                    await self.auditor.note(tx, type_, self.now(), client)
                await tx.commit()
            total += count
        return total


@dataclass(frozen=True, slots=True)
class Jobs:
    """The handlers; a worker gives each queued job to `run`. And what operators do about jobs.

    Jobs without a handler here are for other workers.
    """

    handlers: Mapping[JobName, Handler]
    list: ListJobs
    dead: DeadLetters
    metrics: Metrics
    now: Clock

    async def run(self, job: Job) -> None:
        """Do one job, within its deadline; whatever it raises means: again later."""
        from asyncio import timeout

        begun, failed = self.now(), True
        try:
            async with timeout(job.name.deadline.total_seconds()):
                await self.handlers[job.name](job)
            failed = False
        finally:
            seconds = (self.now() - begun).total_seconds()
            self.metrics.job_ended(job.name, seconds, failed=failed)
