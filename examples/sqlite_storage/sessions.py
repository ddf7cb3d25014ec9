"""Sessions, and who calls."""

from collections.abc import Sequence
from datetime import datetime

from gatepost import Account
from gatepost.application.ports.sessions import CallerReader, SessionRepository
from gatepost.domain.accounts import AccountId, Username
from gatepost.domain.addresses import EmailAddress
from gatepost.domain.clients import Client, ClientId, ClientStatus
from gatepost.domain.sessions import (
    EndReason,
    RefreshClaim,
    Session,
    SessionId,
    SessionPolicy,
)

from .accounts import AccountRows, SqliteAccounts
from .database import Connection, Rows, marks
from .trail import SqliteClients

_LIVE = "revoked_at IS NULL AND idle_until > ? AND absolute_until > ?"


class SqliteSessions(SessionRepository):
    def __init__(self, connection: Connection) -> None:
        self._rows = Rows(connection, "sessions", Session)
        self._accounts = AccountRows(connection)

    async def add(self, session: Session) -> None:
        await self._rows.insert(session)

    async def turn(
        self, claim: RefreshClaim, secret_hash: bytes, now: datetime, policy: SessionPolicy
    ) -> tuple[Session, Account] | None:
        # Reading and then writing is safe: nobody else can write meanwhile.
        row = await self._rows.first("id = ?", claim.session_id)
        if row is None or row.secret_hash != secret_hash or not row.is_live(now):
            return None
        account = await self._accounts.first("id = ?", row.account_id)
        if account is None or not account.is_usable(now):
            return None
        turned = row.turn(claim.generation, now, policy)
        await self._rows.update(turned)
        return turned, account

    async def list_live(self, account_id: AccountId, now: datetime) -> Sequence[Session]:
        return await self._rows.find(
            f"account_id = ? AND {_LIVE}",
            *(account_id, now, now),
            tail="ORDER BY created_at DESC, id DESC",
        )

    async def list_page(
        self, account_id: AccountId, *, after: tuple[datetime, SessionId] | None, limit: int
    ) -> Sequence[Session]:
        return await self._rows.find(
            "account_id = ? AND (created_at, id) > (?, ?)",
            *(account_id, *(after or ("", ""))),
            tail=f"ORDER BY created_at, id LIMIT {int(limit)}",
        )

    async def end(
        self, session_id: SessionId, account_id: AccountId, reason: EndReason, now: datetime
    ) -> bool:
        condition = "id = ? AND account_id = ? AND revoked_at IS NULL"
        return bool(await self._end(reason, now, condition, session_id, account_id))

    async def end_all(
        self,
        account_id: AccountId,
        reason: EndReason,
        now: datetime,
        *,
        keep: SessionId | None = None,
    ) -> int:
        condition = f"account_id = ? AND id IS NOT ? AND {_LIVE}"
        return await self._end(reason, now, condition, account_id, keep, now, now)

    async def end_next(
        self, after: SessionId | None, reason: EndReason, now: datetime, limit: int
    ) -> tuple[int, SessionId | None]:
        condition, tail = "id > ? AND created_at <= ?", f"ORDER BY id LIMIT {int(limit)}"
        ids = [row.id for row in await self._rows.find(condition, after or "", now, tail=tail)]
        if not ids:
            return 0, None
        listed = f"id IN {marks(ids)} AND {_LIVE}"
        return await self._end(reason, now, listed, *ids, now, now), ids[-1]

    async def remove_all(self, account_id: AccountId) -> None:
        await self._rows.remove("account_id = ?", account_id)

    async def remove_ended(
        self, after: SessionId | None, before: datetime, limit: int
    ) -> tuple[int, SessionId | None]:
        tail = f"ORDER BY id LIMIT {int(limit)}"
        ids = [row.id for row in await self._rows.find("id > ?", after or "", tail=tail)]
        ended = "COALESCE(revoked_at, MIN(idle_until, absolute_until)) < ?"
        removed = await self._rows.remove(f"id IN {marks(ids)} AND {ended}", *ids, before)
        return removed, ids[-1] if len(ids) == limit else None

    async def _end(self, reason: EndReason, now: datetime, condition: str, *of: object) -> int:
        sql = f"UPDATE sessions SET revoked_at = ?, revoked_reason = ? WHERE {condition}"  # noqa: S608
        return await self._rows.connection.change(sql, now, reason, *of)


class SqliteCallers(CallerReader):
    """Reads what is committed, on a connection that waits for no writer."""

    def __init__(self, connection: Connection) -> None:
        self._accounts = AccountRows(connection)
        self._clients = Rows(connection, "clients", Client)
        self._whole_clients = SqliteClients(connection)
        self._found = SqliteAccounts(connection)

    async def find(self, session_id: SessionId, now: datetime) -> Account | None:
        owner = f"id = (SELECT account_id FROM sessions WHERE id = ? AND {_LIVE})"  # noqa: S608
        account = await self._accounts.first(owner, session_id, now, now)
        return account if account and account.is_usable(now) else None

    async def client_scopes(self, client_id: ClientId) -> frozenset[str] | None:
        client = await self._clients.first("id = ? AND status = ?", client_id, ClientStatus.ACTIVE)
        return frozenset(client.scopes) if client else None

    async def client(self, client_id: ClientId) -> Client | None:
        return await self._whole_clients.get(client_id)

    async def by_username(self, username: Username) -> Account | None:
        return await self._found.find_by_username(username)

    async def by_email(
        self, email: EmailAddress, now: datetime
    ) -> tuple[Account | None, Account | None]:
        return await self._found.find_by_email(email), await self._found.find_unproven(email, now)
