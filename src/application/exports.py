"""Exports: asked for with the password, built by a worker, fetched for a day."""

from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

from ..domain.accounts import Account, AccountId
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import parse_existing
from ..domain.dataclasses import dataclass
from ..domain.errors import AccessTokenInvalid, NotFound, Unavailable, WrongPassword
from ..domain.exports import CLOSED, OPEN, Export, ExportId, ExportStatus
from ..domain.roles import Principal, Scope
from .archive import Archive
from .audit import Auditor
from .idempotency import UNKEYED, Once
from .mail import Postbox
from .ports.delivery import Job, JobName, MailTemplate
from .ports.exports import ExportStore
from .ports.security import Clock, Secrets
from .ports.storage import Transaction, UnitOfWork
from .reauthentication import Reauthenticate

# Of an export that is soon done nobody sees how; of a long one twenty steps are enough.
_PIECES_UNTOLD, _STEP = 200, 5
# All of it is there when the store has taken it.
_NEARLY_ALL = 99


@dataclass(frozen=True, slots=True)
class RequestExport:
    """Queue an export of the caller's own data; while one is being built, that is the answer.

    Raises WrongPassword, Overloaded, ValidationFailed, and what `once` does.
    """

    uow: UnitOfWork
    reauthenticate: Reauthenticate
    secrets: Secrets
    auditor: Auditor
    now: Clock

    async def __call__(
        self,
        *,
        actor: Principal,
        password: str,
        client: ClientContext,
        once: Once[Export] = UNKEYED,
    ) -> Export:
        actor.require(Scope.ACCOUNT_WRITE)
        seen, password = actor.own_account, parse_existing(password)
        async with self.uow() as tx:
            await once.find(tx)
        type_ = AuditType.EXPORT_REQUESTED
        await self.reauthenticate(actor=actor, password=password, purpose=type_, client=client)
        async with self.uow() as tx:
            await once.claim(tx)
            await self._lock(tx, seen)
            export = await self._open(tx, actor, seen.id, client)
            await once.keep(tx, export, seen.id)
            await tx.commit()
        return export

    async def _lock(self, tx: Transaction, seen: Account) -> None:
        """Hold the account, so that of two requests at once the second finds the first's."""
        account = await tx.accounts.get(seen.id, lock=True)
        if account is None or not account.is_usable(self.now()):
            raise AccessTokenInvalid
        if account.password_hash != seen.password_hash:
            raise WrongPassword

    async def _open(
        self, tx: Transaction, actor: Principal, owner: AccountId, client: ClientContext
    ) -> Export:
        now = self.now()
        known = [export.at(now) for export in await tx.exports.list_of(owner)]
        running = next((export for export in known if export.status in OPEN), None)
        if running is not None:
            return running
        export = Export.request(ExportId(self.secrets.new_id()), owner, now)
        await tx.exports.add(export)
        await tx.jobs.enqueue(_job(JobName.BUILD_EXPORT, export.id, export.id, owner))
        await self.auditor.note(
            tx,
            AuditType.EXPORT_REQUESTED,
            now,
            client,
            actor=actor,
            subject=owner,
        )
        return export


@dataclass(frozen=True, slots=True)
class ReadExport:
    """Tell how an export of the caller's own stands; raises NotFound for any other."""

    uow: UnitOfWork
    now: Clock

    async def __call__(self, *, actor: Principal, export_id: UUID) -> Export:
        actor.require(Scope.ACCOUNT_READ)
        owner = actor.own_account.id
        async with self.uow() as tx:
            export = await tx.exports.get(ExportId(export_id))
        if export is None or export.account_id != owner:
            raise NotFound
        return export.at(self.now())


@dataclass(frozen=True, slots=True)
class Download:
    """The bytes of an export, and how many there are to come."""

    export: Export
    content: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class DownloadExport:
    """Begin to read an export of the caller's own; raises NotFound unless it is ready."""

    uow: UnitOfWork
    read: ReadExport
    store: ExportStore
    auditor: Auditor
    now: Clock

    async def __call__(
        self, *, actor: Principal, export_id: UUID, client: ClientContext
    ) -> Download:
        export = await self.read(actor=actor, export_id=export_id)
        if export.status is not ExportStatus.READY:
            raise NotFound
        content = await self.store.read(export.id)
        if content is None:
            raise NotFound
        type_, own = AuditType.EXPORT_DOWNLOADED, export.account_id
        async with self.uow() as tx:
            await self.auditor.note(tx, type_, self.now(), client, actor=actor, subject=own)
            await tx.commit()
        return Download(export, content)


