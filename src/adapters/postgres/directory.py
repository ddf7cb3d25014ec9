"""Lists of accounts in PostgreSQL: keyset pages that an index serves, however large the table."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
    text,
    tuple_,
)

from ...application.ports.directory import AccountDirectory, AccountQuery, AccountSort
from ...domain.accounts import Account, AccountId, AccountStatus
from ...domain.roles import ADMIN
from .connection import Connection
from .rows import account_columns, row_to_account
from .tables import MOMENT, accounts

_row = accounts.c
_ORDERS: dict[str, tuple[ColumnElement[Any], ...]] = {
    "created_at": (_row.created_at, _row.id),
    "username": (_row.username_key,),
    "email": (_row.email_key,),
}
# Behind every key that begins with a prefix; keys are compared byte by byte.
_BEYOND = "\U0010ffff"
# The conditions of partial indexes stand literally: a parameter does not prove one.
_NAMES_ROLE = and_(
    _row.roles.op("@>", is_comparison=True)(bindparam("named", type_=ARRAY(Text))),
    text("accounts.roles <> '{}'"),
)


def _has_status(status: AccountStatus) -> ColumnElement[bool]:
    return _row.status == literal_column(f"'{status.value}'")


_LOCK_ADMINS = (
    select(_row.id)
    .where(_NAMES_ROLE, _has_status(AccountStatus.ACTIVE), _row.expires_at.is_(None))
    .order_by(_row.id)
    .with_for_update()
)


@cache
def list_statement(
    sort: AccountSort,
    status: AccountStatus | None = None,
    *,
    by_role: bool = False,
    by_prefix: bool = False,
    is_first: bool = True,
) -> Select[Any]:
    """Build the statement of a kind of list; there are few kinds."""
    order = _ORDERS[sort.column]
    conditions = [~_row.is_placeholder]
    if status is not None:
        conditions.append(_has_status(status))
    if by_role:
        conditions.append(_NAMES_ROLE)
    if by_prefix:
        conditions.append(or_(*(_begins(key) for key in (_row.username_key, _row.email_key))))
    if not is_first:
        conditions.append(_is_behind(order, sort.is_descending))
    directions = [column.desc() if sort.is_descending else column for column in order]
    return (
        select(*account_columns(accounts))
        .where(*conditions)
        .order_by(*directions)
        .limit(bindparam("most"))
    )


def _begins(key: ColumnElement[str]) -> ColumnElement[bool]:
    # A range, since LIKE with a parameter uses no index.
    return and_(key >= bindparam("prefix"), key < bindparam("beyond"))


def _is_behind(order: Sequence[ColumnElement[Any]], is_descending: bool) -> ColumnElement[bool]:
    if len(order) == 1:
        key = order[0]
        return key < bindparam("last_key") if is_descending else key > bindparam("last_key")
    place = tuple_(*order)
    last_place = tuple_(bindparam("last_time", type_=MOMENT), bindparam("last_id"))
    return place < last_place if is_descending else place > last_place


class PostgresDirectory(AccountDirectory):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list_accounts(
        self, query: AccountQuery, *, after: Sequence[str] | None = None, limit: int
    ) -> Sequence[Account]:
        statement = list_statement(
            query.sort,
            query.status,
            by_role=query.role is not None,
            by_prefix=query.prefix is not None,
            is_first=after is None,
        )
        parameters = dict(_parameters(query, after), most=limit)
        rows = await self._connection.execute(statement, parameters)
        return [row_to_account(row) for row in rows.mappings()]

    async def lock_admins(self) -> frozenset[AccountId]:
        found = await self._connection.execute(_LOCK_ADMINS, {"named": [ADMIN]})
        return frozenset(AccountId(row.id) for row in found)


def _parameters(query: AccountQuery, after: Sequence[str] | None) -> Iterator[tuple[str, object]]:
    if query.role is not None:
        yield "named", [query.role]
    if query.prefix is not None:
        yield "prefix", query.prefix
        yield "beyond", query.prefix + _BEYOND
    if after is None:
        return
    if len(after) == 1:
        yield "last_key", after[0]
    else:
        yield "last_time", datetime.fromisoformat(after[0])
        yield "last_id", UUID(after[1])
