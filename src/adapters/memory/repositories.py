"""The repositories in memory, over tables that a transaction owns."""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import TypeVar
from uuid import UUID

from ...application.ports.accounts import AccountRepository
from ...application.ports.credentials import OneTimeTokenRepository
from ...application.ports.sessions import SessionRepository
from ...application.ports.storage import AuditLog, IdempotencyRepository, SigningKeyRepository
from ...domain.accounts import Account, AccountId, Username
from ...domain.addresses import EmailAddress
from ...domain.audit import AuditEntry, AuditFilter
from ...domain.clients import Client, ClientId
from ...domain.credentials import OneTimeToken, Purpose
from ...domain.errors import EmailTaken, UsernameTaken
from ...domain.exports import Export, ExportId
from ...domain.idempotency import StoredAnswer
from ...domain.keys import KeyState, SigningKey
from ...domain.roles import Role
from ...domain.sessions import EndReason, RefreshClaim, Session, SessionId, SessionPolicy
from ...domain.webhooks import Delivery, DeliveryId, Endpoint, EndpointId
from .jobs import QueueTable

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class Tables:
    """The rows. None is ever changed in place, so copying the dictionaries copies it all."""

    accounts: dict[AccountId, Account] = field(default_factory=dict)
    tokens: dict[bytes, OneTimeToken] = field(default_factory=dict)
    sessions: dict[SessionId, Session] = field(default_factory=dict)
    keys: dict[str, SigningKey] = field(default_factory=dict)
    audit: list[AuditEntry] = field(default_factory=list)
    queue: QueueTable = field(default_factory=QueueTable)
    roles: dict[str, Role] = field(default_factory=dict)
    answers: dict[bytes, StoredAnswer] = field(default_factory=dict)
    clients: dict[ClientId, Client] = field(default_factory=dict)
    exports: dict[ExportId, Export] = field(default_factory=dict)
    endpoints: dict[EndpointId, Endpoint] = field(default_factory=dict)
    deliveries: dict[DeliveryId, Delivery] = field(default_factory=dict)

    def copy(self) -> "Tables":
        return Tables(
            self.accounts.copy(),
            self.tokens.copy(),
            self.sessions.copy(),
            self.keys.copy(),
            self.audit.copy(),
            self.queue.copy(),
            self.roles.copy(),
            self.answers.copy(),
            self.clients.copy(),
            self.exports.copy(),
            self.endpoints.copy(),
            self.deliveries.copy(),
        )

    def require_account(self, account_id: AccountId) -> None:
        """Refuse what a foreign key would refuse."""
        if account_id not in self.accounts:
            raise ValueError(f"There is no account {account_id}.")

    def remove_account(self, account_id: AccountId) -> None:
        del self.accounts[account_id]
        _remove(self.tokens, lambda token: token.account_id == account_id)
        _remove(self.sessions, lambda session: session.account_id == account_id)
        _remove(self.answers, lambda answer: answer.account_id == account_id)


def _insert(rows: dict[K, V], key: K, row: V) -> None:
    if key in rows:
        raise ValueError(f"{key!r} is stored already.")
    rows[key] = row


def _remove(rows: dict[K, V], goes: Callable[[V], bool], limit: int | None = None) -> int:
    keys = list(islice((key for key, row in rows.items() if goes(row)), limit))
    for key in keys:
        del rows[key]
    return len(keys)


class MemoryAccounts(AccountRepository):
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rows = tables.accounts

    async def get(self, account_id: AccountId, *, lock: bool = False) -> Account | None:
        return _copied(self._rows.get(account_id))

    async def find_by_email(self, email: EmailAddress) -> Account | None:
        return _copied(self._owner(email))

    async def find_unproven(self, email: EmailAddress, now: datetime) -> Account | None:
        found = [
            row
            for row in self._rows.values()
            if row.email.key == email.key and not row.email_verified and not row.has_expired(now)
        ]
        latest = max(found, key=lambda row: (row.updated_at, row.id), default=None)
        return _copied(latest)

    async def find_by_username(self, username: Username) -> Account | None:
        return _copied(self._holder(username))

    async def add(self, account: Account, now: datetime) -> None:
        for rival in self._rivals(account):
            if rival.has_expired(now):
                self._tables.remove_account(rival.id)
        self._refuse_taken(account)
        _insert(self._rows, account.id, replace(account))

    async def save(self, account: Account) -> None:
        self._refuse_taken(account)
        if account.id in self._rows:
            self._rows[account.id] = replace(account)

    async def replace_hash(self, account_id: AccountId, old: str, new: str) -> bool:
        row = self._rows.get(account_id)
        if row is None or row.password_hash != old:
            return False
        self._rows[account_id] = replace(row, password_hash=new)
        return True

    async def remove_expired(self, now: datetime, limit: int) -> int:
        expired = [row.id for row in self._rows.values() if row.has_expired(now)][:limit]
        for account_id in expired:
            self._tables.remove_account(account_id)
        return len(expired)

    def _owner(self, email: EmailAddress) -> Account | None:
        owners = (
            row
            for row in self._rows.values()
            if row.email.key == email.key and not row.is_placeholder
        )
        return next(owners, None)

    def _holder(self, username: Username) -> Account | None:
        holders = (row for row in self._rows.values() if row.username.key == username.key)
        return next(holders, None)

    def _rivals(self, account: Account) -> Sequence[Account]:
        owner = None if account.is_placeholder else self._owner(account.email)
        both = {row.id: row for row in (self._holder(account.username), owner) if row}
        return list(both.values())

    def _refuse_taken(self, account: Account) -> None:
        others = [row for row in self._rivals(account) if row.id != account.id]
        if any(row.username.key == account.username.key for row in others):
            raise UsernameTaken
        if others:
            raise EmailTaken


