"""Machine clients in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from ...application.ports.storage import ClientRepository
from ...domain.clients import Client, ClientId, ClientSecret
from .connection import Connection
from .rows import to_row
from .tables import client_secrets, clients

_row, _secret = clients.c, client_secrets.c
_GET = select(clients).where(_row.id == bindparam("of_client"))
_LOCK = _GET.with_for_update()
_FIRST = select(clients).order_by(_row.id.desc()).limit(bindparam("most"))
_NEXT = _FIRST.where(_row.id < bindparam("after"))
_SECRETS = (
    select(client_secrets)
    .where(_secret.client_id.in_(bindparam("of_clients", expanding=True)))
    .order_by(_secret.created_at, _secret.id)
)
_INSERT = insert(clients)
_SAVE = update(clients).where(_row.id == bindparam("of_client"))
_REMOVE = delete(clients).where(_row.id == bindparam("of_client"))
_ADD_SECRETS = upsert(client_secrets).on_conflict_do_nothing()
_DROP_SECRETS = delete(client_secrets).where(
    _secret.client_id == bindparam("of_client"),
    _secret.id.not_in(bindparam("kept", expanding=True)),
)
_NOTE_USE = (
    update(client_secrets)
    .where(_secret.id == bindparam("of_secret"))
    .values(last_used_at=bindparam("now"))
)


class PostgresClients(ClientRepository):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, client_id: ClientId, *, lock: bool = False) -> Client | None:
        found = await self._read(_LOCK if lock else _GET, of_client=client_id)
        return found[0] if found else None

    async def list_page(self, *, after: ClientId | None = None, limit: int) -> Sequence[Client]:
        if after is None:
            return await self._read(_FIRST, most=limit)
        return await self._read(_NEXT, most=limit, after=after)

    async def add(self, client: Client) -> None:
        await self._connection.execute(_INSERT, _to_row(client))
        await self._add_secrets(client)

    async def save(self, client: Client) -> None:
        values = {"of_client": client.id, **_to_row(client)}
        del values["id"]
        await self._connection.execute(_SAVE, values)
        kept = {"of_client": client.id, "kept": [one.id for one in client.secrets]}
        await self._connection.execute(_DROP_SECRETS, kept)
        await self._add_secrets(client)

    async def remove(self, client_id: ClientId) -> bool:
        return (await self._connection.execute(_REMOVE, {"of_client": client_id})).rowcount == 1

    async def note_use(self, secret_id: UUID, now: datetime) -> None:
        await self._connection.execute(_NOTE_USE, {"of_secret": secret_id, "now": now})

    async def _add_secrets(self, client: Client) -> None:
        rows = [{"client_id": client.id, **to_row(one)} for one in client.secrets]
        if rows:
            await self._connection.execute(_ADD_SECRETS, rows)

    async def _read(self, statement: Any, **parameters: object) -> Sequence[Client]:
        rows = (await self._connection.execute(statement, parameters)).mappings().all()
        secrets = await self._secrets([row["id"] for row in rows])
        return [
            Client(**{**row, "scopes": tuple(row["scopes"]), "secrets": tuple(secrets[row["id"]])})
            for row in rows
        ]

    async def _secrets(self, of_clients: list[UUID]) -> dict[UUID, list[ClientSecret]]:
        """Read the secrets of all of them in one query."""
        found: dict[UUID, list[ClientSecret]] = {client_id: [] for client_id in of_clients}
        if found:
            rows = await self._connection.execute(_SECRETS, {"of_clients": of_clients})
            for row in rows.mappings():
                values = dict(row)
                found[values.pop("client_id")].append(ClientSecret(**values))
        return found


def _to_row(client: Client) -> dict[str, Any]:
    values = to_row(client) | {"scopes": list(client.scopes)}
    del values["secrets"]
    return values
