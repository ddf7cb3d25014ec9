"""Accounts: their rows, how administrators and imports see them, their roles and tokens."""

import sqlite3
from collections.abc import Sequence, Set
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from gatepost import Account
from gatepost.application.ports.accounts import AccountRepository
from gatepost.application.ports.credentials import OneTimeTokenRepository
from gatepost.application.ports.directory import AccountDirectory, AccountQuery, RoleRepository
from gatepost.application.ports.transfer import AccountTransfer
from gatepost.domain.accounts import AccountId, Username
from gatepost.domain.addresses import EmailAddress
from gatepost.domain.credentials import OneTimeToken, Purpose
from gatepost.domain.errors import EmailTaken, RoleInUse, UsernameTaken
from gatepost.domain.roles import Role, is_lasting_admin

from .database import Connection, Rows, marks

# Behind every text that begins with the prefix.
_LAST = chr(0x10FFFF)
_NAMES_ROLE = "EXISTS (SELECT 1 FROM json_each(roles) WHERE value = ?)"


class AccountRows(Rows[Account]):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, "accounts", Account)

    def row(self, entity: Account) -> dict[str, object]:
        keys = {"username_key": entity.username.key, "email_key": entity.email.key}
        return super().row(entity) | keys

    async def sharing(self, accounts: Sequence[Account]) -> list[Account]:
        """Find who has the id, username or address of one of these."""
        ids = [account.id for account in accounts]
        names = [account.username.key for account in accounts]
        emails = [account.email.key for account in accounts if not account.is_placeholder]
        condition = (
            f"id IN {marks(ids)} OR username_key IN {marks(names)} "
            f"OR email_key IN {marks(emails)} AND NOT is_placeholder"
        )
        return await self.find(condition, *ids, *names, *emails)

    async def evict_expired(self, accounts: Sequence[Account], now: datetime) -> None:
        for rival in await self.sharing(accounts):
            if rival.has_expired(now):
                await self.remove("id = ?", rival.id)


@contextmanager
def _telling_what_is_taken() -> Any:
    # A refused statement leaves the transaction as it was: SQLite undoes the statement alone.
    try:
        yield
    except sqlite3.IntegrityError as refused:
        if "accounts.username_key" in str(refused):
            raise UsernameTaken from None
        if "accounts.email_key" in str(refused):
            raise EmailTaken from None
        raise


class SqliteAccounts(AccountRepository):
    """`lock` needs no code here: whoever may write is alone."""

    def __init__(self, connection: Connection) -> None:
        self._rows = AccountRows(connection)

    async def get(self, account_id: AccountId, *, lock: bool = False) -> Account | None:
        return await self._rows.first("id = ?", account_id)

    async def find_by_email(self, email: EmailAddress) -> Account | None:
        return await self._rows.first("email_key = ? AND NOT is_placeholder", email.key)

    async def find_unproven(self, email: EmailAddress, now: datetime) -> Account | None:
        return await self._rows.first(
            "email_key = ? AND NOT email_verified AND (expires_at IS NULL OR expires_at > ?)",
            *(email.key, now),
            tail="ORDER BY updated_at DESC, id DESC",
        )

    async def find_by_username(self, username: Username) -> Account | None:
        return await self._rows.first("username_key = ?", username.key)

    async def add(self, account: Account, now: datetime) -> None:
        await self._rows.evict_expired([account], now)
        with _telling_what_is_taken():
            await self._rows.insert(account)

    async def save(self, account: Account) -> None:
        with _telling_what_is_taken():
            await self._rows.update(account)

    async def replace_hash(self, account_id: AccountId, old: str, new: str) -> bool:
        sql = "UPDATE accounts SET password_hash = ? WHERE id = ? AND password_hash = ?"
        return bool(await self._rows.connection.change(sql, new, account_id, old))

    async def remove_expired(self, now: datetime, limit: int) -> int:
        return await self._rows.remove("expires_at <= ?", now, limit=limit)


