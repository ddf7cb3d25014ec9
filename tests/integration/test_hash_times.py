"""What a hash costs, on the processor: a guess about an account must show nothing by it."""

import time
from collections.abc import Iterator

import pytest

from gatepost.adapters.argon2 import Argon2PasswordHasher


@pytest.fixture
def slow() -> Iterator[Argon2PasswordHasher]:
    made = Argon2PasswordHasher(memory_kib=16384, time_cost=2, concurrency=1, queue=100)
    yield made
    made.close()


@pytest.mark.parametrize("encoded", [None, "broken", "$argon2id$v=19$m=8,t=1,p=1$AAAA"])
async def test_a_missing_or_broken_hash_costs_as_much_as_a_wrong_password(
    slow: Argon2PasswordHasher, encoded: str | None
) -> None:
    known = await slow.hash("the right one")

    async def seconds(hashed: str | None) -> float:
        # Of the processor, not of the wall: other work on the machine changes nothing.
        started = time.process_time()
        assert not await slow.verify("wrong", hashed)
        return time.process_time() - started

    wrong = min([await seconds(known) for _ in range(4)])
    decoy = min([await seconds(encoded) for _ in range(4)])
    assert 0.5 < decoy / wrong < 2


async def test_a_faster_hash_from_elsewhere_costs_as_much_as_no_hash(
    slow: Argon2PasswordHasher,
) -> None:
    weaker = Argon2PasswordHasher(memory_kib=1024, time_cost=1, concurrency=1)
    dear = Argon2PasswordHasher(memory_kib=16000, time_cost=2, concurrency=1)
    adopted = [slow.adopt(await one.hash("the right one")).encoded for one in (weaker, dear)]
    # One of ours, from before the parameters were raised.
    adopted.append(await weaker.hash("the right one"))
    adopted.append(slow.adopt(f"pbkdf2:sha256:20000$salt${'ab' * 32}").encoded)

    async def seconds(hashed: str | None) -> float:
        started = time.process_time()
        assert not await slow.verify("wrong", hashed)
        return time.process_time() - started

    decoy = min([await seconds(None) for _ in range(4)])
    for encoded in adopted:
        assert 0.5 < min([await seconds(encoded) for _ in range(4)]) / decoy < 2
    weaker.close()
    dear.close()


async def test_a_hash_of_several_lanes_takes_no_longer_than_no_hash(
    slow: Argon2PasswordHasher,
) -> None:
    lanes = Argon2PasswordHasher(memory_kib=15000, time_cost=2, parallelism=4, concurrency=1)
    ours_of_before = await lanes.hash("the right one")
    lanes.close()

    async def seconds(hashed: str | None) -> float:
        # Of the wall: several threads share the work.
        started = time.perf_counter()
        assert not await slow.verify("wrong", hashed)
        return time.perf_counter() - started

    of_lanes = (ours_of_before, slow.adopt(ours_of_before).encoded)
    least = dict.fromkeys((None, *of_lanes), float("inf"))

    def lanes_are_quick() -> bool:
        return all(least[encoded] / least[None] < 1.5 for encoded in of_lanes)

    # More tries only where others kept the cores: what is too slow by itself stays so.
    for tries in range(60):
        for encoded in least:
            least[encoded] = min(least[encoded], await seconds(encoded))
        if tries >= 7 and lanes_are_quick():
            break
    assert lanes_are_quick(), least
