"""What administration reads and writes, in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ...application.ports.directory import AccountDirectory, AccountQuery, RoleRepository
from ...domain.accounts import Account, AccountId
from ...domain.errors import RoleInUse
from ...domain.roles import Role, is_lasting_admin
from .repositories import Tables


class MemoryDirectory(AccountDirectory):
    def __init__(self, tables: Tables) -> None:
        self._rows = tables.accounts

    async def list_accounts(
        self, query: AccountQuery, *, after: Sequence[str] | None = None, limit: int
    ) -> Sequence[Account]:
        position, down = query.sort.position, query.sort.is_descending
        found = [row for row in self._rows.values() if _matches(query, row)]
        if after is not None:
            start = tuple(after)
            found = [row for row in found if (position(row) > start) is not down]
            found = [row for row in found if position(row) != start]
        ordered = sorted(found, key=position, reverse=down)
        return [replace(row) for row in ordered[:limit]]

    async def lock_admins(self) -> frozenset[AccountId]:
        return frozenset(row.id for row in self._rows.values() if is_lasting_admin(row))


def _matches(query: AccountQuery, row: Account) -> bool:
    prefix = query.prefix or ""
    return (
        not row.is_placeholder
        and (query.status is None or row.status is query.status)
        and (query.role is None or query.role in row.roles)
        and (row.username.key.startswith(prefix) or row.email.key.startswith(prefix))
    )


class MemoryRoles(RoleRepository):
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rows = tables.roles

    async def list_all(self) -> Sequence[Role]:
        return [self._rows[name] for name in sorted(self._rows)]

    async def find(self, names: Sequence[str], *, lock: bool = False) -> Sequence[Role]:
        return [self._rows[name] for name in sorted(names) if name in self._rows]

    async def put(self, role: Role, now: datetime) -> bool:
        is_new = role.name not in self._rows
        self._rows[role.name] = role
        return is_new

    async def delete(self, name: str) -> bool:
        if name not in self._rows:
            return False
        if any(name in row.roles for row in self._tables.accounts.values()):
            raise RoleInUse
        del self._rows[name]
        return True
