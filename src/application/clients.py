"""Machine clients, as those who may administer them see them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import field, replace
from datetime import datetime
from uuid import UUID

from ..domain.audit import AuditType, ClientContext
from ..domain.clients import (
    SECRET_PREFIX,
    Client,
    ClientId,
    ClientSecret,
    ClientStatus,
    for_clients,
    parse_name,
)
from ..domain.dataclasses import dataclass
from ..domain.errors import (
    FieldError,
    NotFound,
    PermissionDenied,
    ValidationFailed,
    VersionConflict,
)
from ..domain.roles import Principal, Scope, parse_scopes
from .accounts import UNSET, Unset
from .audit import Auditor
from .paging import Cursors, Page
from .ports.security import Clock, Secrets
from .ports.storage import Transaction, UnitOfWork
from .registration import collect
from .supervision import Versions

_LIST: dict[str, str | None] = {"list": "clients"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """A secret as it is shown, once; only its hash is stored."""

    client_secret: str = field(repr=False)
    stored: ClientSecret


@dataclass(frozen=True, slots=True)
class ListClients:
    """List machine clients, newest first; raises ValidationFailed for a foreign cursor."""

    uow: UnitOfWork
    cursors: Cursors

    async def __call__(
        self, *, actor: Principal, limit: int = 50, cursor: str | None = None
    ) -> Page[Client]:
        actor.require(Scope.CLIENTS_READ)
        position = self.cursors.open(_LIST, cursor)
        after = ClientId(UUID(position[0])) if position else None
        async with self.uow() as tx:
            found = await tx.clients.list_page(after=after, limit=limit + 1)
        items = found[:limit]
        more = len(found) > limit
        return Page(items, self.cursors.seal(_LIST, [str(items[-1].id)]) if more else None)


@dataclass(frozen=True, slots=True)
class ShowClient:
    """Read one; raises NotFound."""

    uow: UnitOfWork

    async def __call__(self, *, actor: Principal, client_id: UUID) -> Client:
        actor.require(Scope.CLIENTS_READ)
        async with self.uow() as tx:
            found = await tx.clients.get(ClientId(client_id))
        if found is None:
            raise NotFound
        return found


@dataclass(frozen=True, slots=True)
class Editor:
    """Creates, changes and deletes clients, under their lock and in the audit trail.

    Nobody touches a client that may do more than he may: with a secret of it he could, too.
    Raises InsufficientScope, NotFound, VersionConflict, and PermissionDenied, which is audited.
    """

    uow: UnitOfWork
    auditor: Auditor
    now: Clock

    async def add(self, actor: Principal, made: Client, client: ClientContext) -> None:
        async with self._opened(actor, AuditType.CLIENT_CREATED, made.id, client) as tx:
            _refuse_beyond(actor, made)
            await tx.clients.add(made)

    async def change(
        self,
        actor: Principal,
        client_id: UUID,
        type_: AuditType,
        edit: Callable[[Client, datetime], Client],
        client: ClientContext,
        *,
        versions: Versions = None,
    ) -> Client:
        async with self._opened(actor, type_, client_id, client) as tx:
            seen = await _lock(tx, actor, client_id, versions)
            changed = edit(seen, self.now())
            _refuse_beyond(actor, changed)
            await tx.clients.save(changed)
        return changed

    async def remove(
        self, actor: Principal, client_id: UUID, versions: Versions, client: ClientContext
    ) -> None:
        async with self._opened(actor, AuditType.CLIENT_DELETED, client_id, client) as tx:
            seen = await _lock(tx, actor, client_id, versions)
            await tx.clients.remove(seen.id)

    @asynccontextmanager
    async def _opened(
        self, actor: Principal, type_: AuditType, subject: UUID, client: ClientContext
    ) -> AsyncIterator[Transaction]:
        actor.require(Scope.CLIENTS_WRITE)
        try:
            async with self.uow() as tx:
                yield tx
                await self.auditor.note(
                    tx, type_, self.now(), client, actor=actor, subject=subject
                )
                await tx.commit()
        except PermissionDenied as refused:
            why = refused.code
            await self.auditor.refused(type_, client, actor=actor, subject=subject, failure=why)
            raise


async def _lock(tx: Transaction, actor: Principal, client_id: UUID, versions: Versions) -> Client:
    seen = await tx.clients.get(ClientId(client_id), lock=True)
    if seen is None:
        raise NotFound
    _refuse_beyond(actor, seen)
    if versions is not None and seen.updated_at not in versions:
        raise VersionConflict
    return seen


def _refuse_beyond(actor: Principal, client: Client) -> None:
    if not actor.holds(client.scopes):
        raise PermissionDenied("The client holds a scope that you lack.")


def _filled(client: Client, name: str | Unset, scopes: Sequence[str] | Unset) -> Client:
    """Fill in what is given; raises ValidationFailed with every fault."""
    faults: list[FieldError] = []
    with collect(faults):
        if name is not UNSET:
            client = replace(client, name=parse_name(name))
    with collect(faults):
        if scopes is not UNSET:
            client = replace(client, scopes=for_clients(parse_scopes(scopes)))
    ValidationFailed.raise_for(faults)
    return client


@dataclass(frozen=True, slots=True)
class CreateClient:
    """Create a client without a secret.

    Raises ValidationFailed, and PermissionDenied for a scope that the caller does not hold.
    """

    edit: Editor
    secrets: Secrets

    async def __call__(
        self, *, actor: Principal, name: str, scopes: Sequence[str], client: ClientContext
    ) -> Client:
        now = self.edit.now()
        blank = Client(
            id=ClientId(self.secrets.new_id()),
            name="",
            scopes=(),
            created_at=now,
            updated_at=now,
        )
        made = _filled(blank, name, scopes)
        await self.edit.add(actor, made, client)
        return made


@dataclass(frozen=True, slots=True)
class ChangeClient:
    """Change a client that is still as the caller saw it (`versions`: its `updated_at`).

    A client that is disabled, or loses a scope, is refused with the tokens that it has.
    Raises NotFound, VersionConflict, ValidationFailed, PermissionDenied.
    """

    edit: Editor

    async def __call__(
        self,
        *,
        actor: Principal,
        client_id: UUID,
        versions: Versions,
        name: str | Unset = UNSET,
        scopes: Sequence[str] | Unset = UNSET,
        status: ClientStatus | Unset = UNSET,
        client: ClientContext,
    ) -> Client:
        def edit(seen: Client, now: datetime) -> Client:
            changed = _filled(seen.touch(now), name, scopes)
            return changed if status is UNSET else replace(changed, status=status)

        type_ = AuditType.CLIENT_CHANGED
        return await self.edit.change(actor, client_id, type_, edit, client, versions=versions)


@dataclass(frozen=True, slots=True)
class DeleteClient:
    """Delete a client; what it holds is refused from now on.

    Raises NotFound, VersionConflict, PermissionDenied.
    """

    edit: Editor

    async def __call__(
        self,
        *,
        actor: Principal,
        client_id: UUID,
        versions: Versions = None,
        client: ClientContext,
    ) -> None:
        await self.edit.remove(actor, client_id, versions, client)


@dataclass(frozen=True, slots=True)
class AddSecret:
    """Make a secret; two may be valid at a time, so that one can take over from the other.

    Raises NotFound, PermissionDenied, and ValidationFailed for a third.
    """

    edit: Editor
    secrets: Secrets

    async def __call__(
        self,
        *,
        actor: Principal,
        client_id: UUID,
        expires_at: datetime | None = None,
        client: ClientContext,
    ) -> NewSecret:
        shown, secret_id = SECRET_PREFIX + self.secrets.new_token(), self.secrets.new_id()

        def edit(seen: Client, now: datetime) -> Client:
            return seen.add_secret(ClientSecret.issue(secret_id, shown, now, expires_at), now)

        type_ = AuditType.CLIENT_SECRET_CREATED
        changed = await self.edit.change(actor, client_id, type_, edit, client)
        return NewSecret(client_secret=shown, stored=changed.secrets[-1])


@dataclass(frozen=True, slots=True)
class DeleteSecret:
    """Delete a secret, which opens nothing from now on; raises NotFound, PermissionDenied."""

    edit: Editor

    async def __call__(
        self, *, actor: Principal, client_id: UUID, secret_id: UUID, client: ClientContext
    ) -> None:
        def edit(seen: Client, now: datetime) -> Client:
            return seen.remove_secret(secret_id, now)

        type_ = AuditType.CLIENT_SECRET_DELETED
        await self.edit.change(actor, client_id, type_, edit, client)


@dataclass(frozen=True, slots=True)
class Clients:
    """Machine clients and their secrets."""

    list: ListClients
    show: ShowClient
    create: CreateClient
    change: ChangeClient
    delete: DeleteClient
    add_secret: AddSecret
    delete_secret: DeleteSecret
