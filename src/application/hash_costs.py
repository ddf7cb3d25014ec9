"""What password hashing costs on a machine, and the parameters that a wanted time buys."""

from collections.abc import Awaitable, Callable

from ..domain.dataclasses import dataclass
from .ports.security import PasswordHasher

_PASSWORD = "measured, and thrown away"  # noqa: S105
_MIB = 1024
_MOST_MEMORY_KIB = 4_194_304
_MOST_PASSES = 1000
_TRIES = 4
# Below this a better fit is noise.
_WORTHWHILE = 1.05


@dataclass(frozen=True, slots=True)
class HashCost:
    """Parameters of Argon2id with one lane: more help only who hashes one at a time."""

    memory_kib: int
    time_cost: int

    @property
    def work(self) -> int:
        return self.memory_kib * self.time_cost


# The one of OWASP's equal minimums that production demands.
FLOOR = HashCost(19456, 2)


@dataclass(frozen=True, slots=True)
class Speed:
    """Hashes a second in all, and the median of one, while so many run at once."""

    a_second: float
    median_seconds: float
    at_once: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """`fits` is false where even the floor takes longer than wanted."""

    cost: HashCost
    speed: Speed
    fits: bool


async def measure(
    hasher: PasswordHasher, *, at_once: int, seconds: float, clock: Callable[[], float]
) -> Speed:
    """Keep so many hashes running for a while; each place does two at least, the first unmeasured.

    `clock`: monotonic seconds.
    """
    from asyncio import gather
    from statistics import median

    await gather(*(hasher.hash(_PASSWORD) for _ in range(at_once)))
    taken: list[float] = []
    started = clock()

    async def keep_hashing() -> None:
        while True:
            before = clock()
            await hasher.hash(_PASSWORD)
            taken.append(clock() - before)
            if clock() - started >= seconds:
                return

    await gather(*(keep_hashing() for _ in range(at_once)))
    return Speed(len(taken) / (clock() - started), median(taken), at_once)


async def propose(
    speed_of: Callable[[HashCost], Awaitable[Speed]], *, target: float, most_memory_kib: int
) -> Proposal:
    """Find the dearest parameters whose median stays within `target` seconds, memory first.

    Memory is what an attacker's hardware lacks; passes are added where it is used up. Never
    below the floor, whatever the target and the memory are.
    """
    best = Proposal(FLOOR, await speed_of(FLOOR), fits=True)
    if best.speed.median_seconds > target:
        return Proposal(FLOOR, best.speed, fits=False)
    latest = best
    for _ in range(_TRIES):
        wanted = latest.cost.work * target / latest.speed.median_seconds
        cost = _spending(wanted, most_memory_kib)
        if cost.work < best.cost.work * _WORTHWHILE:
            break
        latest = Proposal(cost, await speed_of(cost), fits=True)
        if latest.speed.median_seconds <= target:
            best = max(best, latest, key=lambda one: one.cost.work)
    return best


def _spending(work: float, most_memory_kib: int) -> HashCost:
    """Turn an amount of work into parameters, in whole MiB."""
    most = min(max(most_memory_kib, FLOOR.memory_kib), _MOST_MEMORY_KIB)
    memory = min(int(work / FLOOR.time_cost), most) // _MIB * _MIB
    memory = max(memory, FLOOR.memory_kib)
    passes = min(max(int(work / memory), FLOOR.time_cost), _MOST_PASSES)
    return HashCost(memory, passes)