class SqliteDirectory(AccountDirectory):
    def __init__(self, connection: Connection) -> None:
        self._rows = AccountRows(connection)

    async def list_accounts(
        self, query: AccountQuery, *, after: Sequence[str] | None = None, limit: int
    ) -> Sequence[Account]:
        columns = {"created_at": ("created_at", "id")}.get(
            query.sort.column, (f"{query.sort.column}_key",)
        )
        conditions: list[str] = ["NOT is_placeholder"]
        values: list[object] = []
        if query.prefix:
            conditions.append("(username_key BETWEEN ? AND ? OR email_key BETWEEN ? AND ?)")
            values += [query.prefix, query.prefix + _LAST] * 2
        if query.status is not None:
            conditions.append("status = ?")
            values.append(query.status)
        if query.role is not None:
            conditions.append(_NAMES_ROLE)
            values.append(query.role)
        if after is not None:
            sign = "<" if query.sort.is_descending else ">"
            conditions.append(f"({', '.join(columns)}) {sign} {marks(after)}")
            values += after
        way = "DESC" if query.sort.is_descending else "ASC"
        order = ", ".join(f"{column} {way}" for column in columns)
        tail = f"ORDER BY {order} LIMIT {int(limit)}"
        return await self._rows.find(" AND ".join(conditions), *values, tail=tail)

    async def lock_admins(self) -> frozenset[AccountId]:
        named = await self._rows.find(_NAMES_ROLE, "admin")
        return frozenset(account.id for account in named if is_lasting_admin(account))


class SqliteRoles(RoleRepository):
    def __init__(self, connection: Connection) -> None:
        self._rows = Rows(connection, "roles", Role)

    async def list_all(self) -> Sequence[Role]:
        return await self._rows.find(tail="ORDER BY name")

    async def find(self, names: Sequence[str], *, lock: bool = False) -> Sequence[Role]:
        return await self._rows.find(f"name IN {marks(names)}", *names, tail="ORDER BY name")

    async def put(self, role: Role, now: datetime) -> bool:
        if await self._rows.update(role, "name"):
            return False
        return await self._rows.insert(role)

    async def delete(self, name: str) -> bool:
        if not await self._rows.first("name = ?", name):
            return False
        if await self._rows.connection.rows(f"SELECT 1 FROM accounts WHERE {_NAMES_ROLE}", name):  # noqa: S608
            raise RoleInUse
        return bool(await self._rows.remove("name = ?", name))


class SqliteTransfer(AccountTransfer):
    def __init__(self, connection: Connection) -> None:
        self._rows = AccountRows(connection)

    async def read_after(self, after: AccountId | None, limit: int) -> Sequence[Account]:
        return await self._rows.find(
            "NOT is_placeholder AND id > ?", after or "", tail=f"ORDER BY id LIMIT {int(limit)}"
        )

    async def find_rivals(self, accounts: Sequence[Account], now: datetime) -> Sequence[Account]:
        return [row for row in await self._rows.sharing(accounts) if not row.has_expired(now)]

    async def add_all(self, accounts: Sequence[Account], now: datetime) -> Set[AccountId]:
        await self._rows.evict_expired(accounts, now)
        return {one.id for one in accounts if await self._rows.insert(one, "IGNORE")}


class SqliteTokens(OneTimeTokenRepository):
    def __init__(self, connection: Connection) -> None:
        self._rows = Rows(connection, "tokens", OneTimeToken)

    async def add(self, token: OneTimeToken) -> None:
        older = (token.account_id, token.purpose, token.email)
        await self._rows.remove("account_id = ? AND purpose = ? AND email = ?", *older)
        await self._rows.insert(token)

    async def find(
        self, digest: bytes, purposes: Set[Purpose], now: datetime
    ) -> OneTimeToken | None:
        kinds = tuple(purposes)
        condition = f"digest = ? AND expires_at > ? AND purpose IN {marks(kinds)}"
        return await self._rows.first(condition, digest, now, *kinds)

    async def consume(
        self, digest: bytes, purposes: Set[Purpose], now: datetime
    ) -> OneTimeToken | None:
        found = await self.find(digest, purposes, now)
        if found:
            await self._rows.remove("digest = ?", digest)
        return found

    async def drop_all(
        self, account_id: AccountId, *, keep_undo_until: datetime | None = None
    ) -> None:
        # Compared with NULL nothing is kept.
        kept = "COALESCE(purpose = ? AND created_at <= ?, FALSE)"
        await self._rows.remove(
            f"account_id = ? AND NOT {kept}", account_id, Purpose.UNDO_EMAIL, keep_undo_until
        )

    async def list_good(self, account_id: AccountId, now: datetime) -> Sequence[OneTimeToken]:
        return await self._rows.find(
            "account_id = ? AND expires_at > ?",
            *(account_id, now),
            tail="ORDER BY created_at, digest",
        )

    async def remove_expired(self, now: datetime, limit: int) -> int:
        return await self._rows.remove("expires_at <= ?", now, limit=limit)
