"""Signing keys in PostgreSQL."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from ...application.ports.storage import SigningKeyRepository
from ...domain.keys import SigningKey
from .connection import Connection
from .rows import to_row
from .tables import signing_keys

_keys = signing_keys.c
_LIST = select(signing_keys).order_by(_keys.created_at, _keys.kid)
# Waits for another replica's insert that is under way; whoever commits first has the active key.
_INSERT = insert(signing_keys).on_conflict_do_nothing()
_SAVE = update(signing_keys).where(_keys.kid == bindparam("of_kid"))
_REMOVE = delete(signing_keys).where(_keys.kid == bindparam("of_kid"))
# Any constant will do, as long as no other program takes the same one in this database.
_LOCK_ID = 0x6761_7465_6B65_7973
_LOCK = select(func.pg_advisory_xact_lock(bindparam("lock", _LOCK_ID, BigInteger)))


class PostgresSigningKeys(SigningKeyRepository):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock(self) -> None:
        await self._connection.execute(_LOCK)

    async def list_all(self) -> Sequence[SigningKey]:
        rows = await self._connection.execute(_LIST)
        return [SigningKey(**row) for row in rows.mappings()]

    async def add(self, key: SigningKey) -> bool:
        return (await self._connection.execute(_INSERT, to_row(key))).rowcount == 1

    async def save(self, key: SigningKey) -> None:
        await self._connection.execute(_SAVE, {"of_kid": key.kid, **to_row(key)})

    async def remove(self, kid: str) -> None:
        await self._connection.execute(_REMOVE, {"of_kid": kid})
