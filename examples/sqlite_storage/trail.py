"""Audit trail, answers to repeated requests, signing keys and machine clients."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from gatepost.application.ports.storage import (
    AuditLog,
    ClientRepository,
    IdempotencyRepository,
    SigningKeyRepository,
)
from gatepost.domain.accounts import AccountId
from gatepost.domain.audit import AuditEntry, AuditFilter
from gatepost.domain.clients import Client, ClientId, ClientSecret
from gatepost.domain.idempotency import StoredAnswer
from gatepost.domain.keys import SigningKey
from gatepost.domain.webhooks import Endpoint

from .database import Connection, Rows


class SqliteAuditLog(AuditLog):
    def __init__(self, connection: Connection) -> None:
        self._rows = Rows(connection, "audit", AuditEntry)
        self._endpoints = Rows(connection, "endpoints", Endpoint)

    async def append(self, entry: AuditEntry, *, announces: str | None = None) -> bool:
        await self._rows.insert(entry)
        if announces is None:
            return False
        return any(endpoint.wants(announces) for endpoint in await self._endpoints.find())

    async def append_all(self, entries: Sequence[AuditEntry]) -> None:
        for entry in entries:
            await self._rows.insert(entry)

    async def forget(self, account_id: AccountId) -> None:
        sql = "UPDATE audit SET ip = NULL, user_agent = NULL WHERE ? IN (actor, subject)"
        await self._rows.connection.change(sql, account_id)

    async def list_newest(
        self, filter_: AuditFilter, *, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[AuditEntry]:
        asked = {
            "actor = ?": filter_.actor,
            "subject = ?": filter_.subject,
            "type = ?": filter_.type,
            "created_at >= ?": filter_.since,
            "created_at < ?": filter_.until,
        }
        asked = {condition: value for condition, value in asked.items() if value is not None}
        conditions, values = ["TRUE", *asked], list[object](asked.values())
        if before is not None:
            conditions.append("(created_at, id) < (?, ?)")
            values += before
        tail = f"ORDER BY created_at DESC, id DESC LIMIT {int(limit)}"
        return await self._rows.find(" AND ".join(conditions), *values, tail=tail)

    async def remove_before(self, time: datetime, limit: int) -> int:
        return await self._rows.remove("created_at < ?", time, limit=limit)


class SqliteIdempotency(IdempotencyRepository):
    def __init__(self, connection: Connection) -> None:
        self._rows = Rows(connection, "answers", StoredAnswer)

    async def find(self, key: bytes, now: datetime) -> StoredAnswer | None:
        return await self._rows.first("key = ? AND expires_at > ?", key, now)

    async def claim(self, key: bytes) -> bool:
        # Whoever asks is the only one who writes.
        return True

    async def put(self, answer: StoredAnswer) -> None:
        try:
            await self._rows.insert(answer, "REPLACE")
        except sqlite3.IntegrityError:
            raise ValueError("The account of this answer does not exist.") from None

    async def drop_all(self, account_id: AccountId) -> None:
        await self._rows.remove("account_id = ?", account_id)

    async def remove_expired(self, now: datetime, limit: int) -> int:
        return await self._rows.remove("expires_at <= ?", now, limit=limit)


class SqliteSigningKeys(SigningKeyRepository):
    def __init__(self, connection: Connection) -> None:
        self._rows = Rows(connection, "keys", SigningKey)

    async def lock(self) -> None:
        """Do nothing: this transaction is the only one that writes."""

    async def list_all(self) -> Sequence[SigningKey]:
        return await self._rows.find(tail="ORDER BY created_at, kid")

    async def add(self, key: SigningKey) -> bool:
        return await self._rows.insert(key, "IGNORE")

    async def save(self, key: SigningKey) -> None:
        await self._rows.update(key, "kid")

    async def remove(self, kid: str) -> None:
        await self._rows.remove("kid = ?", kid)


class SqliteClients(ClientRepository):
    def __init__(self, connection: Connection) -> None:
        self._rows = Rows(connection, "clients", Client)
        self._secrets = Rows(connection, "client_secrets", ClientSecret)

    async def get(self, client_id: ClientId, *, lock: bool = False) -> Client | None:
        client = await self._rows.first("id = ?", client_id)
        return await self._whole(client) if client else None

    async def list_page(self, *, after: ClientId | None = None, limit: int) -> Sequence[Client]:
        tail = f"ORDER BY id DESC LIMIT {int(limit)}"
        found = await self._rows.find("? IS NULL OR id < ?", after, after, tail=tail)
        return [await self._whole(client) for client in found]

    async def add(self, client: Client) -> None:
        await self._rows.insert(client)
        await self._add_secrets(client)

    async def save(self, client: Client) -> None:
        await self._rows.update(client)
        kept = [secret.id for secret in client.secrets]
        for secret in await self._secrets.find("client_id = ?", client.id):
            if secret.id not in kept:
                await self._secrets.remove("id = ?", secret.id)
        await self._add_secrets(client)

    async def remove(self, client_id: ClientId) -> bool:
        return bool(await self._rows.remove("id = ?", client_id))

    async def note_use(self, secret_id: UUID, now: datetime) -> None:
        sql = "UPDATE client_secrets SET last_used_at = ? WHERE id = ?"
        await self._rows.connection.change(sql, now, secret_id)

    async def _whole(self, client: Client) -> Client:
        order = "ORDER BY created_at, id"
        secrets = await self._secrets.find("client_id = ?", client.id, tail=order)
        return replace(client, secrets=tuple(secrets))

    async def _add_secrets(self, client: Client) -> None:
        # A stored one stays as it is: its last use may have been noted meanwhile.
        for secret in client.secrets:
            await self._secrets.insert(secret, "IGNORE", client_id=client.id)
