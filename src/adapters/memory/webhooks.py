"""Webhooks in memory: their rows, and a sender that only remembers."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from ipaddress import ip_address

from ...application.ports.webhooks import Message, WebhookRepository, WebhookSender
from ...domain.errors import ValidationFailed
from ...domain.networks import FORBIDDEN_ADDRESS, Destinations
from ...domain.webhooks import (
    Delivery,
    DeliveryId,
    DeliveryStatus,
    Endpoint,
    EndpointId,
    Fault,
    Outcome,
)
from .repositories import Tables


class MemoryWebhookRepository(WebhookRepository):
    def __init__(self, tables: Tables) -> None:
        self._endpoints = tables.endpoints
        self._deliveries = tables.deliveries

    async def add(self, endpoint: Endpoint) -> None:
        if endpoint.id in self._endpoints:
            raise ValueError(f"{endpoint.id} is stored already.")
        self._endpoints[endpoint.id] = endpoint

    async def get(self, endpoint_id: EndpointId, *, lock: bool = False) -> Endpoint | None:
        return self._endpoints.get(endpoint_id)

    async def list_all(self) -> Sequence[Endpoint]:
        return sorted(self._endpoints.values(), key=lambda row: row.id)

    async def save(self, endpoint: Endpoint) -> None:
        if endpoint.id in self._endpoints:
            self._endpoints[endpoint.id] = endpoint

    async def remove(self, endpoint_id: EndpointId) -> bool:
        for row in list(self._deliveries.values()):
            if row.endpoint_id == endpoint_id:
                del self._deliveries[row.id]
        return self._endpoints.pop(endpoint_id, None) is not None

    async def add_delivery(self, delivery: Delivery) -> bool:
        if delivery.endpoint_id not in self._endpoints:
            raise ValueError(f"There is no endpoint {delivery.endpoint_id}.")
        told = {(row.endpoint_id, row.event_id) for row in self._deliveries.values()}
        if (delivery.endpoint_id, delivery.event_id) in told:
            return False
        self._deliveries[delivery.id] = delivery
        return True

    async def get_delivery(
        self, delivery_id: DeliveryId, *, lock: bool = False
    ) -> Delivery | None:
        return self._deliveries.get(delivery_id)

    async def save_delivery(self, delivery: Delivery) -> None:
        if delivery.id in self._deliveries:
            self._deliveries[delivery.id] = delivery

    async def list_deliveries(
        self, endpoint_id: EndpointId, *, status: DeliveryStatus | None = None, limit: int
    ) -> Sequence[Delivery]:
        found = [
            row
            for row in self._deliveries.values()
            if row.endpoint_id == endpoint_id and status in (None, row.status)
        ]
        return sorted(found, key=lambda row: row.id, reverse=True)[:limit]

    async def release_held(self, endpoint_id: EndpointId, limit: int) -> Sequence[DeliveryId]:
        held = await self.list_deliveries(endpoint_id, status=DeliveryStatus.HELD, limit=limit)
        for row in held:
            self._deliveries[row.id] = row.again()
        return [row.id for row in held]

    async def remove_deliveries(self, before: datetime, limit: int) -> int:
        old = [row.id for row in self._deliveries.values() if row.created_at < before][:limit]
        for delivery_id in old:
            del self._deliveries[delivery_id]
        return len(old)


class MemoryWebhooks(WebhookSender):
    """Keeps what was sent, oldest first, and answers with the next of `outcomes`, then 204.

    Every name leads to a public address here; addresses are checked as in earnest. `meanwhile`
    happens once, while a message is on its way.
    """

    def __init__(self, destinations: Destinations | None = None) -> None:
        self.destinations = destinations or Destinations()
        self.sent: list[Message] = []
        self.outcomes: list[Outcome] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def check(self, url: str) -> None:
        if not self._admits(url):
            raise ValidationFailed(FORBIDDEN_ADDRESS)

    async def send(self, message: Message) -> Outcome:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            await meanwhile()
        try:
            admitted = self._admits(message.url)
        except ValidationFailed:
            admitted = False
        if not admitted:
            return Outcome(0, fault=Fault.FORBIDDEN)
        self.sent.append(message)
        return self.outcomes.pop(0) if self.outcomes else Outcome(1, status=204)

    def _admits(self, url: str) -> bool:
        target = self.destinations.parse(url)
        try:
            address = str(ip_address(target.host))
        except ValueError:
            address = "1.1.1.1"
        return bool(self.destinations.admit(target, [address]))
