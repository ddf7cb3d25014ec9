"""What hashing costs, with a clock that only hashing moves."""

import asyncio
from collections.abc import Mapping

from gatepost.application.hash_costs import FLOOR, HashCost, Proposal, Speed, measure, propose
from gatepost.application.ports.security import AdoptedHash, PasswordHasher


class Stopwatch:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class TickingHasher(PasswordHasher):
    """Takes a set time on the clock for each hash; `most` is how many ever ran at once."""

    def __init__(self, clock: Stopwatch, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._running = self.most = self.hashes = 0

    async def hash(self, password: str) -> str:
        self._running += 1
        self.hashes += 1
        self.most = max(self.most, self._running)
        await asyncio.sleep(0)
        self._clock.seconds += self._seconds
        self._running -= 1
        return ""

    async def verify(self, password: str, encoded: str | None) -> bool:
        raise NotImplementedError

    def needs_rehash(self, encoded: str) -> bool:
        raise NotImplementedError

    def adopt(self, given: str | Mapping[str, object]) -> AdoptedHash:
        raise NotImplementedError

    def portable(self, encoded: str) -> str:
        raise NotImplementedError


async def speed(hasher_seconds: float, *, at_once: int, seconds: float) -> tuple[Speed, int, int]:
    clock = Stopwatch()
    hasher = TickingHasher(clock, hasher_seconds)
    found = await measure(hasher, at_once=at_once, seconds=seconds, clock=clock)
    return found, hasher.most, hasher.hashes


async def test_as_many_hashes_run_as_the_pool_holds_and_the_first_of_each_is_not_measured() -> (
    None
):
    found, most, hashes = await speed(0.25, at_once=1, seconds=1.0)
    assert found == Speed(a_second=4.0, median_seconds=0.25, at_once=1)
    assert (most, hashes) == (1, 5)
    found, most, _ = await speed(0.25, at_once=4, seconds=2.0)
    assert (found.a_second, found.at_once, most) == (4.0, 4, 4)
    assert found.median_seconds == 1.0


async def test_a_hash_that_takes_longer_than_the_time_given_is_measured_once() -> None:
    found, _, hashes = await speed(30.0, at_once=1, seconds=1.0)
    assert (found.median_seconds, hashes) == (30.0, 2)


class Bench:
    """A machine on which a hash takes so many seconds for each MiB and pass."""

    def __init__(self, seconds: float, crowding: float = 0.0) -> None:
        self.seconds, self.crowding = seconds, crowding
        self.measured: list[HashCost] = []

    async def __call__(self, cost: HashCost) -> Speed:
        self.measured.append(cost)
        dearer = 1 + self.crowding * cost.memory_kib / FLOOR.memory_kib
        taken = cost.work / 1024 * self.seconds * dearer
        return Speed(1 / taken, taken, 1)

    async def propose(self, target: float, most_mib: int = 4096) -> Proposal:
        return await propose(self, target=target, most_memory_kib=most_mib * 1024)


async def test_memory_is_raised_until_the_wanted_time_is_reached() -> None:
    found = await Bench(0.001).propose(0.25)
    assert found.cost == HashCost(125 * 1024, 2)
    assert found.fits
    assert 0.9 * 0.25 < found.speed.median_seconds <= 0.25


async def test_passes_are_added_where_memory_is_used_up() -> None:
    assert (await Bench(0.001).propose(0.25, most_mib=32)).cost == HashCost(32 * 1024, 7)
    assert (await Bench(0.001).propose(0.25, most_mib=1)).cost == HashCost(
        FLOOR.memory_kib, 6 * 2 + 1
    )


async def test_a_first_guess_that_is_too_dear_is_corrected() -> None:
    bench = Bench(0.001, crowding=0.1)
    found = await bench.propose(0.25)
    assert found.speed.median_seconds <= 0.25
    assert found.cost.work > 2 * FLOOR.work
    assert len(bench.measured) <= 5


async def test_nothing_is_ever_cheaper_than_the_floor() -> None:
    slow = await Bench(0.01).propose(0.001)
    assert (slow.cost, slow.fits) == (FLOOR, False)
    just = await Bench(0.001).propose(0.0385)
    assert (just.cost, just.fits) == (FLOOR, True)


async def test_no_machine_is_so_fast_that_the_proposal_cannot_be_set() -> None:
    found = await Bench(1e-12).propose(5.0)
    assert found.cost == HashCost(4_194_304, 1000)