class MemoryOneTimeTokens(OneTimeTokenRepository):
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rows = tables.tokens

    async def add(self, token: OneTimeToken) -> None:
        self._tables.require_account(token.account_id)
        kind = (token.account_id, token.purpose, token.email)
        _remove(self._rows, lambda row: (row.account_id, row.purpose, row.email) == kind)
        _insert(self._rows, token.digest, token)

    async def find(
        self, digest: bytes, purposes: Set[Purpose], now: datetime
    ) -> OneTimeToken | None:
        row = self._rows.get(digest)
        return row if row and row.purpose in purposes and now < row.expires_at else None

    async def consume(
        self, digest: bytes, purposes: Set[Purpose], now: datetime
    ) -> OneTimeToken | None:
        row = await self.find(digest, purposes, now)
        return self._rows.pop(digest) if row else None

    async def drop_all(
        self, account_id: AccountId, *, keep_undo_until: datetime | None = None
    ) -> None:
        def goes(row: OneTimeToken) -> bool:
            is_undo = row.purpose is Purpose.UNDO_EMAIL
            stays = is_undo and keep_undo_until is not None and row.created_at <= keep_undo_until
            return row.account_id == account_id and not stays

        _remove(self._rows, goes)

    async def list_good(self, account_id: AccountId, now: datetime) -> Sequence[OneTimeToken]:
        own = [row for row in self._rows.values() if row.account_id == account_id]
        good = (row for row in own if now < row.expires_at)
        return sorted(good, key=lambda row: (row.created_at, row.digest))

    async def remove_expired(self, now: datetime, limit: int) -> int:
        return _remove(self._rows, lambda row: now >= row.expires_at, limit)


class MemorySessions(SessionRepository):
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rows = tables.sessions

    async def add(self, session: Session) -> None:
        self._tables.require_account(session.account_id)
        _insert(self._rows, session.id, session)

    async def turn(
        self, claim: RefreshClaim, secret_hash: bytes, now: datetime, policy: SessionPolicy
    ) -> tuple[Session, Account] | None:
        row = self._rows.get(claim.session_id)
        if row is None or row.secret_hash != secret_hash or not row.is_live(now):
            return None
        account = self._tables.accounts[row.account_id]
        if not account.is_usable(now):
            return None
        turned = row.turn(claim.generation, now, policy)
        self._rows[row.id] = turned
        return turned, replace(account)

    async def list_live(self, account_id: AccountId, now: datetime) -> Sequence[Session]:
        live = (row for row in self._rows.values() if row.is_live(now))
        return sorted(_owned(live, account_id), key=_age, reverse=True)

    async def list_page(
        self, account_id: AccountId, *, after: tuple[datetime, SessionId] | None, limit: int
    ) -> Sequence[Session]:
        oldest = sorted(_owned(self._rows.values(), account_id), key=_age)
        return [row for row in oldest if after is None or _age(row) > after][:limit]

    async def end(
        self, session_id: SessionId, account_id: AccountId, reason: EndReason, now: datetime
    ) -> bool:
        row = self._rows.get(session_id)
        if row is None or row.account_id != account_id or row.revoked_at is not None:
            return False
        self._rows[session_id] = row.end(reason, now)
        return True

    async def end_all(
        self,
        account_id: AccountId,
        reason: EndReason,
        now: datetime,
        *,
        keep: SessionId | None = None,
    ) -> int:
        ending = [row for row in await self.list_live(account_id, now) if row.id != keep]
        self._rows.update({row.id: row.end(reason, now) for row in ending})
        return len(ending)

    async def end_next(
        self, after: SessionId | None, reason: EndReason, now: datetime, limit: int
    ) -> tuple[int, SessionId | None]:
        begun = (row for row in self._rows.values() if row.created_at <= now)
        ahead = sorted(row.id for row in begun if after is None or row.id > after)[:limit]
        ending = [row for row in map(self._rows.__getitem__, ahead) if row.is_live(now)]
        self._rows.update({row.id: row.end(reason, now) for row in ending})
        return len(ending), ahead[-1] if ahead else None

    async def remove_all(self, account_id: AccountId) -> None:
        _remove(self._rows, lambda row: row.account_id == account_id)

    async def remove_ended(
        self, after: SessionId | None, before: datetime, limit: int
    ) -> tuple[int, SessionId | None]:
        ahead = sorted(each for each in self._rows if after is None or each > after)
        looked_at = set(ahead[:limit])
        removed = _remove(self._rows, lambda row: row.id in looked_at and _ended_at(row) < before)
        return removed, ahead[limit - 1] if len(ahead) >= limit else None


