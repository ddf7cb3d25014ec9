"""What storage must do for signing keys."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from ...application.ports.storage import UnitOfWork
from ...domain.keys import KeyState, SigningKey
from ..builders import DAY, NOW, a_key

TICK = timedelta(microseconds=1)


async def all_keys(uow: UnitOfWork) -> dict[str, SigningKey]:
    async with uow() as tx:
        return {key.kid: key for key in await tx.keys.list_all()}


class SigningKeyContract:
    async def test_every_field_comes_back(self, uow: UnitOfWork) -> None:
        active = replace(a_key(), activated_at=NOW + TICK)
        pending = a_key(state=KeyState.PENDING)
        retiring = replace(a_key(state=KeyState.RETIRING), retires_at=NOW + TICK)
        async with uow() as tx:
            for key in (active, pending, retiring):
                assert await tx.keys.add(key)
            await tx.commit()
        assert await all_keys(uow) == {key.kid: key for key in (active, pending, retiring)}

    async def test_there_is_no_second_active_key(self, uow: UnitOfWork) -> None:
        first, second = a_key(), a_key()
        async with uow() as tx:
            assert await tx.keys.add(first)
            assert not await tx.keys.add(second)
            assert await tx.keys.add(replace(second, state=KeyState.PENDING))
            await tx.commit()
        assert set(await all_keys(uow)) == {first.kid, second.kid}

    async def test_a_key_retires_and_its_successor_becomes_active(self, uow: UnitOfWork) -> None:
        old, new = a_key(), a_key(state=KeyState.PENDING)
        retired = old.retire(NOW, timedelta(minutes=15))
        promoted = replace(new.activate(NOW), sealed_private_key=b"sealed again")
        async with uow() as tx:
            await tx.keys.add(old)
            await tx.keys.add(new)
            await tx.keys.save(retired)
            await tx.keys.save(promoted)
            await tx.commit()
        assert await all_keys(uow) == {old.kid: retired, new.kid: promoted}

    async def test_keys_are_listed_oldest_first(self, uow: UnitOfWork) -> None:
        ages = [a_key(state=KeyState.PENDING, created_at=NOW - days * DAY) for days in (2, 3, 1)]
        async with uow() as tx:
            for key in ages:
                await tx.keys.add(key)
            assert list(await tx.keys.list_all()) == sorted(ages, key=lambda key: key.created_at)

    async def test_a_removed_key_is_gone_and_its_place_free(self, uow: UnitOfWork) -> None:
        old, new = a_key(), a_key()
        async with uow() as tx:
            await tx.keys.add(old)
            await tx.keys.remove(old.kid)
            await tx.keys.remove("unknown")
            assert await tx.keys.add(new)
            await tx.commit()
        assert set(await all_keys(uow)) == {new.kid}

    async def test_who_holds_the_lock_sees_what_the_one_before_left(self, uow: UnitOfWork) -> None:
        async def announce_unless_announced() -> None:
            async with uow() as tx:
                await tx.keys.lock()
                if not await tx.keys.list_all():
                    await asyncio.sleep(0)
                    await tx.keys.add(a_key(state=KeyState.PENDING))
                await tx.commit()

        await asyncio.gather(*(announce_unless_announced() for _ in range(8)))
        assert len(await all_keys(uow)) == 1

    async def test_one_of_many_replicas_makes_the_key_and_the_others_see_it(
        self, uow: UnitOfWork
    ) -> None:
        async def start() -> tuple[bool, frozenset[str]]:
            async with uow() as tx:
                made = await tx.keys.add(a_key())
                seen = frozenset(key.kid for key in await tx.keys.list_all())
                await tx.commit()
            return made, seen

        outcomes = await asyncio.gather(*(start() for _ in range(8)))
        assert sum(made for made, _ in outcomes) == 1
        assert {seen for _, seen in outcomes} == {frozenset(await all_keys(uow))}
