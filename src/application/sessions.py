"""Sign in, stay signed in, sign out."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import field, replace
from datetime import datetime
from uuid import UUID

from ..domain.accounts import Account, AccountId, AccountPolicy, Username
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditEntry, AuditType, ClientContext
from ..domain.credentials import parse_existing
from ..domain.dataclasses import dataclass
from ..domain.errors import (
    EmailNotVerified,
    GatepostError,
    InvalidCredentials,
    InvalidGrant,
    NotFound,
    Overloaded,
    ValidationFailed,
)
from ..domain.limits import Rule, address_key
from ..domain.roles import Principal, Scope, names_of_own, scopes_of
from ..domain.sessions import (
    EndReason,
    Holder,
    RefreshClaim,
    Session,
    SessionId,
    SessionPolicy,
    start_session,
)
from .audit import Auditor
from .guesses import Guess, Guesses
from .initial_passwords import DemandChange
from .limits import Limits
from .ports.delivery import Grant, Metrics, RefreshOutcome
from .ports.security import AccessTokens, Clock, PasswordHasher, RefreshTokens, Secrets
from .ports.sessions import CallerReader, Rotations, SignIns
from .ports.storage import Transaction, UnitOfWork
from .tokens import Authenticate, Issuer, SignedIn, scopes_held
from .turns import Turns

_Started = tuple[Account, Sequence[str]]
_Turned = tuple[Holder, Sequence[str], RefreshOutcome]


@dataclass(frozen=True, slots=True)
class LogIn:
    """Start a session with a login (username or address) and a password.

    Unknown login, wrong password and suspended account are one InvalidCredentials, in the same
    time; PasswordChangeRequired, then EmailNotVerified come only after the right password. A
    refusal is audited, committed, and then raised. Also raises RateLimited (for unknown logins
    too), Overloaded, ValidationFailed, InvalidScope. `device` is what an earlier sign-in gave.
    """

    uow: UnitOfWork
    callers: CallerReader
    sign_ins: SignIns
    guesses: Guesses
    hasher: PasswordHasher
    secrets: Secrets
    refresh_tokens: RefreshTokens
    issuer: Issuer
    demand_change: DemandChange
    auditor: Auditor
    now: Clock
    accounts: AccountPolicy
    sessions: SessionPolicy
    turns: Turns = field(default_factory=Turns)

    async def __call__(
        self,
        *,
        login: str,
        password: str,
        device_name: str | None = None,
        device: str | None = None,
        scope: str | None = None,
        client: ClientContext,
    ) -> SignedIn:
        # A flood that is over its budget must not hold places while others look for one.
        self.guesses.recall(login, device, client)
        # Before all else, the same for known and unknown: a flood must cost next to nothing, and
        # who is let in gets his hash.
        with self.hasher.place():
            await self.guesses.come_from(client)
            password = parse_existing(password)
            known = await self._candidates(login) if device else ()
            async with self.guesses.at_login(login, device, known) as guess:
                while True:
                    account = await self._checked(login, password, guess, client)
                    upgraded = await self._upgraded_hash(account, password)
                    if found := await self._start(account, upgraded, device_name, scope, client):
                        return found
                    # Somebody changed the password since, or only upgraded its hash: look again.

    async def _checked(
        self, login: str, password: str, guess: Guess, client: ClientContext
    ) -> Account:
        """Return the account that may sign in, or audit the refusal and raise it."""
        candidates = await self._candidates(login)
        account = await self._verified(candidates, password)
        if account:
            await guess.forget()
        if account and account.password_expires_at:
            await self.demand_change(account, client)
        if account and not self._must_prove(account):
            return account
        refusal: GatepostError = EmailNotVerified() if account else InvalidCredentials()
        known = account or next(filter(None, candidates), None)
        type_, subject = AuditType.SESSION_REFUSED, known.id if known else None
        await self.auditor.refused(type_, client, subject=subject, failure=refusal.code)
        raise refusal

    async def _candidates(self, login: str) -> Sequence[Account | None]:
        """Find whose password may be meant; None stands for a decoy.

        An address always gives two: its owner, then the latest registration (perhaps a
        placeholder) that did not prove it. With fewer for some, the time of a wrong guess would
        tell whether the address is known, waits for its proof, or was never seen.
        """
        try:
            if "@" in login:
                return await self._by_email(EmailAddress.parse(login))
            username = Username.parse(login)
        except ValidationFailed:
            return [None]
        return [await self.callers.by_username(username)]

    async def _by_email(self, email: EmailAddress) -> Sequence[Account | None]:
        owner, unproven = await self.callers.by_email(email, self.now())
        is_proven = owner and (owner.email_verified or not self.accounts.require_verified_email)
        return [owner if is_proven else None, unproven]

    async def _verified(
        self, candidates: Sequence[Account | None], password: str
    ) -> Account | None:
        for account in candidates:
            right = await self.hasher.verify(password, account.password_hash if account else None)
            # Not usable: go on to the end, in the time of a wrong password.
            if right and account is not None and self._opens(account):
                return account
        return None

    def _opens(self, account: Account) -> bool:
        now = self.now()
        return account.is_usable(now) and not account.has_password_expired(now)

    def _must_prove(self, account: Account) -> bool:
        asked = self.accounts.require_verified_email or account.is_placeholder
        return asked and not account.email_verified

    async def _upgraded_hash(self, account: Account, password: str) -> str | None:
        if account.password_hash and self.hasher.needs_rehash(account.password_hash):
            # A full queue is no reason to refuse who gave the right password.
            with suppress(Overloaded):
                return await self.hasher.hash(password)
        return None

    async def _start(
        self,
        seen: Account,
        upgraded: str | None,
        device_name: str | None,
        scope: str | None,
        client: ClientContext,
    ) -> SignedIn | None:
        """Start the session; None when the account is not any more as it was checked."""
        now, secret = self.now(), self.secrets.new_session_secret()
        session = start_session(
            session_id=SessionId(self.secrets.new_id()),
            account_id=seen.id,
            secret_hash=hashlib.sha256(secret).digest(),
            now=now,
            policy=self.sessions,
            device_name=device_name,
            user_agent=client.user_agent,
            ip=client.ip,
        )
        is_plain = not (upgraded or scope or names_of_own(seen.roles))
        started = await self._started(seen, session, client) if is_plain else None
        if started is None:
            # Perhaps the account is locked, and every sign-in of it waits.
            async with self.turns(seen.id):
                started = await self._judged(seen, session, upgraded, scope, client)
        if started is None:
            return None
        account, scopes = started
        token = self.refresh_tokens.seal(RefreshClaim(session.id, secret, 0))
        holder = session.holder(account.roles)
        signed_in = self.issuer.issue(holder, token, now, scopes, Grant.PASSWORD)
        kept = replace(account, password_hash=upgraded or account.password_hash)
        return replace(signed_in, device=self.guesses.devices.remember(kept))

    async def _started(
        self, seen: Account, session: Session, client: ClientContext
    ) -> _Started | None:
        """Start it in one statement, as nearly all are; whatever is not plain is judged."""

        async def write(entry: AuditEntry, event: str) -> bool:
            return await self.sign_ins.start(session, seen, entry, event)

        type_, now = AuditType.SESSION_CREATED, session.created_at
        started = await self.auditor.note_unannounced(
            write, type_, now, client, owner=seen.id, session_id=session.id
        )
        return (seen, scopes_of(seen.roles)) if started else None

    async def _judged(
        self,
        seen: Account,
        session: Session,
        upgraded: str | None,
        scope: str | None,
        client: ClientContext,
    ) -> _Started | None:
        async with self.uow() as tx:
            account = await tx.accounts.get(seen.id, lock=True)
            if account is None or not self._is_unchanged(account, seen):
                return None
            if upgraded and account.password_hash:
                await tx.accounts.replace_hash(account.id, account.password_hash, upgraded)
            await tx.sessions.add(session)
            type_, now, owner = AuditType.SESSION_CREATED, session.created_at, account.id
            await self.auditor.note(
                tx, type_, now, client, actor=owner, subject=owner, session_id=session.id
            )
            scopes = await scopes_held(tx, account.roles, scope)
            await tx.commit()
        return account, scopes

    def _is_unchanged(self, account: Account, seen: Account) -> bool:
        same_password = account.password_hash == seen.password_hash
        return same_password and account.is_usable(self.now()) and not self._must_prove(account)


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
