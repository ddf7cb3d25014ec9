import pytest

from gatepost.adapters.cipher import LimiterKeyHasher, MasterKeys
from gatepost.adapters.memory import ManualClock, MemoryKeyHasher, MemoryRateLimiter
from gatepost.application.ports.limits import KeyHasher, RateLimiter
from gatepost.domain.errors import Unavailable
from gatepost.domain.limits import Rule
from gatepost.testing.builders import a_clock
from gatepost.testing.contracts.limits import KEY, PLAIN
from gatepost.testing.contracts.limits import RateLimiterContract as TestMemory

__all__ = ["TestMemory"]

KEYS = [bytes(range(32)), bytes(range(1, 33))]


@pytest.fixture
def clock() -> ManualClock:
    return a_clock()


@pytest.fixture
def limiter(clock: ManualClock) -> MemoryRateLimiter:
    return MemoryRateLimiter(clock)


@pytest.fixture
def other_limiter(limiter: RateLimiter) -> RateLimiter:
    return limiter


async def test_a_lost_store_is_unavailable(limiter: MemoryRateLimiter) -> None:
    hit = await limiter.spend(KEY, PLAIN)
    limiter.is_down = True
    with pytest.raises(Unavailable):
        await limiter.spend(KEY, PLAIN)
    with pytest.raises(Unavailable):
        await limiter.give_back(KEY, hit)


@pytest.mark.parametrize("hasher", [MemoryKeyHasher(), LimiterKeyHasher(MasterKeys(KEYS))])
def test_names_of_keys_do_not_mix_and_tell_nothing(hasher: KeyHasher) -> None:
    subjects = ["", "ada", "ada\0", "\ud800", "192.0.2.1"]
    names = {hasher(rule, subject) for rule in Rule for subject in subjects}
    assert len(names) == len(Rule) * len(subjects)
    assert not any(b"ada" in name for name in names)
    assert hasher(Rule.LOGIN, "ada") == hasher(Rule.LOGIN, "ada")


def test_names_depend_on_the_first_master_key() -> None:
    both, turned = LimiterKeyHasher(MasterKeys(KEYS)), LimiterKeyHasher(MasterKeys(KEYS[::-1]))
    alone = LimiterKeyHasher(MasterKeys(KEYS[:1]))
    assert both(Rule.USER, "x") == alone(Rule.USER, "x") != turned(Rule.USER, "x")
