"""The keys that sign access tokens: made on first start, loaded into every process, replaced."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ..domain.audit import AuditType, ClientContext
from ..domain.dataclasses import dataclass
from ..domain.errors import NotFound
from ..domain.keys import KeyPolicy, KeyState, SigningKey, active_of
from .audit import Auditor
from .ports.delivery import Job
from .ports.security import (
    AccessTokens,
    Cipher,
    Clock,
    KeyPair,
    SealBroken,
    SealPurpose,
    SigningKeysInvalid,
)
from .ports.storage import Transaction, UnitOfWork

_NOBODY = ClientContext()


@dataclass(frozen=True, slots=True)
class KeySmith:
    """Makes keys, and seals and opens their private halves; writes down what becomes of them."""

    cipher: Cipher
    access_tokens: AccessTokens
    auditor: Auditor

    def make(self, state: KeyState, now: datetime) -> SigningKey:
        """Make a key; outside of transactions, as some algorithms take their time."""
        pair = self.access_tokens.new_key()
        return SigningKey(
            kid=pair.kid,
            algorithm=pair.algorithm,
            sealed_private_key=self.cipher.seal(SealPurpose.SIGNING_KEY, pair.private_key),
            state=state,
            created_at=now,
            activated_at=now if state is KeyState.ACTIVE else None,
        )

    def open(self, key: SigningKey) -> bytes:
        """Open the private half; raises SigningKeysInvalid."""
        try:
            return self.cipher.open(SealPurpose.SIGNING_KEY, key.sealed_private_key)
        except SealBroken:
            raise SigningKeysInvalid(
                f"No master key opens the signing key {key.kid}: one is missing, or it is damaged."
            ) from None

    def is_stale(self, key: SigningKey) -> bool:
        return self.cipher.is_stale(SealPurpose.SIGNING_KEY, key.sealed_private_key)

    def reseal(self, key: SigningKey) -> SigningKey:
        """Seal under the first master key; raises SigningKeysInvalid."""
        sealed = self.cipher.seal(SealPurpose.SIGNING_KEY, self.open(key))
        return replace(key, sealed_private_key=sealed)

    async def add(
        self, tx: Transaction, key: SigningKey, now: datetime, client: ClientContext = _NOBODY
    ) -> None:
        """Store a key, unless another process's active key is there already."""
        if await tx.keys.add(key):
            await self.note(tx, AuditType.KEY_CREATED, key, now, client)

    async def note(
        self,
        tx: Transaction,
        type_: AuditType,
        key: SigningKey,
        now: datetime,
        client: ClientContext = _NOBODY,
    ) -> None:
        await self.auditor.note(tx, type_, now, client, reason=key.kid)


@dataclass(frozen=True, slots=True)
class LoadKeys:
    """Install the stored keys in this process, making the first one if there is none.

    Of several replicas that start at once one makes the key; the others take it over. Keys that
    were removed verify no more. Raises SigningKeysInvalid, and then leaves those installed.
    """

    uow: UnitOfWork
    smith: KeySmith
    now: Clock

    async def __call__(self) -> None:
        async with self.uow() as tx:
            keys = await tx.keys.list_all()
        if active_of(keys) is None:
            keys = await self._with_first()
        now = self.now()
        self._install([key for key in keys if not key.is_over(now)])

    async def _with_first(self) -> Sequence[SigningKey]:
        now = self.now()
        made = self.smith.make(KeyState.ACTIVE, now)
        async with self.uow() as tx:
            await self.smith.add(tx, made, now)
            keys = await tx.keys.list_all()
            await tx.commit()
        return keys

    def _install(self, keys: Sequence[SigningKey]) -> None:
        pairs = [
            KeyPair(kid=key.kid, algorithm=key.algorithm, private_key=self.smith.open(key))
            for key in keys
        ]
        active = next(key.kid for key in keys if key.state is KeyState.ACTIVE)
        self.smith.access_tokens.install(pairs, active)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedKey:
    """A stored key; `activates_at` of a pending one, `is_stale` under an older master key."""

    key: SigningKey
    activates_at: datetime | None
    is_stale: bool