class MemorySigningKeys(SigningKeyRepository):
    def __init__(self, tables: Tables) -> None:
        self._rows = tables.keys

    async def lock(self) -> None:
        """Do nothing: transactions in memory follow one another."""

    async def list_all(self) -> Sequence[SigningKey]:
        return sorted(self._rows.values(), key=lambda row: (row.created_at, row.kid))

    async def add(self, key: SigningKey) -> bool:
        if key.kid in self._rows or self._has_rival(key):
            return False
        self._rows[key.kid] = key
        return True

    async def save(self, key: SigningKey) -> None:
        if self._has_rival(key):
            raise ValueError("Another key is active: retire it first.")
        if key.kid in self._rows:
            self._rows[key.kid] = key

    async def remove(self, kid: str) -> None:
        self._rows.pop(kid, None)

    def _has_rival(self, key: SigningKey) -> bool:
        active = {row.kid for row in self._rows.values() if row.state is KeyState.ACTIVE}
        return key.state is KeyState.ACTIVE and bool(active - {key.kid})


class MemoryAuditLog(AuditLog):
    def __init__(self, tables: Tables) -> None:
        self._rows = tables.audit
        self._endpoints = tables.endpoints

    async def append(self, entry: AuditEntry, *, announces: str | None = None) -> bool:
        self._rows.append(entry)
        wants = (endpoint.wants(announces) for endpoint in self._endpoints.values() if announces)
        return any(wants)

    async def append_all(self, entries: Sequence[AuditEntry]) -> None:
        self._rows.extend(entries)

    async def forget(self, account_id: AccountId) -> None:
        self._rows[:] = [
            replace(row, ip=None, user_agent=None)
            if account_id in (row.actor, row.subject)
            else row
            for row in self._rows
        ]

    async def list_newest(
        self, filter_: AuditFilter, *, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[AuditEntry]:
        wanted = [row for row in self._rows if filter_.admits(row)]
        newest = sorted(wanted, key=_age, reverse=True)
        return [row for row in newest if before is None or _age(row) < before][:limit]

    async def remove_before(self, time: datetime, limit: int) -> int:
        old = list(islice((row for row in self._rows if row.created_at < time), limit))
        self._rows[:] = [row for row in self._rows if row not in old]
        return len(old)


class MemoryIdempotency(IdempotencyRepository):
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rows = tables.answers

    async def find(self, key: bytes, now: datetime) -> StoredAnswer | None:
        row = self._rows.get(key)
        return row if row and now < row.expires_at else None

    async def claim(self, key: bytes) -> bool:
        # Transactions run one after the other here: nobody else can hold it.
        return True

    async def put(self, answer: StoredAnswer) -> None:
        self._tables.require_account(answer.account_id)
        self._rows[answer.key] = answer

    async def drop_all(self, account_id: AccountId) -> None:
        _remove(self._rows, lambda row: row.account_id == account_id)

    async def remove_expired(self, now: datetime, limit: int) -> int:
        return _remove(self._rows, lambda row: now >= row.expires_at, limit)


def _copied(account: Account | None) -> Account | None:
    return None if account is None else replace(account)


def _age(row: Account | Session | AuditEntry) -> tuple[datetime, UUID]:
    return row.created_at, row.id


def _owned(rows: Iterable[Session], account_id: AccountId) -> Iterable[Session]:
    return (row for row in rows if row.account_id == account_id)


def _ended_at(session: Session) -> datetime:
    return session.revoked_at or min(session.idle_until, session.absolute_until)
