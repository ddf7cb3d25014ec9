"""The keys that sign access tokens: made on first start, loaded into every process."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..domain.audit import AuditType, ClientContext
from ..domain.keys import KeyState, SigningKey
from .audit import Auditor
from .ports.security import AccessTokens, Cipher, Clock, KeyPair, SealPurpose
from .ports.storage import Transaction, UnitOfWork


@dataclass(frozen=True, slots=True)
class LoadKeys:
    """Install the stored keys in this process, making the first one if there is none.

    Of several replicas that start at once one makes the key; the others take it over.
    Raises SealBroken when a key cannot be opened with the configured master keys.
    """

    uow: UnitOfWork
    cipher: Cipher
    access_tokens: AccessTokens
    auditor: Auditor
    now: Clock

    async def __call__(self) -> None:
        async with self.uow() as tx:
            keys = await tx.keys.list_all()
            if not any(key.state is KeyState.ACTIVE for key in keys):
                await self._make_first(tx)
                keys = await tx.keys.list_all()
                await tx.commit()
        self._install(keys)

    async def _make_first(self, tx: Transaction) -> None:
        pair, now = self.access_tokens.new_key(), self.now()
        made = await tx.keys.add(
            SigningKey(
                kid=pair.kid,
                algorithm=pair.algorithm,
                sealed_private_key=self.cipher.seal(SealPurpose.SIGNING_KEY, pair.private_key),
                state=KeyState.ACTIVE,
                created_at=now,
            )
        )
        if made:
            await self.auditor.note(tx, AuditType.KEY_CREATED, now, ClientContext())

    def _install(self, keys: Sequence[SigningKey]) -> None:
        pairs = [
            KeyPair(
                kid=key.kid,
                algorithm=key.algorithm,
                private_key=self.cipher.open(SealPurpose.SIGNING_KEY, key.sealed_private_key),
            )
            for key in keys
        ]
        active = next(key.kid for key in keys if key.state is KeyState.ACTIVE)
        self.access_tokens.install(pairs, active)


@dataclass(frozen=True, slots=True)
class Keys:
    load: LoadKeys
    access_tokens: AccessTokens
