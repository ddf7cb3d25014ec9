"""What only the OAuth endpoints do: machine clients, revocation, introspection."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from ..domain.accounts import Account, AccountId
from ..domain.audit import AuditType, ClientContext
from ..domain.clients import Client, ClientId, ClientSecret
from ..domain.dataclasses import dataclass
from ..domain.errors import AccessTokenInvalid, InvalidClient, InvalidGrant
from ..domain.limits import Rule, address_key
from ..domain.roles import Principal, Scope
from ..domain.sessions import EndReason, RefreshClaim, Session, SessionId
from ..domain.tokens import FIRST_PARTY_CLIENT, AccessClaims
from .audit import Auditor
from .limits import Limits
from .ports.security import AccessTokens, Clock, RefreshTokens
from .ports.sessions import CallerReader
from .ports.storage import UnitOfWork
from .sessions import end_one
from .tokens import Authenticate, Granted, Issuer, scopes_held

T = TypeVar("T")
_Read = Callable[[ClientId], Awaitable[tuple[Client | None, T]]]
_Asked = tuple[AccessClaims | None, Account | None]


class TokenNotRevocable(Exception):
    """A machine client's token ends by itself, or with the client (RFC 7009 section 2.2.1)."""


@dataclass(frozen=True, slots=True)
class AuthenticateClient:
    """Tell which machine client shows its id and secret.

    Unknown, disabled, wrong and expired are one InvalidClient; audited, committed, then raised.
    Those count by address; who shows the right secret counts as himself. Raises RateLimited.
    """

    uow: UnitOfWork
    callers: CallerReader
    limits: Limits
    auditor: Auditor
    now: Clock

    async def __call__(self, *, client_id: str, secret: str, client: ClientContext) -> Client:
        found, _ = await self._by(self._alone, client_id, secret, client)
        return found

    async def _alone(self, client_id: ClientId) -> tuple[Client | None, None]:
        return await self.callers.client(client_id), None

    async def _by(
        self, read: _Read[T], client_id: str, secret: str, client: ClientContext
    ) -> tuple[Client, T]:
        """Authenticate with what `read` finds, and return what it found beside the client."""
        hit = await self.limits.spend(Rule.PUBLIC, address_key(client.ip))
        known, now = _parsed(client_id), self.now()
        if known is not None:
            found, beside = await read(known)
            if found is not None and (used := found.secret_matching(secret, now)) is not None:
                await self._note(used, now)
                await self.limits.give_back(hit)
                await self.limits.spend(Rule.USER, str(found.id))
                return found, beside
        type_, why = AuditType.CLIENT_REFUSED, InvalidClient.code
        await self.auditor.refused(type_, client, subject=known, failure=why)
        raise InvalidClient

    async def _note(self, used: ClientSecret, now: datetime) -> None:
        if used.needs_note(now):
            async with self.uow() as tx:
                await tx.clients.note_use(used.id, now)
                await tx.commit()


def _parsed(client_id: str) -> ClientId | None:
    """Read an id in its one spelling; whatever else is typed there may be a secret."""
    try:
        found = UUID(client_id)
    except ValueError:
        return None
    return ClientId(found) if str(found) == client_id else None


@dataclass(frozen=True, slots=True)
class GrantToClient:
    """Give an authenticated client an access token (RFC 6749 section 4.4).

    None asked for is all that it may have. Raises InvalidScope.
    """

    issuer: Issuer
    now: Clock

    def __call__(self, *, client: Client, scope: str | None = None) -> Granted:
        return self.issuer.grant(client, self.now(), scope)


