"""Accounts by the hundred in PostgreSQL."""

from collections.abc import Sequence, Set
from datetime import datetime

from sqlalchemy import ARRAY, ColumnElement, Text, Uuid, any_, bindparam, delete, or_, select
from sqlalchemy.dialects.postgresql import insert

from ...application.ports.transfer import AccountTransfer
from ...domain.accounts import Account, AccountId
from .connection import Connection
from .rows import account_columns, account_to_row, row_to_account
from .tables import accounts

_row = accounts.c
_SELECT = select(*account_columns(accounts))
_FIRST = _SELECT.where(~_row.is_placeholder).order_by(_row.id).limit(bindparam("most"))
_AFTER = _FIRST.where(_row.id > bindparam("after"))


def _shared() -> ColumnElement[bool]:
    # Arrays and not IN: one text of the statement for any number of accounts.
    ids = bindparam("ids", type_=ARRAY(Uuid))
    names, emails = (bindparam(name, type_=ARRAY(Text)) for name in ("names", "emails"))
    owns = (_row.email_key == any_(emails)) & ~_row.is_placeholder
    return or_(_row.id == any_(ids), _row.username_key == any_(names), owns)


_RIVALS = _SELECT.where(
    _shared(), or_(_row.expires_at.is_(None), _row.expires_at > bindparam("now"))
)
_MAKE_WAY = delete(accounts).where(_shared(), _row.expires_at <= bindparam("now"))
_INSERT = insert(accounts).on_conflict_do_nothing().returning(_row.id)


class PostgresTransfer(AccountTransfer):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read_after(self, after: AccountId | None, limit: int) -> Sequence[Account]:
        parameters = {"most": limit} if after is None else {"most": limit, "after": after}
        statement = _FIRST if after is None else _AFTER
        rows = await self._connection.execute(statement, parameters)
        return [row_to_account(row) for row in rows.mappings()]

    async def find_rivals(self, accounts: Sequence[Account], now: datetime) -> Sequence[Account]:
        rows = await self._connection.execute(_RIVALS, _keys(accounts, now))
        return [row_to_account(row) for row in rows.mappings()]

    async def add_all(self, accounts: Sequence[Account], now: datetime) -> Set[AccountId]:
        if not accounts:
            return frozenset()
        await self._connection.execute(_MAKE_WAY, _keys(accounts, now))
        # In one order, so that two imports at once wait for each other and not in a circle.
        ordered = sorted(accounts, key=lambda account: account.username.key)
        rows = [account_to_row(account) for account in ordered]
        added = await self._connection.execute(_INSERT, rows)
        return frozenset(AccountId(row.id) for row in added)


def _keys(accounts: Sequence[Account], now: datetime) -> dict[str, object]:
    return {
        "ids": [account.id for account in accounts],
        "names": [account.username.key for account in accounts],
        "emails": [account.email.key for account in accounts if not account.is_placeholder],
        "now": now,
    }
