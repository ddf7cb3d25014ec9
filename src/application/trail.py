"""Reading the audit trail."""

from datetime import datetime
from uuid import UUID

from ..domain.audit import AuditEntry, AuditFilter
from ..domain.dataclasses import dataclass
from ..domain.roles import Principal, Scope
from .paging import Cursors, Page
from .ports.storage import UnitOfWork


@dataclass(frozen=True, slots=True)
class ReadAudit:
    """List entries, newest first.

    Raises InsufficientScope, and ValidationFailed for a cursor of another list.
    """

    uow: UnitOfWork
    cursors: Cursors

    async def __call__(
        self,
        *,
        actor: Principal,
        filter_: AuditFilter,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[AuditEntry]:
        actor.require(Scope.AUDIT_READ)
        query = _query(filter_)
        position = self.cursors.open(query, cursor)
        before = (datetime.fromisoformat(position[0]), UUID(position[1])) if position else None
        async with self.uow() as tx:
            found = await tx.audit.list_newest(filter_, before=before, limit=limit + 1)
        items = found[:limit]
        if len(found) <= limit:
            return Page(items, None)
        last = items[-1]
        return Page(items, self.cursors.seal(query, [last.created_at.isoformat(), str(last.id)]))


def _query(filter_: AuditFilter) -> dict[str, str | None]:
    return {
        "list": "audit-events",
        "actor": str(filter_.actor),
        "subject": str(filter_.subject),
        "type": filter_.type,
        "since": filter_.since.isoformat() if filter_.since else None,
        "until": filter_.until.isoformat() if filter_.until else None,
    }
