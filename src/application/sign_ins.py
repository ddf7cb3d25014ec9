"""Sign in."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import field, replace

from ..domain.accounts import Account, AccountPolicy, Username
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditEntry, AuditType, ClientContext
from ..domain.credentials import parse_existing
from ..domain.dataclasses import dataclass
from ..domain.errors import (
    EmailNotVerified,
    GatepostError,
    InvalidCredentials,
    Overloaded,
    ValidationFailed,
)
from ..domain.roles import names_of_own, scopes_of
from ..domain.sessions import (
    RefreshClaim,
    Session,
    SessionId,
    SessionPolicy,
    start_session,
)
from .audit import Auditor
from .guesses import Guess, Guesses
from .initial_passwords import DemandChange
from .ports.delivery import Grant
from .ports.security import Clock, PasswordHasher, RefreshTokens, Secrets
from .ports.sessions import CallerReader, SignIns
from .ports.storage import UnitOfWork
from .tokens import Issuer, SignedIn, scopes_held
from .turns import Turns

_Started = tuple[Account, Sequence[str]]


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
