import asyncio

import pytest

from gatepost.application.turns import Turns
from gatepost.domain.errors import Unavailable


async def test_one_comes_after_the_other_and_others_do_not_wait() -> None:
    turns, seen = Turns(), []

    async def come(key: str, number: int) -> None:
        async with turns(key):
            seen.append((key, number))
            await asyncio.sleep(0)
            seen.append((key, number))

    await asyncio.gather(come("a", 1), come("a", 2), come("b", 3))
    assert [one for one in seen if one[0] == "a"] == [("a", 1), ("a", 1), ("a", 2), ("a", 2)]
    assert seen.index(("b", 3)) < seen.index(("a", 2))


async def test_who_waits_for_too_long_is_told_to_come_again() -> None:
    turns = Turns(patience=0.01)
    async with turns("a"):
        with pytest.raises(Unavailable):
            async with turns("a"):
                pass
    async with turns("a"):
        pass


async def test_a_failure_ends_the_turn() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="failed"):
        async with turns("a"):
            raise ValueError("failed")
    async with turns("a"):
        pass
