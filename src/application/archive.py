"""What an export contains: all that is stored about somebody, and nothing that opens a door."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ..domain.accounts import Account, AccountId
from ..domain.audit import AuditEntry, AuditFilter
from ..domain.credentials import OneTimeToken
from ..domain.dataclasses import dataclass
from ..domain.exports import Export
from ..domain.roles import roles_held
from ..domain.sessions import Session
from .ports.storage import UnitOfWork

FORMAT = "gatepost.export.v1"
# Each page is a transaction of its own: a long one would keep the database from cleaning up.
_PAGE = 200

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Archive:
    """Writes one JSON document piece by piece, however much there is of it."""

    uow: UnitOfWork

    async def __call__(self, account: Account, now: datetime) -> AsyncIterator[bytes]:
        """Write the members; lists are read in pages while they are written."""
        head = {"format": FORMAT, "made_at": now, "account": _account(account)}
        yield _json(head)[:-1]
        lists = {
            "sessions": self._sessions(account.id),
            "pending_changes": self._pending_changes(account.id, now),
            "exports": self._exports(account.id, now),
            "audit_events": self._audit_events(account.id),
        }
        for name, items in lists.items():
            async for piece in _list(name, items):
                yield piece
        yield b"}\n"

    async def _sessions(self, account_id: AccountId) -> AsyncIterator[Values]:
        last: Session | None = None
        while True:
            async with self.uow() as tx:
                after = (last.created_at, last.id) if last else None
                page = await tx.sessions.list_page(account_id, after=after, limit=_PAGE)
            for last in page:
                yield _session(last)
            if len(page) < _PAGE:
                return

    async def _pending_changes(
        self, account_id: AccountId, now: datetime
    ) -> AsyncIterator[Values]:
        async with self.uow() as tx:
            tokens = await tx.tokens.list_good(account_id, now)
        for token in tokens:
            yield _pending_change(token)

    async def _exports(self, account_id: AccountId, now: datetime) -> AsyncIterator[Values]:
        async with self.uow() as tx:
            exports = await tx.exports.list_of(account_id)
        for export in exports:
            yield _export(export.at(now))

    async def _audit_events(self, account_id: AccountId) -> AsyncIterator[Values]:
        async for entry in self._entries(AuditFilter(subject=account_id)):
            yield _event(entry, account_id)
        async for entry in self._entries(AuditFilter(actor=account_id)):
            if entry.subject != account_id:
                yield _event(entry, account_id)

    async def _entries(self, filter_: AuditFilter) -> AsyncIterator[AuditEntry]:
        last: AuditEntry | None = None
        while True:
            async with self.uow() as tx:
                before = (last.created_at, last.id) if last else None
                page = await tx.audit.list_newest(filter_, before=before, limit=_PAGE)
            for last in page:
                yield last
            if len(page) < _PAGE:
                return


async def _list(name: str, items: AsyncIterator[Values]) -> AsyncIterator[bytes]:
    yield b"," + _json(name) + b":["
    separator = b""
    async for item in items:
        yield separator + _json(item)
        separator = b","
    yield b"]"


def _json(value: object) -> bytes:
    # Escaped to ASCII: a lone surrogate could not be encoded otherwise.
    return json.dumps(value, default=_plain, separators=(",", ":")).encode("ascii")


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def _picked(entity: object, names: Sequence[str]) -> Values:
    return {name: getattr(entity, name) for name in names}


_OF_ACCOUNT = (
    "id",
    "email_verified",
    "bio",
    "locale",
    "status",
    "created_at",
    "updated_at",
    "expires_at",
    "notified_at",
    "password_expires_at",
)
_OF_SESSION = (
    "id",
    "created_at",
    "rotated_at",
    "idle_until",
    "absolute_until",
    "revoked_at",
    "revoked_reason",
    "device_name",
    "user_agent",
    "ip",
)
_OF_EVENT = ("id", "created_at", "type", "result", "reason", "actor", "subject", "client_id")
_ORIGIN = ("session_id", "ip", "user_agent", "request_id")


def _account(account: Account) -> Values:
    """Name the fields one by one: the password's hash is one too."""
    return _picked(account, _OF_ACCOUNT) | {
        "username": account.username.value,
        "email": account.email.value,
        "roles": roles_held(account.roles),
    }


def _session(session: Session) -> Values:
    return _picked(session, _OF_SESSION)


def _pending_change(token: OneTimeToken) -> Values:
    return _picked(token, ("purpose", "email", "new_email", "created_at", "expires_at"))


def _export(export: Export) -> Values:
    return _picked(export, ("id", "status", "created_at", "expires_at", "size"))


def _event(entry: AuditEntry, owner: UUID) -> Values:
    """Where somebody else acted from is that person's own data."""
    origin = _picked(entry, _ORIGIN)
    if entry.actor not in (None, owner):
        origin = dict.fromkeys(_ORIGIN)
    return _picked(entry, _OF_EVENT) | origin
