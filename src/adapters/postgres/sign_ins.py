"""Sign-ins in PostgreSQL: the account is checked and the session stored by one statement."""

from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, insert, select

from ...application.outcomes import deciding
from ...application.ports.sessions import SignIns
from ...domain.accounts import Account
from ...domain.audit import AuditEntry
from ...domain.sessions import Session
from .audit import IS_WANTED
from .connection import Prepared
from .read_pool import ReadPool
from .rows import to_row
from .sessions import USABLE
from .tables import accounts, audit_events, sessions

_row = accounts.c


def _given(table: Table) -> list[ColumnElement[Any]]:
    """Name the value of each column apart from another table's."""
    return [bindparam(f"{table.name}__{c.name}", type_=c.type) for c in table.columns]


def _named(table: Table, entity: Any) -> dict[str, Any]:
    return {f"{table.name}__{name}": value for name, value in to_row(entity).items()}


def _is_seen(*names: str) -> list[ColumnElement[bool]]:
    return [_row[name] == bindparam(f"seen_{name}", type_=_row[name].type) for name in names]


# A change of the account that is under way is not waited for on a connection that all refreshes
# need: then nothing is found, and a transaction waits. The newest row is compared again. A change
# that comes later waits for us, and ends this session with all others; other sign-ins do not.
_HELD = (
    select(_row.id)
    .where(
        _row.id == bindparam("account_id"),
        USABLE,
        *_is_seen("password_hash", "roles", "email_verified", "is_placeholder"),
        ~IS_WANTED,
    )
    .with_for_update(read=True, skip_locked=True)
    .cte("held")
)


def _stored(table: Table) -> Any:
    rows = select(*_given(table)).select_from(_HELD)
    return insert(table).from_select([column.name for column in table.columns], rows)


_NOTED = _stored(audit_events).returning(audit_events.c.id).cte("noted")
_START = Prepared(_stored(sessions).add_cte(_NOTED).returning(sessions.c.id))


class PostgresSignIns(SignIns):
    """Starts sessions on the pool of another adapter, who opens and closes it."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def start(
        self, session: Session, seen: Account, entry: AuditEntry, announces: str
    ) -> bool:
        values = {
            "account_id": seen.id,
            "now": session.created_at,
            "seen_password_hash": seen.password_hash,
            "seen_roles": list(seen.roles),
            "seen_email_verified": seen.email_verified,
            "seen_is_placeholder": seen.is_placeholder,
            "event": announces,
            **_named(sessions, session),
            **_named(audit_events, entry),
        }
        with deciding():
            found = await self._pool.fetchrow(_START.sql, *_START.arguments(values))
        return found is not None
