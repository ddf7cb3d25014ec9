"""What the core asks of where exports are kept: their rows, and their files."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from ...domain.accounts import AccountId
from ...domain.exports import Export, ExportId


class ExportRepository(Protocol):
    """Rows outlive their account when that expires: somebody has to remove the file."""

    async def add(self, export: Export) -> None: ...

    async def get(self, export_id: ExportId, *, lock: bool = False) -> Export | None:
        """Read one; with `lock` the row is held until the transaction ends."""
        ...

    async def save(self, export: Export) -> None:
        """Write all fields back; nothing when it is gone."""
        ...

    async def note_progress(self, export_id: ExportId, percent: int) -> None:
        """Raise the progress, never lower it; nothing while somebody else holds the row."""
        ...

    async def count_items(self, account_id: AccountId) -> int:
        """Count what an export will list: sessions and audit entries, some 100,000 at most."""
        ...

    async def list_of(self, account_id: AccountId) -> Sequence[Export]:
        """List an account's exports, newest first."""
        ...

    async def list_due(self, now: datetime, limit: int) -> Sequence[Export]:
        """Hold and list up to `limit` that ran out and are not closed; skip what others hold."""
        ...

    async def remove_all(self, account_id: AccountId) -> Sequence[ExportId]:
        """Delete an account's exports, and tell whose files have to go."""
        ...

    async def remove_closed(self, before: datetime, limit: int) -> int:
        """Delete up to `limit` closed ones that ran out before a time; returns how many."""
        ...


class ExportStore(Protocol):
    """Keeps the files, unreadable for who sees the store; failures raise Unavailable."""

    async def write(self, export_id: ExportId, content: AsyncIterator[bytes]) -> int:
        """Store all of it, over an older file, or nothing; returns how many bytes it holds."""
        ...

    async def read(self, export_id: ExportId) -> AsyncIterator[bytes] | None:
        """Begin to read; None when there is no file, or none that the present keys open.

        The iterator raises SealBroken where the file was altered, cut short or replaced.
        """
        ...

    async def remove(self, export_id: ExportId) -> None:
        """Remove the file and what unfinished writes left of it; nothing when it is gone."""
        ...
