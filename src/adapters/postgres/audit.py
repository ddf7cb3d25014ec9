"""The audit trail in PostgreSQL; rows are added, forget people, and go when they are old."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    any_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from ...application.ports.storage import AuditLog
from ...domain.accounts import AccountId
from ...domain.audit import AuditEntry, AuditFilter, AuditType
from .connection import Connection, Prepared
from .rows import to_row
from .tables import MOMENT, audit_events, webhook_endpoints

_INSERT = insert(audit_events)
_wanted = webhook_endpoints.c.events
# A disabled endpoint wants it, too.
IS_WANTED = exists().where(
    or_(func.cardinality(_wanted) == 0, bindparam("event") == any_(_wanted))
)
# Part of the insert, since nearly every change waits for it.
_APPEND = Prepared(_INSERT, inserts=audit_events)
_APPEND_AND_ASK = Prepared(
    _INSERT.returning(IS_WANTED.label("is_wanted")),
    inserts=audit_events,
)
_columns = audit_events.c
_FORGET = (
    update(audit_events)
    .where(or_(_columns.subject == bindparam("of"), _columns.actor == bindparam("of")))
    .values(ip=None, user_agent=None)
)
_NEWEST = (
    select(audit_events)
    # While releases change, or change back, a newer one writes types that are unknown here.
    .where(_columns.type.in_(list(AuditType)))
    .order_by(_columns.created_at.desc(), _columns.id.desc())
)
_REMOVE = delete(audit_events).where(
    _columns.id.in_(
        select(_columns.id)
        .where(_columns.created_at < bindparam("before"))
        .order_by(_columns.created_at)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
)


class PostgresAuditLog(AuditLog):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def append(self, entry: AuditEntry, *, announces: str | None = None) -> bool:
        if announces is None:
            await self._connection.run(_APPEND, to_row(entry))
            return False
        row = await self._connection.row(_APPEND_AND_ASK, to_row(entry) | {"event": announces})
        return row is not None and bool(row["is_wanted"])

    async def append_all(self, entries: Sequence[AuditEntry]) -> None:
        if entries:
            await self._connection.execute(_INSERT, [to_row(entry) for entry in entries])

    async def forget(self, account_id: AccountId) -> None:
        await self._connection.execute(_FORGET, {"of": account_id})

    async def list_newest(
        self, filter_: AuditFilter, *, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[AuditEntry]:
        statement = _NEWEST.where(*_conditions(filter_)).limit(limit)
        if before is not None:
            position = tuple_(literal(before[0], MOMENT), literal(before[1]))
            statement = statement.where(tuple_(_columns.created_at, _columns.id) < position)
        rows = await self._connection.execute(statement)
        return [AuditEntry(**row) for row in rows.mappings()]

    async def remove_before(self, time: datetime, limit: int) -> int:
        parameters = {"before": time, "most": limit}
        return (await self._connection.execute(_REMOVE, parameters)).rowcount


def _conditions(filter_: AuditFilter) -> Iterator[ColumnElement[bool]]:
    for name in ("actor", "subject", "type"):
        if (wanted := getattr(filter_, name)) is not None:
            yield _columns[name] == wanted
    if filter_.since is not None:
        yield _columns.created_at >= filter_.since
    if filter_.until is not None:
        yield _columns.created_at < filter_.until
