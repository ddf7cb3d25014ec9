"""Telling endpoints of events: one delivery each, tried until it succeeds or is given up."""

import json
from datetime import UTC, datetime
from uuid import UUID

from ..domain.audit import AuditType, ClientContext
from ..domain.dataclasses import dataclass
from ..domain.events import DomainEvent, data_of
from ..domain.webhooks import (
    Delivery,
    DeliveryId,
    DeliveryStatus,
    Endpoint,
    EndpointId,
    Outcome,
)
from .audit import Auditor
from .mail import Postbox
from .ports.delivery import Job, JobName, MailTemplate, Metrics, WebhookResult
from .ports.security import Cipher, Clock, SealPurpose, Secrets
from .ports.storage import Transaction, UnitOfWork
from .ports.webhooks import Message, WebhookSender


class DeliveryFailed(Exception):
    """The endpoint did not take it; the queue tries again."""


class EndpointDisabled(Exception):
    """The endpoint was disabled for its failures; what is queued for it is held."""


def delivery_job(job_id: UUID, delivery_id: DeliveryId, endpoint_id: EndpointId) -> Job:
    payload = {"delivery_id": str(delivery_id)}
    return Job(id=job_id, name=JobName.DELIVER_WEBHOOK, payload=payload, lane=endpoint_id)


def body_of(event: DomainEvent) -> str:
    """Write what is posted (Standard Webhooks 1.0.0, payload structure)."""
    occurred_at = event.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    body = {"type": event.name, "timestamp": occurred_at, "data": data_of(event)}
    return json.dumps(body, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class QueueDeliveries:
    """Make a delivery and its job for each endpoint that wants the event; safe to repeat.

    For a disabled endpoint, too: its job finds that out, and holds the delivery.
    """

    uow: UnitOfWork
    secrets: Secrets
    now: Clock

    async def __call__(self, event: DomainEvent) -> None:
        async with self.uow() as tx:
            for endpoint in await tx.webhooks.list_all():
                if endpoint.wants(event.name):
                    await self._queue(tx, endpoint, event)
            await tx.commit()

    async def _queue(self, tx: Transaction, endpoint: Endpoint, event: DomainEvent) -> None:
        delivery = Delivery(
            id=DeliveryId(self.secrets.new_id()),
            endpoint_id=endpoint.id,
            event_id=event.id,
            event=event.name,
            body=body_of(event),
            created_at=self.now(),
        )
        if await tx.webhooks.add_delivery(delivery):
            await tx.jobs.enqueue(delivery_job(delivery.id, delivery.id, endpoint.id))


@dataclass(frozen=True, slots=True)
class DeliverWebhook:
    """Send one delivery, once, and write down how it went.

    Raises DeliveryFailed while it is worth another try.
    """

    uow: UnitOfWork
    sender: WebhookSender
    cipher: Cipher
    postbox: Postbox
    auditor: Auditor
    metrics: Metrics
    now: Clock

    async def __call__(self, job: Job) -> None:
        opened = await self._open(DeliveryId(UUID(job.payload["delivery_id"])))
        if opened is None:
            return
        delivery, endpoint = opened
        outcome = await self.sender.send(self._message(delivery, endpoint))
        await self._settle(delivery, outcome)

    async def _open(self, delivery_id: DeliveryId) -> tuple[Delivery, Endpoint] | None:
        """Read what is to be sent; None when that is done, or has to wait."""
        async with self.uow() as tx:
            delivery = await tx.webhooks.get_delivery(delivery_id)
            if delivery is None or not delivery.is_pending:
                return None
            endpoint = await tx.webhooks.get(delivery.endpoint_id)
            if endpoint and not endpoint.is_enabled:
                # Under the lock: who enables it meanwhile would not see what is held here.
                endpoint = await tx.webhooks.get(endpoint.id, lock=True)
            if endpoint is None:
                return None
            if endpoint.is_enabled:
                return delivery, endpoint
            await tx.webhooks.save_delivery(delivery.hold())
            await tx.commit()
        return None

    def _message(self, delivery: Delivery, endpoint: Endpoint) -> Message:
        now, purpose = self.now(), SealPurpose.WEBHOOK
        sealed = endpoint.sealed_secrets(now)
        return Message(
            id=delivery.event_id,
            url=endpoint.url,
            body=delivery.body,
            secrets=tuple(self.cipher.open(purpose, each).decode() for each in sealed),
            sent_at=now,
        )

    async def _settle(self, sent: Delivery, outcome: Outcome) -> None:
        now = self.now()
        async with self.uow() as tx:
            # The endpoint before the delivery, as a deletion locks them.
            is_lost = await self._note_outcome(tx, sent.endpoint_id, outcome, now)
            delivery = await tx.webhooks.get_delivery(sent.id, lock=True)
            # It may have been tried twice at a time; what arrived stays so.
            if delivery is None or delivery.has_arrived:
                return
            delivery = delivery.after(outcome, now)
            if is_lost and delivery.is_pending:
                delivery = delivery.hold()
            await tx.webhooks.save_delivery(delivery)
            await tx.commit()
        self._count(delivery, outcome, is_lost)
        if is_lost:
            raise EndpointDisabled
        if delivery.is_pending:
            raise DeliveryFailed

    def _count(self, delivery: Delivery, outcome: Outcome, is_lost: bool) -> None:
        given_up = delivery.status is DeliveryStatus.FAILED
        failed = WebhookResult.FAILED if given_up else WebhookResult.RETRIED
        result = WebhookResult.DELIVERED if outcome.is_success else failed
        self.metrics.webhook_sent(result, outcome.duration_ms / 1000)
        if is_lost:
            self.metrics.webhook_disabled()

    async def _note_outcome(
        self, tx: Transaction, endpoint_id: EndpointId, outcome: Outcome, now: datetime
    ) -> bool:
        """Tell whether this disables the endpoint; one whose state stays is not written."""
        endpoint = await tx.webhooks.get(endpoint_id)
        if endpoint and endpoint.after(outcome, now) != endpoint:
            endpoint = await tx.webhooks.get(endpoint_id, lock=True)
        after = endpoint.after(outcome, now) if endpoint else None
        if endpoint is None or after is None or after == endpoint:
            return False
        await tx.webhooks.save(after)
        if after.is_enabled or not endpoint.is_enabled:
            return False
        await self._give_notice(tx, after, "gone" if outcome.is_gone else "failing", now)
        return True

    async def _give_notice(
        self, tx: Transaction, endpoint: Endpoint, why: str, now: datetime
    ) -> None:
        type_ = AuditType.WEBHOOK_DISABLED
        await self.auditor.note(tx, type_, now, ClientContext(), subject=endpoint.id, reason=why)
        if endpoint.contact is not None:
            about, template = f"{endpoint.host} ({endpoint.id})", MailTemplate.WEBHOOK_DISABLED
            await self.postbox.warn(tx, endpoint.contact, template, about, now)
