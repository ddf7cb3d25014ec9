"""Sign out, and see and end the own sessions."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ..domain.accounts import AccountId
from ..domain.audit import AuditType, ClientContext
from ..domain.dataclasses import dataclass
from ..domain.errors import (
    NotFound,
)
from ..domain.limits import Rule, address_key
from ..domain.roles import Principal, Scope
from ..domain.sessions import (
    EndReason,
    Session,
    SessionId,
)
from .audit import Auditor
from .limits import Limits
from .ports.security import AccessTokens, Clock, RefreshTokens
from .ports.sessions import CallerReader
from .ports.storage import Transaction, UnitOfWork
from .rotations import Refresh
from .sign_ins import LogIn
from .tokens import Authenticate


@dataclass(frozen=True, slots=True)
class LogOut:
    """End the session that a token belongs to; again is no error.

    An expired access token will do: whoever wants to leave must not have to sign in first.
    Raises RateLimited, and AccessTokenInvalid for a token that is not ours.
    """

    uow: UnitOfWork
    limits: Limits
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    callers: CallerReader
    auditor: Auditor
    now: Clock

    async def __call__(self, *, access_token: str, client: ClientContext) -> None:
        await self.limits.spend(Rule.PUBLIC, address_key(client.ip))
        claims = self.access_tokens.verify(access_token, expired_too=True)
        if claims.session_id is not None:
            await self._end(claims.session_id, AccountId(claims.subject), client)

    async def by_refresh_token(self, *, refresh_token: str, client: ClientContext) -> None:
        """Do the same with a refresh token; one that opens nothing has nothing left to end."""
        await self.limits.spend(Rule.PUBLIC, address_key(client.ip))
        claim = self.refresh_tokens.open(refresh_token)
        account = claim and await self.callers.find(claim.session_id, self.now())
        if claim and account:
            await self._end(claim.session_id, account.id, client)

    async def _end(
        self, session_id: SessionId, account_id: AccountId, client: ClientContext
    ) -> None:
        now, why = self.now(), EndReason.LOGGED_OUT
        async with self.uow() as tx:
            if await end_one(tx, self.auditor, account_id, session_id, why, now, client):
                await tx.commit()


async def end_one(
    tx: Transaction,
    auditor: Auditor,
    owner: AccountId,
    session_id: SessionId,
    why: EndReason,
    now: datetime,
    client: ClientContext,
) -> bool:
    """End a session of this account and note it; False when there was none to end."""
    if not await tx.sessions.end(session_id, owner, why, now):
        return False
    type_ = AuditType.SESSION_ENDED
    await auditor.note(
        tx, type_, now, client, actor=owner, subject=owner, session_id=session_id, reason=why
    )
    return True


@dataclass(frozen=True, slots=True)
class ListSessions:
    """List the caller's live sessions, newest first."""

    uow: UnitOfWork
    now: Clock

    async def __call__(self, *, actor: Principal) -> Sequence[Session]:
        actor.require(Scope.ACCOUNT_READ)
        async with self.uow() as tx:
            return await tx.sessions.list_live(actor.own_account.id, self.now())


@dataclass(frozen=True, slots=True)
class EndSession:
    """End one of the caller's own sessions; raises NotFound for any other."""

    uow: UnitOfWork
    auditor: Auditor
    now: Clock

    async def __call__(self, *, actor: Principal, session_id: UUID, client: ClientContext) -> None:
        actor.require(Scope.ACCOUNT_WRITE)
        owner, now = actor.own_account.id, self.now()
        ended, why = SessionId(session_id), EndReason.ENDED_BY_OWNER
        async with self.uow() as tx:
            if not await end_one(tx, self.auditor, owner, ended, why, now, client):
                raise NotFound
            await tx.commit()


@dataclass(frozen=True, slots=True)
class EndOtherSessions:
    """End every session of the caller but the one he speaks from."""

    uow: UnitOfWork
    auditor: Auditor
    now: Clock

    async def __call__(self, *, actor: Principal, client: ClientContext) -> None:
        actor.require(Scope.ACCOUNT_WRITE)
        owner, now = actor.own_account.id, self.now()
        async with self.uow() as tx:
            await tx.sessions.end_all(owner, EndReason.ENDED_BY_OWNER, now, keep=actor.session_id)
            type_, kept = AuditType.SESSIONS_ENDED, actor.session_id
            await self.auditor.note(
                tx, type_, now, client, actor=owner, subject=owner, session_id=kept
            )
            await tx.commit()


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions of first-party clients."""

    log_in: LogIn
    refresh: Refresh
    authenticate: Authenticate
    log_out: LogOut
    list_own: ListSessions
    end: EndSession
    end_others: EndOtherSessions