@dataclass(frozen=True, slots=True)
class BuildExport:
    """Write the file of an export, and tell its owner.

    Whatever happens meanwhile, no file is left that no row tells of: a deletion takes the row,
    and who finishes finds it gone, under lock.
    """

    uow: UnitOfWork
    archive: Archive
    store: ExportStore
    postbox: Postbox
    now: Clock

    async def __call__(self, job: Job) -> None:
        export_id = _export_of(job)
        owner = await self._begin(export_id)
        if owner is not None:
            size = await self.store.write(export_id, self._content(export_id, owner))
            await self._finish(export_id, size)
        if not await self._is_ready(export_id):
            await self.store.remove(export_id)

    async def _begin(self, export_id: ExportId) -> Account | None:
        async with self.uow() as tx:
            export = await self._unclosed(tx, export_id)
            if export is None or export.status not in OPEN:
                return None
            owner = await _owner(tx, export)
            if owner is not None:
                await tx.exports.save(export.start())
                await tx.commit()
        return owner

    async def _content(self, export_id: ExportId, owner: Account) -> AsyncIterator[bytes]:
        """Pass the archive on as it is written, and tell how far that is."""
        async with self.uow() as tx:
            total = await tx.exports.count_items(owner.id)
        told, pieces = 0, 0
        async for piece in self.archive(owner, self.now()):
            yield piece
            pieces += 1
            percent = min(100 * pieces // (total + 1), _NEARLY_ALL)
            if pieces % _PIECES_UNTOLD == 0 and percent >= told + _STEP:
                await self._tell(export_id, percent)
                told = percent

    async def _tell(self, export_id: ExportId, percent: int) -> None:
        """Write down the progress; an export does not fail because that does."""
        with suppress(Unavailable):
            async with self.uow() as tx:
                await tx.exports.note_progress(export_id, percent)
                await tx.commit()

    async def _finish(self, export_id: ExportId, size: int) -> None:
        now = self.now()
        async with self.uow() as tx:
            export = await self._unclosed(tx, export_id)
            owner = await _owner(tx, export) if export else None
            if export is None or owner is None:
                return
            await tx.exports.save(export.complete(size, now))
            if export.status in OPEN:
                await self.postbox.notify(tx, owner, MailTemplate.EXPORT_READY, now)
            await tx.commit()

    async def _unclosed(self, tx: Transaction, export_id: ExportId) -> Export | None:
        export = await tx.exports.get(export_id, lock=True)
        return None if export is None or export.at(self.now()).status in CLOSED else export

    async def _is_ready(self, export_id: ExportId) -> bool:
        async with self.uow() as tx:
            export = await tx.exports.get(export_id)
        return export is not None and export.status is ExportStatus.READY


@dataclass(frozen=True, slots=True)
class RemoveExport:
    """Remove the file of an export whose row went with its account."""

    store: ExportStore

    async def __call__(self, job: Job) -> None:
        await self.store.remove(_export_of(job))


async def drop_exports(tx: Transaction, account_id: AccountId, secrets: Secrets) -> None:
    """Delete an account's exports; their files go by job, as no transaction covers them."""
    for export_id in await tx.exports.remove_all(account_id):
        await tx.jobs.enqueue(_job(JobName.REMOVE_EXPORT, secrets.new_id(), export_id, None))


def _job(name: JobName, job_id: UUID, export_id: ExportId, owner: AccountId | None) -> Job:
    payload = {"export_id": str(export_id)}
    return Job(id=job_id, name=name, payload=payload, account_id=owner)


def _export_of(job: Job) -> ExportId:
    return ExportId(UUID(job.payload["export_id"]))


async def _owner(tx: Transaction, export: Export) -> Account | None:
    """Find whose it is; the address of a placeholder is somebody else's."""
    account = await tx.accounts.get(export.account_id)
    return None if account is None or account.is_placeholder else account


@dataclass(frozen=True, slots=True)
class Exports:
    """What an account can do about its exports."""

    request: RequestExport
    read: ReadExport
    download: DownloadExport
