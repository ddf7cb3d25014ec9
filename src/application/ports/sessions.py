"""What the core asks of storage about sessions, and about whom each call comes from."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from ...domain.accounts import Account, AccountId, Username
from ...domain.addresses import EmailAddress
from ...domain.audit import AuditEntry
from ...domain.clients import Client, ClientId
from ...domain.sessions import EndReason, Holder, RefreshClaim, Session, SessionId, SessionPolicy


class SessionRepository(Protocol):
    async def add(self, session: Session) -> None: ...

    async def turn(
        self, claim: RefreshClaim, secret_hash: bytes, now: datetime, policy: SessionPolicy
    ) -> tuple[Session, Account] | None:
        """Apply `Session.turn` to the live session of a usable account, in one statement.

        None: no such session, another secret, ended, expired, or the account may not sign in;
        then nothing is written. Otherwise the session as it is now (perhaps just ended) and its
        account. Of N simultaneous calls with one token at most one rotates.
        """
        ...

    async def list_live(self, account_id: AccountId, now: datetime) -> Sequence[Session]:
        """List newest first."""
        ...

    async def list_page(
        self, account_id: AccountId, *, after: tuple[datetime, SessionId] | None, limit: int
    ) -> Sequence[Session]:
        """List by (`created_at`, `id`), ended ones too; `after` is where a page ended."""
        ...

    async def end(
        self, session_id: SessionId, account_id: AccountId, reason: EndReason, now: datetime
    ) -> bool:
        """End one session of this account unless it ended before; takes refresh's row lock."""
        ...

    async def end_all(
        self,
        account_id: AccountId,
        reason: EndReason,
        now: datetime,
        *,
        keep: SessionId | None = None,
    ) -> int:
        """End every live session but `keep`; returns how many."""
        ...

    async def end_next(
        self, after: SessionId | None, reason: EndReason, now: datetime, limit: int
    ) -> tuple[int, SessionId | None]:
        """End those that live of the next `limit` of anybody by id, begun by `now`.

        Returns how many that were, and after which id to go on; None when there are no more.
        """
        ...

    async def remove_all(self, account_id: AccountId) -> None:
        """Delete every session of an account, ended ones too; takes refresh's row lock."""
        ...

    async def remove_ended(
        self, after: SessionId | None, before: datetime, limit: int
    ) -> tuple[int, SessionId | None]:
        """Delete those that ended or expired before a time of the next `limit` of anybody by id.

        Returns how many that were, and after which id to go on; None when there are no more.
        """
        ...


class CallerReader(Protocol):
    async def find(self, session_id: SessionId, now: datetime) -> Account | None:
        """Read the usable account whose live session this is, in one query, uncached.

        Runs on every authenticated call, so that an ended session or a suspended account is
        refused at once.
        """
        ...

    async def client_scopes(self, client_id: ClientId) -> frozenset[str] | None:
        """Read what an active client may do, likewise; None when disabled or not there."""
        ...

    async def client(self, client_id: ClientId) -> Client | None:
        """Read a machine client with its secrets, disabled or not, in one query, uncached."""
        ...

    async def client_and_caller(
        self, client_id: ClientId, session_id: SessionId, now: datetime
    ) -> tuple[Client | None, Account | None]:
        """Do `client` and, of one that is there, `find`; in one query where storage can.

        Whoever overrides `find` in a subclass of an adapter overrides this, too.
        """
        client = await self.client(client_id)
        return client, None if client is None else await self.find(session_id, now)

    async def by_username(self, username: Username) -> Account | None:
        """Read who holds a username, as `AccountRepository.find_by_username` does."""
        ...

    async def by_email(
        self, email: EmailAddress, now: datetime
    ) -> tuple[Account | None, Account | None]:
        """Read `AccountRepository.find_by_email` and `find_unproven` in one query."""
        ...


class Rotations(Protocol):
    async def rotate(
        self, claim: RefreshClaim, secret_hash: bytes, now: datetime, policy: SessionPolicy
    ) -> Holder | None:
        """Turn a live session whose current token this is; committed when this returns.

        None for every other token, and then nothing is written: `SessionRepository.turn` judges
        it, in a transaction that can tell of it.
        """
        ...


class SignIns(Protocol):
    async def start(
        self, session: Session, seen: Account, entry: AuditEntry, announces: str
    ) -> bool:
        """Store a session and its entry while the account is as it was seen; then committed.

        As it was seen: usable, and of the same password, roles and proof. False, and nothing
        written, when it is not, may be changing now, or an endpoint wants the event: then a
        transaction decides.
        """
        ...


class ByTransaction(Rotations, SignIns):
    """Leaves both to the unit of work: for a storage that has no single statement for them."""

    async def rotate(
        self, claim: RefreshClaim, secret_hash: bytes, now: datetime, policy: SessionPolicy
    ) -> None:
        return None

    async def start(
        self, session: Session, seen: Account, entry: AuditEntry, announces: str
    ) -> bool:
        return False
