"""Sessions in PostgreSQL: the rotation of `Session.turn` as one conditional statement."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from ...application.outcomes import deciding
from ...application.ports.sessions import Rotations, SessionRepository
from ...domain.accounts import Account, AccountId, AccountStatus
from ...domain.sessions import EndReason, Holder, RefreshClaim, Session, SessionId, SessionPolicy
from .connection import Connection, Prepared
from .engine import READ_POOL_SIZE
from .read_pool import ReadPool
from .rows import Row, account_columns, row_to_account, row_to_session, to_row
from .tables import MOMENT, accounts, sessions

_row = sessions.c
_now = bindparam("now", type_=MOMENT)
_presented = bindparam("presented", type_=_row.generation.type)

_LIVE = and_(_row.revoked_at.is_(None), _row.idle_until > _now, _row.absolute_until > _now)
USABLE = and_(
    accounts.c.status == AccountStatus.ACTIVE,
    or_(accounts.c.expires_at.is_(None), accounts.c.expires_at > _now),
)

# The live session of a usable account whose token, of whatever generation, is presented.
_MEANT = and_(
    _row.id == bindparam("session_id"),
    _row.secret_hash == bindparam("hashed"),
    accounts.c.id == _row.account_id,
    _LIVE,
    USABLE,
)
_current = _row.generation == _presented
_prolonged = func.least(bindparam("idle_until", type_=MOMENT), _row.absolute_until)
_repeated = and_(
    _row.generation - 1 == _presented,
    _row.rotated_at.between(
        bindparam("earliest", type_=MOMENT), bindparam("latest", type_=MOMENT)
    ),
)


def _reason(reason: EndReason) -> ColumnElement[EndReason]:
    return bindparam(None, reason, type_=_row.revoked_reason.type)


# READ COMMITTED evaluates all of it again on the newest row once the lock is had: of N at once
# one finds the generation it presents.
_TURN = Prepared(
    update(sessions)
    .values(
        generation=case((_current, _row.generation + 1), else_=_row.generation),
        rotated_at=case((_current, _now), else_=_row.rotated_at),
        idle_until=case((_current, _prolonged), else_=_row.idle_until),
        revoked_at=case((or_(_current, _repeated), _row.revoked_at), else_=_now),
        revoked_reason=case(
            (or_(_current, _repeated), _row.revoked_reason),
            (_row.generation < _presented, _reason(EndReason.AHEAD)),
            (_row.generation - 1 == _presented, _reason(EndReason.LATE_PARENT)),
            else_=_reason(EndReason.STALE),
        ),
    )
    .where(_MEANT)
    .returning(*sessions.columns, *account_columns(accounts, "account__"))
)
# Nearly every refresh is this: a transaction by itself, on a connection that keeps no state.
_ROTATE = Prepared(
    update(sessions)
    .values(generation=_row.generation + 1, rotated_at=_now, idle_until=_prolonged)
    .where(_MEANT, _current)
    .returning(_row.id, _row.account_id, accounts.c.roles, _row.idle_until)
)
_INSERT = Prepared(insert(sessions), inserts=sessions)
_LIST = (
    select(sessions)
    .where(_row.account_id == bindparam("owner"), _LIVE)
    .order_by(_row.created_at.desc(), _row.id.desc())
)
_OLDEST = (
    select(sessions)
    .where(_row.account_id == bindparam("owner"))
    .order_by(_row.created_at, _row.id)
    .limit(bindparam("most"))
)
_BEHIND = _OLDEST.where(
    tuple_(_row.created_at, _row.id)
    > tuple_(bindparam("time", type_=MOMENT), bindparam("last", type_=_row.id.type))
)
_END_ANY = update(sessions).values(revoked_at=_now, revoked_reason=bindparam("reason"))
_END = _END_ANY.where(
    _row.id == bindparam("session_id"),
    _row.account_id == bindparam("owner"),
    _row.revoked_at.is_(None),
)
_END_ALL = _END_ANY.where(_row.account_id == bindparam("owner"), _LIVE)
_END_OTHERS = _END_ALL.where(_row.id != bindparam("keep"))
# Ordered, so that two at once wait for each other and do not lock each other out.
_NEXT = (
    select(_row.id)
    .where(_row.id > bindparam("after", type_=_row.id.type), _row.created_at <= _now)
    .order_by(_row.id)
    .limit(bindparam("most"))
    .with_for_update()
)
_END_LISTED = _END_ANY.where(_row.id.in_(bindparam("listed", expanding=True)), _LIVE)
_BEFORE_ALL, _BEHIND_ALL = SessionId(UUID(int=0)), SessionId(UUID(int=2**128 - 1))
_REMOVE_ALL = delete(sessions).where(_row.account_id == bindparam("owner"))
_LAST_LOOKED_AT = (
    select(_row.id)
    .where(_row.id > bindparam("after", type_=_row.id.type))
    .order_by(_row.id)
    .offset(bindparam("others"))
    .limit(1)
)
_REMOVE = delete(sessions).where(
    _row.id.in_(
        select(_row.id)
        .where(
            _row.id > bindparam("after", type_=_row.id.type),
            _row.id <= bindparam("last", type_=_row.id.type),
            func.coalesce(_row.revoked_at, func.least(_row.idle_until, _row.absolute_until))
            < bindparam("before"),
        )
        .with_for_update(skip_locked=True)
    )
)


class PostgresSessions(SessionRepository):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, session: Session) -> None:
        await self._connection.run(_INSERT, to_row(session))

    async def turn(
        self, claim: RefreshClaim, secret_hash: bytes, now: datetime, policy: SessionPolicy
    ) -> tuple[Session, Account] | None:
        parameters = _presenting(claim, secret_hash, now, policy) | {
            "earliest": now - policy.refresh_grace,
            "latest": now + policy.refresh_grace,
        }
        return _turned(await self._connection.row(_TURN, parameters))

    async def list_live(self, account_id: AccountId, now: datetime) -> Sequence[Session]:
        rows = await self._connection.execute(_LIST, {"owner": account_id, "now": now})
        return [Session(**row) for row in rows.mappings()]

    async def list_page(
        self, account_id: AccountId, *, after: tuple[datetime, SessionId] | None, limit: int
    ) -> Sequence[Session]:
        parameters: dict[str, object] = {"owner": account_id, "most": limit}
        if after is not None:
            parameters |= {"time": after[0], "last": after[1]}
        statement = _OLDEST if after is None else _BEHIND
        rows = await self._connection.execute(statement, parameters)
        return [Session(**row) for row in rows.mappings()]

    async def end(
        self, session_id: SessionId, account_id: AccountId, reason: EndReason, now: datetime
    ) -> bool:
        parameters = {"session_id": session_id, "owner": account_id, "reason": reason, "now": now}
        return (await self._connection.execute(_END, parameters)).rowcount == 1

    async def end_all(
        self,
        account_id: AccountId,
        reason: EndReason,
        now: datetime,
        *,
        keep: SessionId | None = None,
    ) -> int:
        parameters = {"owner": account_id, "reason": reason, "now": now, "keep": keep}
        if keep is None:
            del parameters["keep"]
        statement = _END_ALL if keep is None else _END_OTHERS
        return (await self._connection.execute(statement, parameters)).rowcount

    async def end_next(
        self, after: SessionId | None, reason: EndReason, now: datetime, limit: int
    ) -> tuple[int, SessionId | None]:
        place = {"after": after or _BEFORE_ALL, "now": now, "most": limit}
        listed = list((await self._connection.execute(_NEXT, place)).scalars())
        if not listed:
            return 0, None
        parameters = {"listed": listed, "reason": reason, "now": now}
        ended = await self._connection.execute(_END_LISTED, parameters)
        return ended.rowcount, listed[-1]

    async def remove_all(self, account_id: AccountId) -> None:
        await self._connection.execute(_REMOVE_ALL, {"owner": account_id})

    async def remove_ended(
        self, after: SessionId | None, before: datetime, limit: int
    ) -> tuple[int, SessionId | None]:
        place = {"after": after or _BEFORE_ALL, "others": limit - 1}
        last = (await self._connection.execute(_LAST_LOOKED_AT, place)).scalar()
        parameters = {"after": place["after"], "last": last or _BEHIND_ALL, "before": before}
        return (await self._connection.execute(_REMOVE, parameters)).rowcount, last


class PostgresRotations(Rotations):
    """Rotates on a pool of its own: `open` before use, `close` at the end.

    Of N at once the losers find another generation once they have the lock, and write nothing.
    """

    def __init__(self, url: str, *, size: int = READ_POOL_SIZE) -> None:
        self.pool = self._pool = ReadPool(url, size=size)
        self.open = self._pool.open
        self.close = self._pool.close

    async def rotate(
        self, claim: RefreshClaim, secret_hash: bytes, now: datetime, policy: SessionPolicy
    ) -> Holder | None:
        values = _presenting(claim, secret_hash, now, policy)
        with deciding():
            row = await self._pool.fetchrow(_ROTATE.sql, *_ROTATE.arguments(values))
        if row is None:
            return None
        session_id, account_id, roles, idle_until = row
        return Holder(
            session_id=session_id,
            account_id=account_id,
            roles=tuple(roles),
            idle_until=idle_until,
        )


def _presenting(
    claim: RefreshClaim, secret_hash: bytes, now: datetime, policy: SessionPolicy
) -> dict[str, object]:
    return {
        "session_id": claim.session_id,
        "hashed": secret_hash,
        "presented": claim.generation,
        "now": now,
        "idle_until": now + policy.idle_ttl,
    }


def _turned(row: Row | None) -> tuple[Session, Account] | None:
    return None if row is None else (row_to_session(row), row_to_account(row, "account__"))
