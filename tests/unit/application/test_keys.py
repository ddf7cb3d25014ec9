from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gatepost.adapters.memory.repositories import MemorySigningKeys
from gatepost.adapters.memory.storage import MemoryTransaction
from gatepost.application.ports.security import SealPurpose, SigningKeysInvalid
from gatepost.domain.audit import AuditType
from gatepost.domain.errors import AccessTokenInvalid
from gatepost.domain.keys import KeyState, SigningKey
from gatepost.testing.builders import NOW, SECOND, a_key
from tests.unit.application.service import Service


async def test_the_first_start_makes_one_key_and_audits_it(service: Service) -> None:
    (key,) = service.storage.committed.keys.values()
    assert key.state is KeyState.ACTIVE
    assert key.created_at == service.clock()
    assert key.activated_at == service.clock()
    (entry,) = service.audited(AuditType.KEY_CREATED)
    assert entry.reason == key.kid


async def test_a_restart_takes_the_stored_key_over(service: Service) -> None:
    await service.has()
    signed_in = await service.log_in()
    await service.install_keys()
    await service.caller(signed_in)
    assert len(service.storage.committed.keys) == 1


async def test_the_private_key_is_sealed_at_rest_and_not_shown(service: Service) -> None:
    (key,) = service.storage.committed.keys.values()
    private_key = service.ports.cipher.open(SealPurpose.SIGNING_KEY, key.sealed_private_key)
    assert private_key not in key.sealed_private_key
    assert "sealed_private_key" not in repr(key)


async def test_a_retiring_key_still_verifies(service: Service) -> None:
    await service.has()
    signed_in = await service.log_in()
    (key,) = service.storage.committed.keys.values()
    service.storage.committed.keys[key.kid] = key.retire(service.clock(), 60 * SECOND)
    await service.install_keys()
    states = {row.state for row in service.storage.committed.keys.values()}
    assert states == {KeyState.ACTIVE, KeyState.RETIRING}
    await service.caller(signed_in)
    fresh = await service.log_in()
    service.storage.committed.keys.pop(key.kid)
    await service.install_keys()
    await service.caller(fresh)
    with pytest.raises(AccessTokenInvalid):
        await service.caller(signed_in)


async def test_a_key_whose_time_is_over_verifies_no_more_though_nobody_removed_it(
    service: Service,
) -> None:
    await service.has()
    signed_in = await service.log_in()
    (key,) = service.storage.committed.keys.values()
    service.storage.committed.keys[key.kid] = key.retire(service.clock(), SECOND)
    service.clock.advance(SECOND)
    await service.install_keys()
    with pytest.raises(AccessTokenInvalid):
        await service.caller(signed_in)


async def test_a_load_that_fails_leaves_the_installed_keys(service: Service) -> None:
    await service.has()
    signed_in = await service.log_in()
    damaged = a_key(state=KeyState.PENDING)
    service.storage.committed.keys[damaged.kid] = damaged
    with pytest.raises(SigningKeysInvalid):
        await service.install_keys()
    await service.caller(signed_in)
    await service.caller(await service.log_in())


async def test_a_key_of_another_master_key_stops_the_start() -> None:
    service = Service()
    key = a_key()
    service.storage.committed.keys[key.kid] = key
    with pytest.raises(SigningKeysInvalid, match=key.kid) as refused:
        await service.install_keys()
    assert "sealed" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_of_two_replicas_that_start_at_once_one_makes_the_key() -> None:
    service = Service()
    pair = service.ports.access_tokens.new_key()
    sealed = service.ports.cipher.seal(SealPurpose.SIGNING_KEY, pair.private_key)
    rival = SigningKey(
        kid=pair.kid,
        algorithm=pair.algorithm,
        sealed_private_key=sealed,
        state=KeyState.ACTIVE,
        created_at=NOW,
    )

    class SlowerKeys(MemorySigningKeys):
        async def add(self, key: SigningKey) -> bool:
            await super().add(rival)
            return await super().add(key)

    class SlowerTransaction(MemoryTransaction):
        @property
        def keys(self) -> SlowerKeys:
            return SlowerKeys(self._tables)

    @asynccontextmanager
    async def slower() -> AsyncIterator[SlowerTransaction]:
        yield SlowerTransaction(service.storage)

    service.uow.inner = slower
    await service.install_keys()
    assert list(service.storage.committed.keys) == [rival.kid]
    assert not service.audited(AuditType.KEY_CREATED)
    await service.install_keys()


async def test_the_installed_keys_are_published(service: Service) -> None:
    published = service.gatepost.keys.access_tokens.published()["keys"]
    assert isinstance(published, list)
    assert [key["kid"] for key in published] == list(service.storage.committed.keys)
