"""Exports: what is stored about somebody, as one file for him, for a day."""

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from .accounts import AccountId
from .dataclasses import dataclass

ExportId = NewType("ExportId", UUID)

# Waited for this long, and then kept this long.
KEPT = timedelta(hours=24)


class ExportStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"
    EXPIRED = "expired"


OPEN = frozenset({ExportStatus.PENDING, ExportStatus.RUNNING})
CLOSED = frozenset({ExportStatus.FAILED, ExportStatus.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One export. `expires_at`: until then it is built, or, once ready, can be fetched.

    `progress`: how much of it is written, in per cent; it never goes back.
    """

    id: ExportId
    account_id: AccountId
    status: ExportStatus = ExportStatus.PENDING
    created_at: datetime
    expires_at: datetime
    size: int | None = None
    progress: int = 0

    @classmethod
    def request(cls, export_id: ExportId, account_id: AccountId, now: datetime) -> "Export":
        return cls(id=export_id, account_id=account_id, created_at=now, expires_at=now + KEPT)

    def at(self, now: datetime) -> "Export":
        """Return it as it stands at a time, whether or not the cleaning has come by."""
        if now < self.expires_at or self.status in CLOSED:
            return self
        is_ready = self.status is ExportStatus.READY
        return replace(self, status=ExportStatus.EXPIRED if is_ready else ExportStatus.FAILED)

    def start(self) -> "Export":
        return replace(self, status=ExportStatus.RUNNING)

    def complete(self, size: int, now: datetime) -> "Export":
        """Mark it ready; a second worker that built it again changes the size alone."""
        if self.status is ExportStatus.READY:
            return replace(self, size=size)
        ready = replace(self, status=ExportStatus.READY, expires_at=now + KEPT)
        return replace(ready, size=size, progress=100)
