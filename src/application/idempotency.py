"""Changes that happen once, however often their request is sent."""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from ..domain.accounts import AccountId
from ..domain.dataclasses import dataclass
from ..domain.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from ..domain.idempotency import KEPT, AlreadyAnswered, KeyedRequest, StoredAnswer
from .ports.security import Cipher, Clock, SealBroken, SealPurpose
from .ports.storage import Transaction

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Once(Protocol[T_contra]):
    """What a use case asks when its request may be a repetition.

    `find` early, so that a repetition costs little; `claim` first in the transaction of the
    change, and `keep` last in it. The row commits with the change, so that a crash leaves none.
    """

    async def find(self, tx: Transaction) -> None:
        """Raise AlreadyAnswered for a repetition, IdempotencyKeyReused for another body."""
        ...

    async def claim(self, tx: Transaction) -> None:
        """Hold the key until the transaction ends, then do as `find`.

        Raises IdempotencyKeyInUse, without waiting, while another transaction holds it.
        """
        ...

    async def keep(self, tx: Transaction, result: T_contra, account_id: AccountId) -> None:
        """Keep the answer for a day, or as long as the account that it tells of."""
        ...


class _Unkeyed(Once[Any]):
    async def find(self, tx: Transaction) -> None:
        return None

    async def claim(self, tx: Transaction) -> None:
        return None

    async def keep(self, tx: Transaction, result: Any, account_id: AccountId) -> None:
        return None


UNKEYED: Once[Any] = _Unkeyed()


@dataclass(frozen=True, slots=True)
class _Keyed(Once[T], Generic[T]):
    key: bytes
    fingerprint: bytes
    answer: Callable[[T], bytes]
    cipher: Cipher
    now: Clock

    async def find(self, tx: Transaction) -> None:
        stored = await tx.idempotency.find(self.key, self.now())
        opened = self._opened(stored) if stored else None
        if opened is None:
            return
        size = len(self.fingerprint)
        if opened[:size] != self.fingerprint:
            raise IdempotencyKeyReused
        raise AlreadyAnswered(opened[size:])

    async def claim(self, tx: Transaction) -> None:
        if not await tx.idempotency.claim(self.key):
            raise IdempotencyKeyInUse
        await self.find(tx)

    async def keep(self, tx: Transaction, result: T, account_id: AccountId) -> None:
        # One seal over both: a fingerprint stays comparable when the master key changes.
        plain = self.fingerprint + self.answer(result)
        await tx.idempotency.put(
            StoredAnswer(
                key=self.key,
                sealed=self.cipher.seal(SealPurpose.IDEMPOTENCY, plain),
                account_id=account_id,
                expires_at=self.now() + KEPT,
            )
        )

    def _opened(self, stored: StoredAnswer) -> bytes | None:
        try:
            return self.cipher.open(SealPurpose.IDEMPOTENCY, stored.sealed)
        except SealBroken:
            # Its master key was taken from the list: the answer is as good as expired.
            return None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Makes the `once` of a request, for the use cases that take one."""

    cipher: Cipher
    now: Clock

    def once(
        self, request: KeyedRequest, answer: Callable[[T], bytes], caller: UUID | None = None
    ) -> Once[T]:
        """Scope the key to route and caller; `answer` serialises the result as it is told."""
        if request.key is None:
            return UNKEYED
        key = request.scoped_to(caller)
        return _Keyed(key, request.fingerprint(), answer, self.cipher, self.now)
