"""Webhook endpoints and their deliveries in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless

from ...application.ports.webhooks import WebhookRepository
from ...domain.webhooks import Delivery, DeliveryId, DeliveryStatus, Endpoint, EndpointId
from .connection import Connection
from .rows import to_entity, to_row
from .tables import webhook_deliveries, webhook_endpoints

_endpoint, _delivery = webhook_endpoints.c, webhook_deliveries.c
_INSERT = insert(webhook_endpoints)
_ALL = select(webhook_endpoints).order_by(_endpoint.id)
_INSERT_DELIVERY = insert_unless(webhook_deliveries).on_conflict_do_nothing(
    index_elements=[_delivery.endpoint_id, _delivery.event_id]
)
_NEWEST = (
    select(webhook_deliveries)
    .where(_delivery.endpoint_id == bindparam("endpoint"))
    .order_by(_delivery.id.desc())
    .limit(bindparam("most"))
)
_RELEASE = (
    update(webhook_deliveries)
    .where(
        _delivery.id.in_(
            select(_delivery.id)
            .where(
                _delivery.endpoint_id == bindparam("endpoint"),
                _delivery.status == DeliveryStatus.HELD,
            )
            .limit(bindparam("most"))
            .with_for_update(skip_locked=True)
        )
    )
    .values(status=DeliveryStatus.PENDING, attempts=0)
    .returning(_delivery.id)
)
_REMOVE_OLD = delete(webhook_deliveries).where(
    _delivery.id.in_(
        select(_delivery.id)
        .where(_delivery.created_at < bindparam("before"))
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
)


class PostgresWebhooks(WebhookRepository):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, endpoint: Endpoint) -> None:
        await self._connection.execute(_INSERT, _row_of(endpoint))

    async def get(self, endpoint_id: EndpointId, *, lock: bool = False) -> Endpoint | None:
        statement = select(webhook_endpoints).where(_endpoint.id == endpoint_id)
        if lock:
            statement = statement.with_for_update()
        row = (await self._connection.execute(statement)).mappings().one_or_none()
        return None if row is None else _endpoint_of(row)

    async def list_all(self) -> Sequence[Endpoint]:
        rows = await self._connection.execute(_ALL)
        return [_endpoint_of(row) for row in rows.mappings()]

    async def save(self, endpoint: Endpoint) -> None:
        statement = update(webhook_endpoints).where(_endpoint.id == endpoint.id)
        await self._connection.execute(statement.values(_row_of(endpoint)))

    async def remove(self, endpoint_id: EndpointId) -> bool:
        statement = delete(webhook_endpoints).where(_endpoint.id == endpoint_id)
        return (await self._connection.execute(statement)).rowcount == 1

    async def add_delivery(self, delivery: Delivery) -> bool:
        return (await self._connection.execute(_INSERT_DELIVERY, to_row(delivery))).rowcount == 1

    async def get_delivery(
        self, delivery_id: DeliveryId, *, lock: bool = False
    ) -> Delivery | None:
        statement = select(webhook_deliveries).where(_delivery.id == delivery_id)
        if lock:
            statement = statement.with_for_update()
        rows = await self._connection.execute(statement)
        return to_entity(Delivery, rows.mappings().one_or_none())

    async def save_delivery(self, delivery: Delivery) -> None:
        statement = update(webhook_deliveries).where(_delivery.id == delivery.id)
        await self._connection.execute(statement.values(to_row(delivery)))

    async def list_deliveries(
        self, endpoint_id: EndpointId, *, status: DeliveryStatus | None = None, limit: int
    ) -> Sequence[Delivery]:
        statement = _NEWEST if status is None else _NEWEST.where(_delivery.status == status)
        parameters = {"endpoint": endpoint_id, "most": limit}
        rows = await self._connection.execute(statement, parameters)
        return [Delivery(**row) for row in rows.mappings()]

    async def release_held(self, endpoint_id: EndpointId, limit: int) -> Sequence[DeliveryId]:
        parameters = {"endpoint": endpoint_id, "most": limit}
        rows = await self._connection.execute(_RELEASE, parameters)
        return [DeliveryId(delivery_id) for delivery_id in rows.scalars()]

    async def remove_deliveries(self, before: datetime, limit: int) -> int:
        parameters = {"before": before, "most": limit}
        return (await self._connection.execute(_REMOVE_OLD, parameters)).rowcount


def _row_of(endpoint: Endpoint) -> dict[str, Any]:
    return to_row(endpoint) | {"events": list(endpoint.events)}


def _endpoint_of(row: Any) -> Endpoint:
    return Endpoint(**{**row, "events": tuple(row["events"])})
