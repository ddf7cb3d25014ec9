"""Roles in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, Select, Text, bindparam, delete, exists, literal_column, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert

from ...application.ports.directory import RoleRepository
from ...domain.errors import RoleInUse
from ...domain.roles import Role, Scope
from .connection import Connection
from .tables import accounts, roles

_row = roles.c
_ALL = select(_row.name, _row.scopes).order_by(_row.name)
_FIND = _ALL.where(_row.name.in_(bindparam("names", expanding=True)))
_LOCK = _FIND.with_for_update()
_HOLD = select(_row.name).where(_row.name == bindparam("role")).with_for_update()
_INSERT = insert(roles)
# The system column tells an inserted row from one that was updated.
_PUT: ReturningInsert[Any] = _INSERT.on_conflict_do_update(
    index_elements=[_row.name],
    set_={"scopes": _INSERT.excluded.scopes, "updated_at": _INSERT.excluded.updated_at},
).returning(literal_column("xmax = 0").label("is_new"))
_IN_USE = select(
    exists().where(
        accounts.c.roles.op("@>", is_comparison=True)(bindparam("named", type_=ARRAY(Text))),
        text("accounts.roles <> '{}'"),
    )
)
_DELETE = delete(roles).where(_row.name == bindparam("role"))


class PostgresRoles(RoleRepository):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list_all(self) -> Sequence[Role]:
        return await self._read(_ALL)

    async def find(self, names: Sequence[str], *, lock: bool = False) -> Sequence[Role]:
        return await self._read(_LOCK if lock else _FIND, names=list(names))

    async def put(self, role: Role, now: datetime) -> bool:
        values = {
            "name": role.name,
            "scopes": sorted(role.scopes),
            "created_at": now,
            "updated_at": now,
        }
        return bool((await self._connection.execute(_PUT, values)).scalar_one())

    async def delete(self, name: str) -> bool:
        # The row first: who is about to give this role holds it, and is seen afterwards.
        if (await self._connection.execute(_HOLD, {"role": name})).first() is None:
            return False
        if (await self._connection.execute(_IN_USE, {"named": [name]})).scalar_one():
            raise RoleInUse
        await self._connection.execute(_DELETE, {"role": name})
        return True

    async def _read(self, statement: Select[Any], **parameters: object) -> Sequence[Role]:
        rows = await self._connection.execute(statement, parameters)
        return [Role(name=row.name, scopes=_known(row.scopes)) for row in rows]


def _known(scopes: Sequence[str]) -> frozenset[Scope]:
    """Drop what another release may have known."""
    return frozenset(scope for scope in Scope if scope in scopes)
