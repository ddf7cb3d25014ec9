"""Machine clients in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from ...application.ports.storage import ClientRepository
from ...domain.clients import Client, ClientId
from .repositories import Tables


class MemoryClients(ClientRepository):
    def __init__(self, tables: Tables) -> None:
        self._rows = tables.clients

    async def get(self, client_id: ClientId, *, lock: bool = False) -> Client | None:
        return self._rows.get(client_id)

    async def list_page(self, *, after: ClientId | None = None, limit: int) -> Sequence[Client]:
        newest = sorted(self._rows.values(), key=lambda row: row.id, reverse=True)
        return [row for row in newest if after is None or row.id < after][:limit]

    async def add(self, client: Client) -> None:
        if client.id in self._rows:
            raise ValueError(f"{client.id} is stored already.")
        self._rows[client.id] = client

    async def save(self, client: Client) -> None:
        stored = {one.id: one for one in self._rows[client.id].secrets}
        secrets = tuple(stored.get(one.id, one) for one in client.secrets)
        self._rows[client.id] = replace(client, secrets=secrets)

    async def remove(self, client_id: ClientId) -> bool:
        return self._rows.pop(client_id, None) is not None

    async def note_use(self, secret_id: UUID, now: datetime) -> None:
        for row in list(self._rows.values()):
            secrets = tuple(
                replace(one, last_used_at=now) if one.id == secret_id else one
                for one in row.secrets
            )
            self._rows[row.id] = replace(row, secrets=secrets)
