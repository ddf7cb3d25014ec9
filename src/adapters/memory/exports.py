"""Exports in memory: their rows, and their files."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime

from ...application.ports.exports import ExportRepository, ExportStore
from ...domain.accounts import AccountId
from ...domain.exports import CLOSED, Export, ExportId
from .repositories import Tables


class MemoryExports(ExportRepository):
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rows = tables.exports

    async def add(self, export: Export) -> None:
        if export.id in self._rows:
            raise ValueError(f"{export.id} is stored already.")
        self._rows[export.id] = export

    async def get(self, export_id: ExportId, *, lock: bool = False) -> Export | None:
        return self._rows.get(export_id)

    async def save(self, export: Export) -> None:
        if export.id in self._rows:
            self._rows[export.id] = export

    async def note_progress(self, export_id: ExportId, percent: int) -> None:
        row = self._rows.get(export_id)
        if row is not None and row.progress < percent:
            self._rows[export_id] = replace(row, progress=percent)

    async def count_items(self, account_id: AccountId) -> int:
        sessions = self._tables.sessions.values()
        own = sum(session.account_id == account_id for session in sessions)
        return own + sum(account_id in (one.subject, one.actor) for one in self._tables.audit)

    async def list_of(self, account_id: AccountId) -> Sequence[Export]:
        own = [row for row in self._rows.values() if row.account_id == account_id]
        return sorted(own, key=lambda row: (row.created_at, row.id), reverse=True)

    async def list_due(self, now: datetime, limit: int) -> Sequence[Export]:
        rows = (row for row in self._rows.values() if row.status not in CLOSED)
        return [row for row in rows if row.expires_at <= now][:limit]

    async def remove_all(self, account_id: AccountId) -> Sequence[ExportId]:
        return self._removed([row.id for row in await self.list_of(account_id)])

    async def remove_closed(self, before: datetime, limit: int) -> int:
        rows = (row for row in self._rows.values() if row.status in CLOSED)
        return len(self._removed([row.id for row in rows if row.expires_at < before][:limit]))

    def _removed(self, ids: Sequence[ExportId]) -> Sequence[ExportId]:
        for export_id in ids:
            del self._rows[export_id]
        return ids


class MemoryExportStore(ExportStore):
    """Keeps the pieces as they came."""

    def __init__(self) -> None:
        self.files: dict[ExportId, tuple[bytes, ...]] = {}

    async def write(self, export_id: ExportId, content: AsyncIterator[bytes]) -> int:
        pieces = tuple([piece async for piece in content])
        self.files[export_id] = pieces
        return sum(map(len, pieces))

    async def read(self, export_id: ExportId) -> AsyncIterator[bytes] | None:
        pieces = self.files.get(export_id)
        return None if pieces is None else _each(pieces)

    async def remove(self, export_id: ExportId) -> None:
        self.files.pop(export_id, None)


async def _each(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
