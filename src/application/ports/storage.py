"""What the core asks of storage. Every method runs inside the transaction it was taken from."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from ...domain.accounts import Account, AccountId, Username
from ...domain.addresses import EmailAddress
from ...domain.audit import AuditEntry
from ...domain.credentials import OneTimeToken, Purpose
from ...domain.keys import SigningKey
from ...domain.sessions import EndReason, RefreshClaim, Session, SessionId, SessionPolicy
from .delivery import Job


class AccountRepository(Protocol):
    """Accounts. Usernames and addresses are unique by their keys, and storage is the arbiter."""

    async def get(self, account_id: AccountId, *, lock: bool = False) -> Account | None:
        """Read one; with `lock` the row is held until the transaction ends."""
        ...

    async def find_by_email(self, email: EmailAddress) -> Account | None:
        """Find the owner of an address; placeholders own none."""
        ...

    async def find_unproven(self, email: EmailAddress, now: datetime) -> Account | None:
        """Find the latest (`updated_at`, then `id`) to ask for this address and not prove it.

        Placeholders included, expired ones not: to who made it, a placeholder must look like
        the registration that it stands for. The latest, since a stranger's own then always
        answers him alike, whether or not somebody else's was pending before.
        """
        ...

    async def find_by_username(self, username: Username) -> Account | None:
        """Find who holds a username, placeholders included."""
        ...

    async def add(self, account: Account, now: datetime) -> None:
        """Insert; an expired holder of the same username or address gives way first.

        Raises UsernameTaken or EmailTaken and leaves the transaction usable, so that a loser of
        a race can go on in the same transaction.
        """
        ...

    async def save(self, account: Account) -> None:
        """Write all fields back; raises UsernameTaken or EmailTaken as `add` does."""
        ...

    async def replace_hash(self, account_id: AccountId, old: str, new: str) -> bool:
        """Swap the password hash only if it is still `old`; atomic."""
        ...

    async def remove_expired(self, now: datetime, limit: int) -> int:
        """Delete up to `limit` registrations that were never proven; returns how many."""
        ...


class AccountDirectory(Protocol):
    """Reads for those who administer accounts; newest first, without placeholders."""

    async def list_accounts(self, *, limit: int) -> Sequence[Account]: ...


class OneTimeTokenRepository(Protocol):
    async def add(self, token: OneTimeToken) -> None:
        """Insert, and drop every older token of the same account and purpose."""
        ...

    async def find(self, digest: bytes, purpose: Purpose, now: datetime) -> OneTimeToken | None:
        """Look without spending; None when unknown, of another purpose or expired."""
        ...

    async def consume(self, digest: bytes, purpose: Purpose, now: datetime) -> OneTimeToken | None:
        """Take and delete in one statement: of N at once exactly one gets it."""
        ...

    async def drop_all(self, account_id: AccountId) -> None: ...

    async def remove_expired(self, now: datetime, limit: int) -> int: ...


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

    async def remove_ended(self, before: datetime, limit: int) -> int:
        """Delete up to `limit` sessions that ended or expired before a time."""
        ...


class SigningKeyRepository(Protocol):
    async def list_all(self) -> Sequence[SigningKey]: ...

    async def add(self, key: SigningKey) -> bool:
        """Insert; False when another replica's active key is there already."""
        ...

    async def save(self, key: SigningKey) -> None: ...


class AuditLog(Protocol):
    async def append(self, entry: AuditEntry) -> None: ...


class JobQueue(Protocol):
    async def enqueue(self, job: Job) -> None:
        """Insert with the transaction: rolled back, there is no job; committed, it is done.

        A job whose `id` is queued already is dropped without an error.
        """
        ...


class Transaction(Protocol):
    """One transaction. Leaving it without `commit` undoes everything."""

    @property
    def accounts(self) -> AccountRepository: ...
    @property
    def tokens(self) -> OneTimeTokenRepository: ...
    @property
    def sessions(self) -> SessionRepository: ...
    @property
    def keys(self) -> SigningKeyRepository: ...
    @property
    def audit(self) -> AuditLog: ...
    @property
    def jobs(self) -> JobQueue: ...
    @property
    def directory(self) -> AccountDirectory: ...

    async def commit(self) -> None: ...


class UnitOfWork(Protocol):
    """A factory of transactions (READ COMMITTED); failures of storage raise Unavailable."""

    def __call__(self) -> AbstractAsyncContextManager[Transaction]: ...


class CallerReader(Protocol):
    async def find(self, session_id: SessionId, now: datetime) -> Account | None:
        """Read the usable account whose live session this is, in one query, uncached.

        Runs on every authenticated call, so that an ended session or a suspended account is
        refused at once.
        """
        ...


class HealthCheck(Protocol):
    async def __call__(self) -> None:
        """Raise Unavailable unless the dependency answers and is as this release needs it."""
        ...
