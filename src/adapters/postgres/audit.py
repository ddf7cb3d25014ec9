"""The audit trail in PostgreSQL; rows are only ever added."""

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from ...application.ports.storage import AuditLog
from ...domain.audit import AuditEntry
from .rows import to_row
from .tables import audit_events

_INSERT = insert(audit_events)


class PostgresAuditLog(AuditLog):
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def append(self, entry: AuditEntry) -> None:
        await self._connection.execute(_INSERT, to_row(entry))
