"""One-time tokens in PostgreSQL."""

from collections.abc import Sequence, Set
from datetime import datetime

from sqlalchemy import bindparam, delete, or_, select
from sqlalchemy.dialects.postgresql import insert

from ...application.ports.credentials import OneTimeTokenRepository
from ...domain.accounts import AccountId
from ...domain.credentials import OneTimeToken, Purpose
from .connection import Connection, Prepared
from .rows import to_entity, to_row
from .tables import one_time_tokens

_tokens = one_time_tokens.c
_GOOD = (
    _tokens.digest == bindparam("key"),
    _tokens.purpose.in_(bindparam("kinds", expanding=True)),
    _tokens.expires_at > bindparam("now"),
)
_INSERT = insert(one_time_tokens)
# One row an account, purpose and address: of two requests at once the later one's is left.
_REPLACE = Prepared(
    _INSERT.on_conflict_do_update(
        index_elements=[_tokens.account_id, _tokens.purpose, _tokens.email],
        set_={
            column.name: _INSERT.excluded[column.name]
            for column in one_time_tokens.columns
            if column.name not in ("account_id", "purpose", "email")
        },
    ),
    inserts=one_time_tokens,
)
_FIND = select(one_time_tokens).where(*_GOOD)
_LIST_GOOD = (
    select(one_time_tokens)
    .where(_tokens.account_id == bindparam("owner"), _tokens.expires_at > bindparam("now"))
    .order_by(_tokens.created_at, _tokens.digest)
)
_CONSUME = delete(one_time_tokens).where(*_GOOD).returning(*one_time_tokens.columns)
_DROP_ALL = delete(one_time_tokens).where(_tokens.account_id == bindparam("owner"))
_DROP_BUT_UNDO = _DROP_ALL.where(
    or_(_tokens.purpose != Purpose.UNDO_EMAIL, _tokens.created_at > bindparam("until"))
)
_REMOVE = delete(one_time_tokens).where(
    _tokens.digest.in_(
        select(_tokens.digest)
        .where(_tokens.expires_at <= bindparam("now"))
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
)


class PostgresOneTimeTokens(OneTimeTokenRepository):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, token: OneTimeToken) -> None:
        await self._connection.run(_REPLACE, to_row(token))

    async def find(
        self, digest: bytes, purposes: Set[Purpose], now: datetime
    ) -> OneTimeToken | None:
        parameters = {"key": digest, "kinds": list(purposes), "now": now}
        rows = await self._connection.execute(_FIND, parameters)
        return to_entity(OneTimeToken, rows.mappings().first())

    async def consume(
        self, digest: bytes, purposes: Set[Purpose], now: datetime
    ) -> OneTimeToken | None:
        parameters = {"key": digest, "kinds": list(purposes), "now": now}
        rows = await self._connection.execute(_CONSUME, parameters)
        return to_entity(OneTimeToken, rows.mappings().first())

    async def drop_all(
        self, account_id: AccountId, *, keep_undo_until: datetime | None = None
    ) -> None:
        parameters: dict[str, object] = {"owner": account_id}
        if keep_undo_until is None:
            await self._connection.execute(_DROP_ALL, parameters)
        else:
            parameters["until"] = keep_undo_until
            await self._connection.execute(_DROP_BUT_UNDO, parameters)

    async def list_good(self, account_id: AccountId, now: datetime) -> Sequence[OneTimeToken]:
        rows = await self._connection.execute(_LIST_GOOD, {"owner": account_id, "now": now})
        return [OneTimeToken(**row) for row in rows.mappings()]

    async def remove_expired(self, now: datetime, limit: int) -> int:
        return (await self._connection.execute(_REMOVE, {"now": now, "most": limit})).rowcount