@dataclass(frozen=True, slots=True)
class Revoke:
    """End the session that a token of either kind belongs to (RFC 7009).

    A token that opens nothing is no error: it has nothing left to end. Raises InvalidGrant for
    another client's token, which stays as it is; RateLimited; TokenNotRevocable; Unavailable.
    """

    uow: UnitOfWork
    limits: Limits
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    callers: CallerReader
    auditor: Auditor
    now: Clock

    async def __call__(
        self, *, token: str, presented_by: Client | None = None, client: ClientContext
    ) -> None:
        await self.limits.spend(Rule.PUBLIC, address_key(client.ip))
        found = await self._session_of(token)
        if found is None:
            return
        if presented_by is not None:
            raise InvalidGrant("The token was issued to another client.")
        (session_id, owner), now, why = found, self.now(), EndReason.REVOKED
        async with self.uow() as tx:
            if await end_one(tx, self.auditor, owner, session_id, why, now, client):
                await tx.commit()

    async def _session_of(self, token: str) -> tuple[SessionId, AccountId] | None:
        claim = self.refresh_tokens.open(token)
        if claim is not None:
            account = await self.callers.find(claim.session_id, self.now())
            return (claim.session_id, account.id) if account else None
        try:
            claims = self.access_tokens.verify(token, expired_too=True)
        except AccessTokenInvalid:
            return None
        if claims.session_id is None:
            raise TokenNotRevocable
        return claims.session_id, AccountId(claims.subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Introspected:
    """A token that is good now (RFC 7662 section 2.2)."""

    subject: UUID
    client_id: str
    scope: str
    issued_at: datetime
    expires_at: datetime
    session_id: SessionId | None
    username: str | None = None
    # Of an access token alone.
    token_id: UUID | None = None

    @classmethod
    def of(cls, claims: AccessClaims, account: Account | None) -> "Introspected":
        return cls(
            subject=claims.subject,
            client_id=claims.client_id,
            scope=claims.scope,
            issued_at=claims.issued_at,
            expires_at=claims.expires_at,
            session_id=claims.session_id,
            username=account.username.value if account else None,
            token_id=claims.token_id,
        )


@dataclass(frozen=True, slots=True)
class Introspect:
    """Tell what a token is worth now; None for nothing, whatever the reason.

    Session, account and client are read, so that what has ended is inactive at once. Raises
    InsufficientScope.
    """

    uow: UnitOfWork
    authenticate: Authenticate
    refresh_tokens: RefreshTokens

    async def __call__(self, *, actor: Principal, token: str) -> Introspected | None:
        actor.require(Scope.TOKENS_INTROSPECT)
        claims = self._verified(token)
        return await (self._other(token) if claims is None else self._access(claims))

    def _verified(self, token: str) -> AccessClaims | None:
        try:
            return self.authenticate.access_tokens.verify(token)
        except AccessTokenInvalid:
            return None

    async def _access(self, claims: AccessClaims) -> Introspected | None:
        try:
            principal = await self.authenticate.principal(claims)
        except AccessTokenInvalid:
            return None
        return Introspected.of(claims, principal.account)

    async def _other(self, token: str) -> Introspected | None:
        claim = self.refresh_tokens.open(token)
        return None if claim is None else await self._refresh(claim)

    async def _refresh(self, claim: RefreshClaim) -> Introspected | None:
        now = self.authenticate.now()
        account = await self.authenticate.callers.find(claim.session_id, now)
        session = await self._current(account, claim, now) if account else None
        if account is None or session is None:
            return None
        async with self.uow() as tx:
            scopes = await scopes_held(tx, account.roles)
        return Introspected(
            subject=account.id,
            client_id=FIRST_PARTY_CLIENT,
            scope=" ".join(scopes),
            issued_at=session.rotated_at,
            expires_at=session.idle_until,
            session_id=session.id,
            username=account.username.value,
        )

    async def _current(
        self, account: Account, claim: RefreshClaim, now: datetime
    ) -> Session | None:
        """Find the session, if this is its one unspent token."""
        shown = (claim.session_id, hashlib.sha256(claim.secret).digest(), claim.generation)
        async with self.uow() as tx:
            for one in await tx.sessions.list_live(account.id, now):
                if (one.id, one.secret_hash, one.generation) == shown:
                    return one
        return None


@dataclass(frozen=True, slots=True)
class IntrospectAsClient:
    """Authenticate a machine client, and introspect for it: of most tokens in one query.

    The answer is as of that query, which comes before the client is counted. Raises
    InvalidClient, InsufficientScope, RateLimited.
    """

    authenticate_client: AuthenticateClient
    introspect: Introspect

    async def __call__(
        self, *, client_id: str, secret: str, token: str, client: ClientContext
    ) -> Introspected | None:
        # Called after the limit: nothing is worked out for whoever that refuses.
        async def read(known: ClientId) -> tuple[Client | None, _Asked]:
            return await self._read(known, token)

        machine, asked = await self.authenticate_client._by(read, client_id, secret, client)
        Principal.machine(machine).require(Scope.TOKENS_INTROSPECT)
        return await self._answer(token, *asked)

    async def _read(self, client_id: ClientId, token: str) -> tuple[Client | None, _Asked]:
        callers, claims = self.authenticate_client.callers, self.introspect._verified(token)
        if claims is None or claims.session_id is None:
            return await callers.client(client_id), (claims, None)
        now = self.authenticate_client.now()
        found, account = await callers.client_and_caller(client_id, claims.session_id, now)
        return found, (claims, account)

    async def _answer(
        self, token: str, claims: AccessClaims | None, account: Account | None
    ) -> Introspected | None:
        if claims is None:
            return await self.introspect._other(token)
        if claims.session_id is None:
            return await self.introspect._access(claims)
        if account is None or account.id != claims.subject:
            return None
        return Introspected.of(claims, account)


@dataclass(frozen=True, slots=True)
class OAuth:
    """Grants, revocation and introspection, beside the sessions."""

    authenticate_client: AuthenticateClient
    grant_to_client: GrantToClient
    revoke: Revoke
    introspect: Introspect
    introspect_as_client: IntrospectAsClient
