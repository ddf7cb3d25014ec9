"""What the core asks of where webhooks are kept, and of who sends them."""

from collections.abc import Sequence
from dataclasses import field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from ...domain.dataclasses import dataclass
from ...domain.networks import Destinations
from ...domain.webhooks import Delivery, DeliveryId, DeliveryStatus, Endpoint, EndpointId, Outcome


class WebhookRepository(Protocol):
    """Endpoints, and their deliveries, which go with them."""

    async def add(self, endpoint: Endpoint) -> None: ...

    async def get(self, endpoint_id: EndpointId, *, lock: bool = False) -> Endpoint | None:
        """Read one; with `lock` the row is held until the transaction ends."""
        ...

    async def list_all(self) -> Sequence[Endpoint]:
        """List by `id`, which is oldest first."""
        ...

    async def save(self, endpoint: Endpoint) -> None:
        """Write all fields back; nothing when it is gone."""
        ...

    async def remove(self, endpoint_id: EndpointId) -> bool: ...

    async def add_delivery(self, delivery: Delivery) -> bool:
        """Insert; False when the endpoint has this event already."""
        ...

    async def get_delivery(
        self, delivery_id: DeliveryId, *, lock: bool = False
    ) -> Delivery | None: ...

    async def save_delivery(self, delivery: Delivery) -> None:
        """Write all fields back; nothing when it is gone."""
        ...

    async def list_deliveries(
        self, endpoint_id: EndpointId, *, status: DeliveryStatus | None = None, limit: int
    ) -> Sequence[Delivery]:
        """List newest first, which is by `id` descending."""
        ...

    async def release_held(self, endpoint_id: EndpointId, limit: int) -> Sequence[DeliveryId]:
        """Make up to `limit` held ones pending, tried never; each is returned to one caller."""
        ...

    async def remove_deliveries(self, before: datetime, limit: int) -> int:
        """Delete up to `limit` made before a time, whatever became of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent. `id` is the event's: the same at every attempt and for every endpoint."""

    id: UUID
    url: str = field(repr=False)
    body: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    sent_at: datetime


class WebhookSender(Protocol):
    """Posts to URLs that somebody gave: only where `destinations` allow, whatever names say.

    Names are resolved at each attempt, and the connection goes to the address that was checked.
    No redirect is followed, no answer's body is read, and it takes seconds at most.
    """

    destinations: Destinations

    async def check(self, url: str) -> None:
        """Raise ValidationFailed for a URL that nothing would be sent to now."""
        ...

    async def send(self, message: Message) -> Outcome:
        """Post once, signed (Standard Webhooks 1.0.0) with every secret; never raises for it."""
        ...
