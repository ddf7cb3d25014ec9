"""Accounts in PostgreSQL."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
from sqlalchemy import and_, bindparam, delete, exists, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from ...application.ports.accounts import AccountRepository
from ...domain.accounts import Account, AccountId, Username
from ...domain.addresses import EmailAddress
from ...domain.errors import EmailTaken, UsernameTaken
from .connection import Connection, Prepared
from .rows import account_columns, account_to_row, row_to_account
from .tables import accounts

_TAKEN = {"uq_accounts_username_key": UsernameTaken, "uq_accounts_email_key": EmailTaken}

# Built once: building a statement costs more than running it.
_SELECT = select(*account_columns(accounts))
_BY_ID = _SELECT.where(accounts.c.id == bindparam("account_id"))
_GET = Prepared(_BY_ID, read=True)
_LOCK = Prepared(_BY_ID.with_for_update())
BY_USERNAME = _SELECT.where(accounts.c.username_key == bindparam("key"))
BY_EMAIL = _SELECT.where(accounts.c.email_key == bindparam("key"), ~accounts.c.is_placeholder)
UNPROVEN = (
    _SELECT.where(
        accounts.c.email_key == bindparam("key"),
        ~accounts.c.email_verified,
        or_(accounts.c.expires_at.is_(None), accounts.c.expires_at > bindparam("now")),
    )
    .order_by(accounts.c.updated_at.desc(), accounts.c.id.desc())
    .limit(1)
)
_BY_USERNAME = Prepared(BY_USERNAME, read=True)
_BY_EMAIL = Prepared(BY_EMAIL, read=True)
_UNPROVEN = Prepared(UNPROVEN, read=True)
_MAKE_WAY = Prepared(
    delete(accounts).where(
        accounts.c.expires_at <= bindparam("now"),
        or_(
            accounts.c.username_key == bindparam("of_username"),
            and_(accounts.c.email_key == bindparam("of_email"), ~accounts.c.is_placeholder),
        ),
    )
)
_INSERT = Prepared(insert(accounts), inserts=accounts)
# Needs no savepoint; what is in the way is looked for only when something is.
_INSERT_IF_FREE = Prepared(upsert(accounts).on_conflict_do_nothing(), inserts=accounts)
_WHAT_IS_TAKEN = Prepared(
    select(
        exists().where(accounts.c.username_key == bindparam("of_username")).label("username"),
        exists()
        .where(accounts.c.email_key == bindparam("of_email"), ~accounts.c.is_placeholder)
        .label("email"),
    ),
    read=True,
)
_SAVE = Prepared(
    update(accounts)
    .where(accounts.c.id == bindparam("account_id"))
    .values({one.name: bindparam(one.name) for one in accounts.columns if one.name != "id"})
)
_REPLACE_HASH = (
    update(accounts)
    .where(accounts.c.id == bindparam("account_id"), accounts.c.password_hash == bindparam("old"))
    .values(password_hash=bindparam("new"))
)
# Rows that somebody holds are skipped: a cleaner must not wait for live traffic, nor deadlock.
_REMOVE = delete(accounts).where(
    accounts.c.id.in_(
        select(accounts.c.id)
        .where(accounts.c.expires_at <= bindparam("now"))
        .order_by(accounts.c.expires_at)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
)


class PostgresAccounts(AccountRepository):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, account_id: AccountId, *, lock: bool = False) -> Account | None:
        return await self._one(_LOCK if lock else _GET, account_id=account_id)

    async def find_by_email(self, email: EmailAddress) -> Account | None:
        return await self._one(_BY_EMAIL, key=email.key)

    async def find_unproven(self, email: EmailAddress, now: datetime) -> Account | None:
        return await self._one(_UNPROVEN, key=email.key, now=now)

    async def find_by_username(self, username: Username) -> Account | None:
        return await self._one(_BY_USERNAME, key=username.key)

    async def add(self, account: Account, now: datetime) -> None:
        row = account_to_row(account)
        if await self._connection.run(_INSERT_IF_FREE, row):
            return
        claimed = None if account.is_placeholder else account.email.key
        keys = {"of_username": account.username.key, "of_email": claimed}
        has_room = await self._connection.run(_MAKE_WAY, {"now": now, **keys})
        if has_room and await self._connection.run(_INSERT_IF_FREE, row):
            return
        await self._refuse_taken(keys)
        # Who was in the way has gone meanwhile.
        async with self._refusing_duplicates():
            await self._connection.run(_INSERT, row)

    async def save(self, account: Account) -> None:
        values = {"account_id": account.id, **account_to_row(account)}
        async with self._refusing_duplicates():
            await self._connection.run(_SAVE, values)

    async def replace_hash(self, account_id: AccountId, old: str, new: str) -> bool:
        values = {"account_id": account_id, "old": old, "new": new}
        return (await self._connection.execute(_REPLACE_HASH, values)).rowcount == 1

    async def remove_expired(self, now: datetime, limit: int) -> int:
        return (await self._connection.execute(_REMOVE, {"now": now, "most": limit})).rowcount

    async def _one(self, statement: Prepared, **parameters: object) -> Account | None:
        row = await self._connection.row(statement, parameters)
        return None if row is None else row_to_account(row)

    async def _refuse_taken(self, keys: Mapping[str, str | None]) -> None:
        taken = await self._connection.row(_WHAT_IS_TAKEN, keys)
        if taken and taken["username"]:
            raise UsernameTaken
        if taken and taken["email"]:
            raise EmailTaken

    @asynccontextmanager
    async def _refusing_duplicates(self) -> AsyncIterator[None]:
        """Undo a refused statement alone, and name the refusal."""
        try:
            async with self._connection.savepoint():
                yield
        except asyncpg.IntegrityConstraintViolationError as error:
            refusal = _TAKEN.get(error.constraint_name or "")
            if refusal is None:
                raise
            raise refusal from None
