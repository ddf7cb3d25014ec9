"""Access tokens: made for whoever signed in, and told apart when they come back."""

from collections.abc import Sequence
from dataclasses import field
from datetime import datetime, timedelta
from uuid import UUID

from ..domain.clients import Client, ClientId
from ..domain.dataclasses import dataclass
from ..domain.errors import AccessTokenInvalid
from ..domain.limits import Rule
from ..domain.roles import Principal, roles_held, scopes_of
from ..domain.sessions import Holder, SessionId
from ..domain.tokens import FIRST_PARTY_CLIENT, AccessClaims, TokenPolicy, narrowed
from .limits import Limits
from .ports.delivery import Grant, Metrics
from .ports.security import AccessTokens, Clock, Secrets
from .ports.sessions import CallerReader
from .ports.storage import Transaction
from .roles import own_roles


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """What a client gets: both tokens and how long they live."""

    session_id: SessionId
    access_token: str = field(repr=False)
    expires_in: timedelta
    refresh_token: str = field(repr=False)
    refresh_expires_in: timedelta
    scope: str
    # After a login: what its browser may show at the next one.
    device: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a machine client gets: an access token, and nothing to refresh it with."""

    access_token: str = field(repr=False)
    expires_in: timedelta
    scope: str


async def scopes_held(
    tx: Transaction, roles: tuple[str, ...], asked: str | None = None
) -> Sequence[str]:
    """Say what roles allow now, narrowed to what was asked for; raises InvalidScope."""
    return narrowed(scopes_of(roles, await own_roles(tx, roles)), asked)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Makes access tokens from what their owner may do now."""

    access_tokens: AccessTokens
    secrets: Secrets
    policy: TokenPolicy
    metrics: Metrics

    def issue(
        self,
        holder: Holder,
        refresh_token: str,
        now: datetime,
        scopes: Sequence[str],
        grant: Grant,
    ) -> SignedIn:
        """Make the tokens of a session."""
        self.metrics.issued(grant)
        owner, session_id, roles = holder.account_id, holder.session_id, roles_held(holder.roles)
        claims = self._claims(owner, FIRST_PARTY_CLIENT, scopes, now, session_id, roles)
        return SignedIn(
            session_id=session_id,
            access_token=self.access_tokens.sign(claims),
            expires_in=self.policy.access_ttl,
            refresh_token=refresh_token,
            refresh_expires_in=holder.idle_until - now,
            scope=claims.scope,
        )

    def grant(self, client: Client, now: datetime, asked: str | None) -> Granted:
        """Make the token of a machine client; raises InvalidScope when more is asked than held."""
        scopes = narrowed(client.scopes, asked)
        claims = self._claims(client.id, str(client.id), scopes, now)
        access_token = self.access_tokens.sign(claims)
        self.metrics.issued(Grant.CLIENT_CREDENTIALS)
        return Granted(
            access_token=access_token, expires_in=self.policy.access_ttl, scope=claims.scope
        )

    def _claims(
        self,
        subject: UUID,
        client_id: str,
        scopes: Sequence[str],
        now: datetime,
        session_id: SessionId | None = None,
        roles: tuple[str, ...] = (),
    ) -> AccessClaims:
        return AccessClaims(
            issuer=self.policy.issuer,
            audience=self.policy.audience,
            subject=subject,
            session_id=session_id,
            client_id=client_id,
            scope=" ".join(scopes),
            roles=roles,
            token_id=self.secrets.new_id(),
            issued_at=now,
            expires_at=now + self.policy.access_ttl,
        )


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Tell who an access token stands for, reading his session and account; in one query.

    Raises AccessTokenInvalid, also when the session ended, the account may not sign in, or the
    client was disabled or may do less than the token says. Raises RateLimited.
    """

    limits: Limits
    access_tokens: AccessTokens
    callers: CallerReader
    now: Clock

    async def __call__(self, *, access_token: str) -> Principal:
        claims = self.access_tokens.verify(access_token)
        await self.limits.spend(Rule.USER, str(claims.subject))
        return await self.principal(claims)

    async def principal(self, claims: AccessClaims) -> Principal:
        """Do the same for claims that were verified, perhaps of somebody else: uncounted."""
        if claims.session_id is None:
            return await self._client(claims)
        account = await self.callers.find(claims.session_id, self.now())
        if account is None or account.id != claims.subject:
            raise AccessTokenInvalid
        return Principal(
            account=account,
            session_id=claims.session_id,
            scopes=frozenset(claims.scope.split()),
        )

    async def _client(self, claims: AccessClaims) -> Principal:
        client_id, scopes = ClientId(claims.subject), frozenset(claims.scope.split())
        held = await self.callers.client_scopes(client_id)
        if held is None or not scopes <= held:
            raise AccessTokenInvalid
        return Principal(account=None, session_id=None, client_id=client_id, scopes=scopes)
