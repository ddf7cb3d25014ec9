"""Answers that are kept for repetitions, in PostgreSQL."""

from datetime import datetime

from sqlalchemy import BigInteger, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from ...application.ports.storage import IdempotencyRepository
from ...domain.accounts import AccountId
from ...domain.idempotency import StoredAnswer
from .connection import Connection, Prepared
from .rows import to_entity, to_row
from .tables import idempotency_keys as keys

_UPSERT = insert(keys)
_PUT = _UPSERT.on_conflict_do_update(
    index_elements=[keys.c.key],
    set_={name: _UPSERT.excluded[name] for name in ("sealed", "account_id", "expires_at")},
)
_CLAIM = Prepared(
    select(func.pg_try_advisory_xact_lock(bindparam("lock", type_=BigInteger)).label("is_ours"))
)


class PostgresIdempotency(IdempotencyRepository):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, key: bytes, now: datetime) -> StoredAnswer | None:
        statement = select(keys).where(keys.c.key == key, keys.c.expires_at > now)
        rows = await self._connection.execute(statement)
        return to_entity(StoredAnswer, rows.mappings().one_or_none())

    async def claim(self, key: bytes) -> bool:
        # 64 of the key's 256 bits: who meets a foreign lock by chance is told to try again.
        lock = int.from_bytes(key[:8], "big", signed=True)
        row = await self._connection.row(_CLAIM, {"lock": lock})
        return row is not None and bool(row["is_ours"])

    async def put(self, answer: StoredAnswer) -> None:
        await self._connection.execute(_PUT, to_row(answer))

    async def drop_all(self, account_id: AccountId) -> None:
        await self._connection.execute(delete(keys).where(keys.c.account_id == account_id))

    async def remove_expired(self, now: datetime, limit: int) -> int:
        expired = (
            select(keys.c.key)
            .where(keys.c.expires_at <= now)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        done = await self._connection.execute(delete(keys).where(keys.c.key.in_(expired)))
        return done.rowcount
