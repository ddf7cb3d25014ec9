"""Webhook endpoints, as those who may administer them see them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import field
from datetime import datetime
from uuid import UUID

from ..domain.addresses import EmailAddress
from ..domain.audit import AuditType, ClientContext
from ..domain.dataclasses import dataclass
from ..domain.errors import FieldError, NotFound, ValidationFailed
from ..domain.roles import Principal, Scope
from ..domain.webhooks import (
    Delivery,
    DeliveryId,
    DeliveryStatus,
    Endpoint,
    EndpointId,
    parse_events,
    secret_from,
)
from .audit import Auditor
from .deliveries import delivery_job
from .ports.delivery import Job
from .ports.security import Cipher, Clock, SealBroken, SealPurpose, Secrets
from .ports.storage import Transaction, UnitOfWork
from .ports.webhooks import WebhookSender
from .registration import collect

_BATCH = 500
_NOBODY = ClientContext()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEndpoint:
    """An endpoint with its new secret as it is shown, once; stored it is sealed."""

    endpoint: Endpoint
    secret: str = field(repr=False)


def _require_write(actor: Principal) -> None:
    """Ask for two scopes: an endpoint is a client that is told what the audit trail tells."""
    actor.require(Scope.AUDIT_READ)
    actor.require(Scope.CLIENTS_WRITE)


@dataclass(frozen=True, slots=True)
class CreateEndpoint:
    """Create an endpoint, which is told of every event from now on, or of those named.

    Raises ValidationFailed with every fault; Unavailable where no sender is installed.
    """

    uow: UnitOfWork
    sender: WebhookSender
    secrets: Secrets
    cipher: Cipher
    auditor: Auditor
    now: Clock

    async def __call__(
        self,
        *,
        actor: Principal,
        url: str,
        events: Sequence[str] = (),
        contact: str | None = None,
        client: ClientContext,
    ) -> NewEndpoint:
        _require_write(actor)
        wanted, address = await self._checked(url, events, contact)
        now, secret = self.now(), secret_from(self.secrets.new_token())
        endpoint = Endpoint(
            id=EndpointId(self.secrets.new_id()),
            url=url,
            events=wanted,
            contact=address,
            sealed_secret=self.cipher.seal(SealPurpose.WEBHOOK, secret.encode()),
            created_at=now,
            updated_at=now,
        )
        async with self.uow() as tx:
            await tx.webhooks.add(endpoint)
            type_ = AuditType.WEBHOOK_CREATED
            await self.auditor.note(tx, type_, now, client, actor=actor, subject=endpoint.id)
            await tx.commit()
        return NewEndpoint(endpoint=endpoint, secret=secret)

    async def _checked(
        self, url: str, events: Sequence[str], contact: str | None
    ) -> tuple[tuple[str, ...], str | None]:
        faults: list[FieldError] = []
        with collect(faults):
            await self.sender.check(url)
        with collect(faults):
            wanted = parse_events(events)
        with collect(faults):
            address = EmailAddress.parse(contact, "contact").value if contact else None
        ValidationFailed.raise_for(faults)
        return wanted, address


@dataclass(frozen=True, slots=True)
class ListEndpoints:
    """List all of them, oldest first."""

    uow: UnitOfWork

    async def __call__(self, *, actor: Principal) -> Sequence[Endpoint]:
        actor.require(Scope.AUDIT_READ)
        async with self.uow() as tx:
            return await tx.webhooks.list_all()


@dataclass(frozen=True, slots=True)
class ShowEndpoint:
    """Read one; raises NotFound."""

    uow: UnitOfWork

    async def __call__(self, *, actor: Principal, endpoint_id: UUID) -> Endpoint:
        actor.require(Scope.AUDIT_READ)
        async with self.uow() as tx:
            return await _found(tx, endpoint_id)


@dataclass(frozen=True, slots=True)
class EndpointEditor:
    """Changes endpoints under their lock and in the audit trail; raises NotFound."""

    uow: UnitOfWork
    auditor: Auditor
    now: Clock

    async def change(
        self,
        actor: Principal,
        endpoint_id: UUID,
        type_: AuditType,
        edit: Callable[[Endpoint, datetime], Endpoint],
        client: ClientContext,
    ) -> Endpoint:
        _require_write(actor)
        now = self.now()
        async with self.uow() as tx:
            endpoint = edit(await _found(tx, endpoint_id, lock=True), now)
            await tx.webhooks.save(endpoint)
            await self.auditor.note(tx, type_, now, client, actor=actor, subject=endpoint.id)
            await tx.commit()
        return endpoint

    async def remove(self, actor: Principal, endpoint_id: UUID, client: ClientContext) -> None:
        _require_write(actor)
        now, type_ = self.now(), AuditType.WEBHOOK_DELETED
        async with self.uow() as tx:
            if not await tx.webhooks.remove(EndpointId(endpoint_id)):
                raise NotFound
            await self.auditor.note(tx, type_, now, client, actor=actor, subject=endpoint_id)
            await tx.commit()


async def _found(tx: Transaction, endpoint_id: UUID, *, lock: bool = False) -> Endpoint:
    endpoint = await tx.webhooks.get(EndpointId(endpoint_id), lock=lock)
    if endpoint is None:
        raise NotFound
    return endpoint


@dataclass(frozen=True, slots=True)
class RotateSecret:
    """Make a new secret; for a day messages are signed with the former one, too.

    Twice in a row leaves nothing of a secret that got out. Raises NotFound.
    """

    edit: EndpointEditor
    secrets: Secrets
    cipher: Cipher

    async def __call__(
        self, *, actor: Principal, endpoint_id: UUID, client: ClientContext
    ) -> NewEndpoint:
        secret = secret_from(self.secrets.new_token())
        sealed = self.cipher.seal(SealPurpose.WEBHOOK, secret.encode())
        rotated = await self.edit.change(
            actor,
            endpoint_id,
            AuditType.WEBHOOK_SECRET_ROTATED,
            lambda endpoint, now: endpoint.rotate(sealed, now),
            client,
        )
        return NewEndpoint(endpoint=rotated, secret=secret)


@dataclass(frozen=True, slots=True)
class ResealSecrets:
    """Seal what older master keys sealed under the first; workers do it every few minutes.

    A secret that none of them opens is left alone: its endpoint needs a new one.
    """

    uow: UnitOfWork
    cipher: Cipher
    auditor: Auditor
    now: Clock

    async def __call__(self, job: Job | None = None) -> None:
        async with self.uow() as tx:
            endpoints = await tx.webhooks.list_all()
        for endpoint in endpoints:
            if self._is_stale(endpoint):
                with suppress(SealBroken):
                    await self._reseal(endpoint.id)

    def _is_stale(self, endpoint: Endpoint) -> bool:
        sealed = endpoint.sealed_secrets(self.now())
        return any(self.cipher.is_stale(SealPurpose.WEBHOOK, each) for each in sealed)

    async def _reseal(self, endpoint_id: EndpointId) -> None:
        now, type_ = self.now(), AuditType.WEBHOOK_SECRET_RESEALED
        async with self.uow() as tx:
            # Under the lock: a secret made meanwhile must not be lost.
            endpoint = await tx.webhooks.get(endpoint_id, lock=True)
            if endpoint is None or not self._is_stale(endpoint):
                return
            await tx.webhooks.save(endpoint.reseal(self._sealed, now))
            await self.auditor.note(tx, type_, now, _NOBODY, subject=endpoint_id)
            await tx.commit()

    def _sealed(self, sealed: bytes) -> bytes:
        purpose = SealPurpose.WEBHOOK
        return self.cipher.seal(purpose, self.cipher.open(purpose, sealed))


@dataclass(frozen=True, slots=True)
class DisableEndpoint:
    """Send nothing more; what happens is held, for as long as deliveries are kept.

    Raises NotFound.
    """

    edit: EndpointEditor

    async def __call__(
        self, *, actor: Principal, endpoint_id: UUID, client: ClientContext
    ) -> Endpoint:
        type_ = AuditType.WEBHOOK_DISABLED
        return await self.edit.change(actor, endpoint_id, type_, Endpoint.disable, client)


@dataclass(frozen=True, slots=True)
class EnableEndpoint:
    """Send again, beginning with what was held; safe to repeat. Raises NotFound."""

    edit: EndpointEditor
    secrets: Secrets

    async def __call__(
        self, *, actor: Principal, endpoint_id: UUID, client: ClientContext
    ) -> Endpoint:
        type_ = AuditType.WEBHOOK_ENABLED
        endpoint = await self.edit.change(actor, endpoint_id, type_, Endpoint.enable, client)
        while await self._release(endpoint.id) >= _BATCH:
            continue
        return endpoint

    async def _release(self, endpoint_id: EndpointId) -> int:
        async with self.edit.uow() as tx:
            released = await tx.webhooks.release_held(endpoint_id, _BATCH)
            for delivery_id in released:
                # An id of its own: the job that held it may not have ended yet.
                await tx.jobs.enqueue(
                    delivery_job(self.secrets.new_id(), delivery_id, endpoint_id)
                )
            await tx.commit()
        return len(released)


@dataclass(frozen=True, slots=True)
class DeleteEndpoint:
    """Delete an endpoint with its deliveries, sent or not; raises NotFound."""

    edit: EndpointEditor

    async def __call__(
        self, *, actor: Principal, endpoint_id: UUID, client: ClientContext
    ) -> None:
        await self.edit.remove(actor, endpoint_id, client)


@dataclass(frozen=True, slots=True)
class ListDeliveries:
    """List what was sent to an endpoint, or was not, newest first; raises NotFound."""

    uow: UnitOfWork

    async def __call__(
        self,
        *,
        actor: Principal,
        endpoint_id: UUID,
        status: DeliveryStatus | None = None,
        limit: int = 50,
    ) -> Sequence[Delivery]:
        actor.require(Scope.AUDIT_READ)
        async with self.uow() as tx:
            endpoint = await _found(tx, endpoint_id)
            return await tx.webhooks.list_deliveries(endpoint.id, status=status, limit=limit)


@dataclass(frozen=True, slots=True)
class RetryDelivery:
    """Send a delivery again, also one that arrived; raises NotFound."""

    uow: UnitOfWork
    secrets: Secrets
    auditor: Auditor
    now: Clock

    async def __call__(
        self, *, actor: Principal, delivery_id: UUID, client: ClientContext
    ) -> Delivery:
        _require_write(actor)
        now, type_ = self.now(), AuditType.WEBHOOK_RETRIED
        async with self.uow() as tx:
            delivery = await tx.webhooks.get_delivery(DeliveryId(delivery_id), lock=True)
            if delivery is None:
                raise NotFound
            delivery = delivery.again()
            await tx.webhooks.save_delivery(delivery)
            subject = delivery.endpoint_id
            await tx.jobs.enqueue(delivery_job(self.secrets.new_id(), delivery.id, subject))
            await self.auditor.note(tx, type_, now, client, actor=actor, subject=subject)
            await tx.commit()
        return delivery


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Endpoints that are told of events, and what became of each telling."""

    create: CreateEndpoint
    list: ListEndpoints
    show: ShowEndpoint
    rotate: RotateSecret
    enable: EnableEndpoint
    disable: DisableEndpoint
    delete: DeleteEndpoint
    deliveries: ListDeliveries
    retry: RetryDelivery
