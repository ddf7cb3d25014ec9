"""Stay signed in: each refresh token is good for the next."""

import hashlib
from collections.abc import Sequence
from dataclasses import field
from datetime import datetime

from ..domain.audit import AuditType, ClientContext
from ..domain.dataclasses import dataclass
from ..domain.errors import (
    InvalidGrant,
)
from ..domain.limits import Rule, address_key
from ..domain.roles import names_of_own, scopes_of
from ..domain.sessions import (
    Holder,
    RefreshClaim,
    Session,
    SessionPolicy,
)
from .audit import Auditor
from .limits import Limits
from .ports.delivery import Grant, Metrics, RefreshOutcome
from .ports.security import Clock, RefreshTokens
from .ports.sessions import Rotations
from .ports.storage import Transaction, UnitOfWork
from .tokens import Issuer, SignedIn, scopes_held
from .turns import Turns

_Turned = tuple[Holder, Sequence[str], RefreshOutcome]


@dataclass(frozen=True, slots=True)
class Refresh:
    """Exchange a refresh token for its successor (RFC 9700 section 4.14.2).

    The direct predecessor gets the same successor within the grace; any other replay ends the
    session, is audited and committed, and only then refused. `scope` narrows the access token
    alone. Raises RateLimited, InvalidGrant; InvalidScope, which leaves the token unspent.
    """

    uow: UnitOfWork
    rotations: Rotations
    limits: Limits
    refresh_tokens: RefreshTokens
    issuer: Issuer
    auditor: Auditor
    now: Clock
    policy: SessionPolicy
    metrics: Metrics
    turns: Turns = field(default_factory=Turns)

    async def __call__(
        self, *, refresh_token: str, scope: str | None = None, client: ClientContext
    ) -> SignedIn:
        claim = self.refresh_tokens.open(refresh_token)
        if claim is None:
            await self.limits.spend(Rule.PUBLIC, address_key(client.ip))
            self.metrics.refreshed(RefreshOutcome.UNREADABLE)
            raise InvalidGrant
        await self.limits.spend(Rule.REFRESH, str(claim.session_id))
        now = self.now()
        async with self.turns(claim.session_id):
            rotated = None if scope else await self._rotated(claim, now)
            holder, scopes, outcome = rotated or await self._judged(claim, scope, now, client)
        self.metrics.refreshed(outcome)
        successor = self.refresh_tokens.successor(claim)
        return self.issuer.issue(holder, successor, now, scopes, Grant.REFRESH_TOKEN)

    async def _rotated(self, claim: RefreshClaim, now: datetime) -> _Turned | None:
        """Rotate in one statement, as nearly all are; what is narrowed may be refused after it."""
        digest = hashlib.sha256(claim.secret).digest()
        if (holder := await self.rotations.rotate(claim, digest, now, self.policy)) is None:
            return None
        if not names_of_own(holder.roles):
            return holder, scopes_of(holder.roles), RefreshOutcome.ROTATED
        async with self.uow() as tx:
            return holder, await scopes_held(tx, holder.roles), RefreshOutcome.ROTATED

    async def _judged(
        self, claim: RefreshClaim, scope: str | None, now: datetime, client: ClientContext
    ) -> _Turned:
        async with self.uow() as tx:
            digest = hashlib.sha256(claim.secret).digest()
            turned = await tx.sessions.turn(claim, digest, now, self.policy)
            if turned is None:
                self.metrics.refreshed(RefreshOutcome.EXPIRED_OR_UNKNOWN)
                raise InvalidGrant
            session, account = turned
            if session.revoked_reason is not None:
                await self._note_reuse(tx, session, now, client)
                await tx.commit()
                self.metrics.refreshed(RefreshOutcome.REUSE_DETECTED)
                raise InvalidGrant
            scopes = await scopes_held(tx, account.roles, scope)
            await tx.commit()
        fresh = session.rotated_at == now
        outcome = RefreshOutcome.ROTATED if fresh else RefreshOutcome.GRACE
        return session.holder(account.roles), scopes, outcome

    async def _note_reuse(
        self, tx: Transaction, session: Session, now: datetime, client: ClientContext
    ) -> None:
        await self.auditor.note(
            tx,
            AuditType.REFRESH_REUSED,
            now,
            client,
            subject=session.account_id,
            session_id=session.id,
            failure=session.revoked_reason,
        )