@dataclass(frozen=True, slots=True)
class ListKeys:
    """List the stored keys, oldest first, without opening any."""

    uow: UnitOfWork
    smith: KeySmith
    policy: KeyPolicy

    async def __call__(self) -> Sequence[ListedKey]:
        async with self.uow() as tx:
            keys = await tx.keys.list_all()
        return [self._listed(key) for key in keys]

    def _listed(self, key: SigningKey) -> ListedKey:
        is_pending = key.state is KeyState.PENDING
        return ListedKey(
            key=key,
            activates_at=self.policy.activates_at(key) if is_pending else None,
            is_stale=self.smith.is_stale(key),
        )


@dataclass(frozen=True, slots=True)
class RotateKeys:
    """Take every key one step on, where its time has come; workers do it every few minutes.

    Removes keys whose last token has expired, seals what older master keys sealed under the
    first, lets an announced key sign, and announces the next when the active one is old; `early`
    announces it at any age. One at a time, in one transaction. Raises SigningKeysInvalid.
    """

    uow: UnitOfWork
    smith: KeySmith
    now: Clock
    policy: KeyPolicy
    longest_token: timedelta

    async def __call__(
        self, job: Job | None = None, *, early: bool = False, client: ClientContext = _NOBODY
    ) -> None:
        now = self.now()
        next_ = await self._next(now, early=early)
        async with self.uow() as tx:
            await tx.keys.lock()
            await self._remove_old(tx, now)
            await self._reseal(tx, now)
            await self._promote(tx, now)
            # Asked again: only now nobody else is at it.
            keys = await tx.keys.list_all()
            if next_ and self.policy.lacks_successor(keys, now, early=early):
                await self.smith.add(tx, next_, now, client)
            await tx.commit()

    async def _next(self, now: datetime, *, early: bool) -> SigningKey | None:
        async with self.uow() as tx:
            keys = await tx.keys.list_all()
        if not self.policy.lacks_successor(keys, now, early=early):
            return None
        return self.smith.make(KeyState.PENDING if active_of(keys) else KeyState.ACTIVE, now)

    async def _remove_old(self, tx: Transaction, now: datetime) -> None:
        for key in await tx.keys.list_all():
            if key.is_over(now):
                await tx.keys.remove(key.kid)
                await self.smith.note(tx, AuditType.KEY_REMOVED, key, now)

    async def _reseal(self, tx: Transaction, now: datetime) -> None:
        for key in await tx.keys.list_all():
            if self.smith.is_stale(key):
                await tx.keys.save(self.smith.reseal(key))
                await self.smith.note(tx, AuditType.KEY_RESEALED, key, now)

    async def _promote(self, tx: Transaction, now: datetime) -> None:
        keys = await tx.keys.list_all()
        due = self.policy.due(keys, now)
        if due is None:
            return
        old = active_of(keys)
        if old:
            # First: storage never has two active keys, not for a moment.
            await tx.keys.save(old.retire(now, self.policy.kept(self.longest_token)))
        await tx.keys.save(due.activate(now))
        await self.smith.note(tx, AuditType.KEY_ACTIVATED, due, now)


@dataclass(frozen=True, slots=True)
class RevokeKey:
    """Forget a key at once, for one that was stolen or does not open; raises NotFound.

    Tokens that it signed are refused as soon as a process reloads. For the active key a fresh one
    signs at once, unannounced; a pending one goes along, as who stole one may have stolen both.
    """

    uow: UnitOfWork
    smith: KeySmith
    now: Clock

    async def __call__(self, *, kid: str, client: ClientContext) -> None:
        now = self.now()
        fresh = self.smith.make(KeyState.ACTIVE, now)
        async with self.uow() as tx:
            await tx.keys.lock()
            keys = await tx.keys.list_all()
            gone = _gone_with(kid, keys)
            for key in gone:
                await tx.keys.remove(key.kid)
                await self.smith.note(tx, AuditType.KEY_REVOKED, key, now, client)
            if active_of(gone):
                await self.smith.add(tx, fresh, now, client)
            await tx.commit()


def _gone_with(kid: str, keys: Sequence[SigningKey]) -> Sequence[SigningKey]:
    revoked = [key for key in keys if key.kid == kid]
    if not revoked:
        raise NotFound
    if active_of(revoked):
        return [key for key in keys if key.kid == kid or key.state is KeyState.PENDING]
    return revoked


@dataclass(frozen=True, slots=True)
class Keys:
    load: LoadKeys
    list: ListKeys
    rotate: RotateKeys
    revoke: RevokeKey
    access_tokens: AccessTokens
