"""Exports in PostgreSQL: their rows; the files are elsewhere."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, func, insert, select, update

from ...application.ports.exports import ExportRepository
from ...domain.accounts import AccountId
from ...domain.exports import CLOSED, OPEN, Export, ExportId, ExportStatus
from .connection import Connection
from .rows import to_entity, to_row
from .tables import audit_events, exports, sessions

_row = exports.c
_INSERT = insert(exports)
_LIST = (
    select(exports)
    .where(_row.account_id == bindparam("owner"))
    .order_by(_row.created_at.desc(), _row.id.desc())
)
_DUE = (
    select(exports)
    .where(_row.status.in_([*OPEN, ExportStatus.READY]), _row.expires_at <= bindparam("now"))
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_NOTE_PROGRESS = (
    update(exports)
    .where(
        _row.id.in_(
            select(_row.id)
            .where(_row.id == bindparam("export"), _row.progress < bindparam("percent"))
            .with_for_update(skip_locked=True)
        )
    )
    .values(progress=bindparam("percent"))
)
_event = audit_events.c
_ITEMS = (
    select(sessions.c.id).where(sessions.c.account_id == bindparam("owner")),
    select(_event.id).where(_event.subject == bindparam("owner")),
    select(_event.id).where(
        _event.actor == bindparam("owner"), _event.subject.is_distinct_from(bindparam("owner"))
    ),
)
# To a bound: a history of years must not keep a transaction open for as long as it takes.
_COUNT = select(
    *(
        select(func.count()).select_from(items.limit(50_000).subquery()).scalar_subquery()
        for items in _ITEMS
    )
)
_REMOVE_ALL = delete(exports).where(_row.account_id == bindparam("owner")).returning(_row.id)
_REMOVE_CLOSED = delete(exports).where(
    _row.id.in_(
        select(_row.id)
        .where(_row.status.in_(CLOSED), _row.expires_at < bindparam("before"))
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
)


class PostgresExports(ExportRepository):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, export: Export) -> None:
        await self._connection.execute(_INSERT, to_row(export))

    async def get(self, export_id: ExportId, *, lock: bool = False) -> Export | None:
        statement = select(exports).where(_row.id == export_id)
        if lock:
            statement = statement.with_for_update()
        rows = await self._connection.execute(statement)
        return to_entity(Export, rows.mappings().one_or_none())

    async def save(self, export: Export) -> None:
        statement = update(exports).where(_row.id == export.id)
        await self._connection.execute(statement.values(to_row(export)))

    async def note_progress(self, export_id: ExportId, percent: int) -> None:
        parameters = {"export": export_id, "percent": percent}
        await self._connection.execute(_NOTE_PROGRESS, parameters)

    async def count_items(self, account_id: AccountId) -> int:
        return sum((await self._connection.execute(_COUNT, {"owner": account_id})).one())

    async def list_of(self, account_id: AccountId) -> Sequence[Export]:
        rows = await self._connection.execute(_LIST, {"owner": account_id})
        return [Export(**row) for row in rows.mappings()]

    async def list_due(self, now: datetime, limit: int) -> Sequence[Export]:
        rows = await self._connection.execute(_DUE, {"now": now, "most": limit})
        return [Export(**row) for row in rows.mappings()]

    async def remove_all(self, account_id: AccountId) -> Sequence[ExportId]:
        rows = await self._connection.execute(_REMOVE_ALL, {"owner": account_id})
        return [ExportId(export_id) for export_id in rows.scalars()]

    async def remove_closed(self, before: datetime, limit: int) -> int:
        parameters = {"before": before, "most": limit}
        return (await self._connection.execute(_REMOVE_CLOSED, parameters)).rowcount
