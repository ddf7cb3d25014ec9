"""Who is calling: the one read on every authenticated request."""

from datetime import datetime

from sqlalchemy import bindparam, literal_column, or_, select, union_all
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from ...application.ports.sessions import CallerReader
from ...domain.accounts import Account, AccountStatus, Username
from ...domain.addresses import EmailAddress
from ...domain.clients import Client, ClientId, ClientStatus
from ...domain.sessions import SessionId
from .accounts import BY_EMAIL, BY_USERNAME, UNPROVEN
from .connection import Prepared
from .engine import READ_POOL_SIZE
from .read_pool import ReadPool
from .rows import account_columns, row_to_account, rows_to_client
from .tables import MOMENT, accounts, client_secrets, clients, sessions

_now = bindparam("now", type_=MOMENT)
_STATEMENT = (
    select(*account_columns(accounts))
    .join_from(sessions, accounts, accounts.c.id == sessions.c.account_id)
    .where(
        sessions.c.id == bindparam("session_id"),
        sessions.c.revoked_at.is_(None),
        sessions.c.idle_until > _now,
        sessions.c.absolute_until > _now,
        accounts.c.status == literal_column(f"'{AccountStatus.ACTIVE.value}'"),
        or_(accounts.c.expires_at.is_(None), accounts.c.expires_at > _now),
    )
)
_CLIENT_ROWS = (
    select(*clients.columns, *(one.label(f"secret__{one.name}") for one in client_secrets.columns))
    .outerjoin_from(clients, client_secrets, client_secrets.c.client_id == clients.c.id)
    .where(clients.c.id == bindparam("client_id"))
    .order_by(client_secrets.c.created_at, client_secrets.c.id)
)
_CALLER = _STATEMENT.subquery("caller")
_CLIENT = Prepared(_CLIENT_ROWS, read=True)
_CLIENT_AND_CALLER = Prepared(
    _CLIENT_ROWS.add_columns(
        *(one.label(f"caller__{one.name}") for one in _CALLER.columns)
    ).outerjoin(_CALLER, literal_column("true")),
    read=True,
)
_CLIENT_SQL = f"SELECT scopes FROM {clients.name} WHERE id = $1 AND status = $2"  # noqa: S608
_BY_USERNAME = Prepared(BY_USERNAME, read=True)
_CANDIDATES = Prepared(
    union_all(
        BY_EMAIL.add_columns(literal_column("true").label("owns")),
        UNPROVEN.add_columns(literal_column("false").label("owns")),
    ),
    read=True,
)
# On asyncpg itself the read costs a third of what it does through Core.
_COMPILED = _STATEMENT.compile(dialect=dialect())  # type: ignore[no-untyped-call]
_SQL = str(_COMPILED)
_ORDER = _COMPILED.positiontup


class PostgresCallers(CallerReader):
    """Reads callers on a pool of its own: `open` before use, `close` at the end."""

    def __init__(self, url: str, *, size: int = READ_POOL_SIZE) -> None:
        self._pool = ReadPool(url, size=size)
        self.open = self._pool.open
        self.close = self._pool.close

    async def find(self, session_id: SessionId, now: datetime) -> Account | None:
        row = await self._pool.fetchrow(_SQL, session_id, now)
        return None if row is None else row_to_account(row)

    async def client_scopes(self, client_id: ClientId) -> frozenset[str] | None:
        row = await self._pool.fetchrow(_CLIENT_SQL, client_id, ClientStatus.ACTIVE.value)
        return None if row is None else frozenset(row["scopes"])

    async def client(self, client_id: ClientId) -> Client | None:
        arguments = _CLIENT.arguments({"client_id": client_id})
        rows = await self._pool.fetch(_CLIENT.sql, *arguments)
        return rows_to_client(rows) if rows else None

    async def client_and_caller(
        self, client_id: ClientId, session_id: SessionId, now: datetime
    ) -> tuple[Client | None, Account | None]:
        given = {"client_id": client_id, "session_id": session_id, "now": now}
        rows = await self._pool.fetch(_CLIENT_AND_CALLER.sql, *_CLIENT_AND_CALLER.arguments(given))
        if not rows:
            return None, None
        is_known = rows[0]["caller__id"] is not None
        return rows_to_client(rows), row_to_account(rows[0], "caller__") if is_known else None

    async def by_username(self, username: Username) -> Account | None:
        arguments = _BY_USERNAME.arguments({"key": username.key})
        row = await self._pool.fetchrow(_BY_USERNAME.sql, *arguments)
        return None if row is None else row_to_account(row)

    async def by_email(
        self, email: EmailAddress, now: datetime
    ) -> tuple[Account | None, Account | None]:
        arguments = _CANDIDATES.arguments({"key": email.key, "now": now})
        rows = await self._pool.fetch(_CANDIDATES.sql, *arguments)
        found = {row["owns"]: row_to_account(row) for row in rows}
        return found.get(True), found.get(False)
