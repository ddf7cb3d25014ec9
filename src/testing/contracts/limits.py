"""What every store that counts must do.

Collect a class under the fixtures `limiter` and `other_limiter`, which count in one store as two
processes would, and `clock`, by which both tell the time.
"""

import asyncio
import random
from datetime import timedelta

import pytest

from ...adapters.memory import ManualClock
from ...application.ports.limits import RateLimiter
from ...domain.errors import Unavailable
from ...domain.limits import (
    LONGEST_DELAY,
    MEMORY,
    Budget,
    Decision,
    Rate,
    State,
    give_back,
    look,
    spend,
)
from ..builders import NOW, SECOND

KEY = b"\0key\xff"
TICK = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
LOGIN = Budget.of(Rate(10, timedelta(minutes=5)), LONGEST_DELAY)
PLAIN = Budget.of(Rate(10, timedelta(minutes=5)))
FAST = Budget.of(Rate(5, SECOND))
ONCE = Budget.of(Rate(1, MINUTE), LONGEST_DELAY)
BUDGETS = [LOGIN, PLAIN, ONCE, Budget.of(Rate(3, SECOND)), Budget.of(Rate(7, timedelta(days=365)))]


async def use_up(limiter: RateLimiter, budget: Budget, key: bytes = KEY) -> Decision:
    """Hit until refused, and return the refusal."""
    while (decision := await limiter.spend(key, budget)).allowed:
        continue
    return decision


async def expect_real_time(limiter: RateLimiter) -> None:
    """For a limiter that was given no clock."""
    refused = await use_up(limiter, FAST)
    assert refused.retry_after == 1
    await asyncio.sleep(0.25)
    assert (await limiter.spend(KEY, FAST)).allowed


async def expect_unavailable(limiter: RateLimiter) -> None:
    """For a limiter whose store is not there."""
    with pytest.raises(Unavailable):
        await limiter.spend(KEY, PLAIN)
    with pytest.raises(Unavailable):
        await limiter.give_back(KEY, Decision(True, PLAIN, PLAIN.interval))
    with pytest.raises(Unavailable):
        await limiter.peek(KEY, PLAIN)


class RateLimiterContract:
    @pytest.mark.parametrize("budget", BUDGETS)
    async def test_a_burst_is_allowed_and_no_more(
        self, limiter: RateLimiter, budget: Budget
    ) -> None:
        for left in range(budget.burst - 1, -1, -1):
            decision = await limiter.spend(KEY, budget)
            assert (decision.allowed, decision.remaining) == (True, left)
        refused = await limiter.spend(KEY, budget)
        assert not refused.allowed
        assert refused.remaining == refused.cost == 0
        assert refused.retry_after == -(-budget.interval // 1_000_000)

    async def test_what_was_spent_comes_back_at_a_steady_rate(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        await use_up(limiter, PLAIN)
        for _ in range(5):
            clock.advance(timedelta(seconds=30) - TICK)
            assert not (await limiter.spend(KEY, PLAIN)).allowed
            clock.advance(TICK)
            assert (await limiter.spend(KEY, PLAIN)).allowed
            assert not (await limiter.spend(KEY, PLAIN)).allowed
        clock.advance(timedelta(minutes=5))
        assert (await limiter.spend(KEY, PLAIN)).remaining == 9

    async def test_a_refused_hit_prolongs_nothing(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        refused = await use_up(limiter, LOGIN)
        for _ in range(50):
            assert await limiter.spend(KEY, LOGIN) == refused
        clock.advance(timedelta(seconds=refused.retry_after))
        assert (await limiter.spend(KEY, LOGIN)).allowed

    async def test_keys_do_not_mix(self, limiter: RateLimiter) -> None:
        await use_up(limiter, PLAIN)
        for other in (b"", b"\0key", b"\0key\xff\xff", b"\0KEY\xff"):
            assert (await limiter.spend(other, PLAIN)).remaining == 9

    async def test_what_is_given_back_can_be_spent_again(self, limiter: RateLimiter) -> None:
        for _ in range(30):
            hit = await limiter.spend(KEY, LOGIN)
            assert hit.remaining == 9
            await limiter.give_back(KEY, hit)
        assert (await limiter.peek(KEY, LOGIN)) == Decision(True, LOGIN, 0)

    async def test_giving_back_the_last_takes_its_delay_along(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        refused = await use_up(limiter, LOGIN)
        clock.advance(timedelta(seconds=refused.retry_after))
        for _ in range(20):
            hit = await limiter.spend(KEY, LOGIN)
            assert (hit.allowed, hit.struck, hit.strikes, hit.retry_after) == (True, True, 2, 60)
            await limiter.give_back(KEY, hit)

    async def test_hits_that_crossed_are_given_back_alone(self, limiter: RateLimiter) -> None:
        first, *others = [await limiter.spend(KEY, LOGIN) for _ in range(10)]
        await limiter.give_back(KEY, others[-1])
        await limiter.give_back(KEY, first)
        assert (await limiter.peek(KEY, LOGIN)).remaining == 2

    async def test_giving_back_to_a_forgotten_key_changes_nothing(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        hit = await limiter.spend(KEY, PLAIN)
        clock.advance(timedelta(hours=1))
        await limiter.sweep(10)
        await limiter.give_back(KEY, hit)
        assert (await limiter.spend(KEY, PLAIN)).remaining == 9

    async def test_a_look_costs_nothing(self, limiter: RateLimiter) -> None:
        assert await limiter.peek(KEY, PLAIN) == Decision(True, PLAIN, 0)
        await limiter.spend(KEY, PLAIN)
        for _ in range(20):
            assert (await limiter.peek(KEY, PLAIN)).remaining == 9
        await use_up(limiter, PLAIN)
        assert not (await limiter.peek(KEY, PLAIN)).allowed

    async def test_rl_04_delays_grow_and_end_by_themselves(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        """Whoever guesses on and on: the wait after it is never longer than 15 minutes."""
        waits = []
        for _ in range(8):
            refused = await use_up(limiter, LOGIN)
            waits.append(refused.retry_after)
            clock.advance(timedelta(seconds=refused.retry_after))
        assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
        assert (await limiter.spend(KEY, LOGIN)).allowed

    async def test_delays_start_anew_after_a_long_quiet(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        for _ in range(4):
            clock.advance(timedelta(seconds=(await use_up(limiter, LOGIN)).retry_after))
        # All has come back, but the delays are remembered.
        clock.advance(MEMORY)
        assert (await use_up(limiter, LOGIN)).retry_after == 480
        clock.advance(MEMORY + timedelta(hours=1))
        assert (await use_up(limiter, LOGIN)).retry_after == 30

    @pytest.mark.parametrize("budget", BUDGETS)
    async def test_a_clock_that_is_set_back_locks_nobody_out(
        self, limiter: RateLimiter, clock: ManualClock, budget: Budget
    ) -> None:
        await use_up(limiter, budget)
        clock.advance(-timedelta(days=400))
        refused = await limiter.spend(KEY, budget)
        assert refused.retry_after <= -(-max(budget.interval, budget.longest) // 1_000_000)

    async def test_a_clock_that_jumps_ahead_forgives_and_no_more(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        await use_up(limiter, PLAIN)
        clock.advance(timedelta(days=400))
        assert (await limiter.spend(KEY, PLAIN)).remaining == 9

    @pytest.mark.parametrize("budget", BUDGETS)
    @pytest.mark.parametrize("seed", range(4))
    async def test_it_decides_as_the_domain_does(
        self, limiter: RateLimiter, clock: ManualClock, budget: Budget, seed: int
    ) -> None:
        chance = random.Random(seed)  # noqa: S311
        state: State | None = None
        for _ in range(80):
            now = (clock() - NOW) // TICK + 10**15
            expected = look(budget, state, now)
            assert await limiter.peek(KEY, budget) == expected
            state, expected = spend(budget, state, now)
            decision = await limiter.spend(KEY, budget)
            assert decision == expected
            if decision.allowed and chance.random() < 0.3:
                state = give_back(state, decision)
                await limiter.give_back(KEY, decision)
            step = chance.choice([0, 1, budget.interval // 3, budget.interval, budget.longest])
            clock.advance(chance.choice([1, 1, 1, -1]) * step * TICK)

    @pytest.mark.parametrize("budget", [LOGIN, PLAIN, ONCE])
    async def test_rl_09_two_processes_share_one_count(
        self, limiter: RateLimiter, other_limiter: RateLimiter, budget: Budget
    ) -> None:
        both = [limiter, other_limiter] * 100
        for key in (b"first", b"second"):
            hits = await asyncio.gather(*[each.spend(key, budget) for each in both])
            assert sum(hit.allowed for hit in hits) == budget.burst
            assert all(hit.retry_after > 0 for hit in hits if not hit.allowed)

    async def test_simultaneous_hits_are_given_back_to_the_last(
        self, limiter: RateLimiter, other_limiter: RateLimiter
    ) -> None:
        async def hit_and_return(store: RateLimiter) -> None:
            hit = await store.spend(KEY, LOGIN)
            if hit.allowed:
                await store.give_back(KEY, hit)

        await asyncio.gather(*[hit_and_return(each) for each in [limiter, other_limiter] * 50])
        assert (await limiter.peek(KEY, LOGIN)).remaining == 10

    async def test_sweeping_forgets_no_debt_and_no_strike(
        self, limiter: RateLimiter, clock: ManualClock
    ) -> None:
        await limiter.spend(b"old", PLAIN)
        await use_up(limiter, LOGIN, b"struck")
        clock.advance(timedelta(hours=1))
        await limiter.spend(b"new", PLAIN)
        await limiter.sweep(100)
        assert (await limiter.peek(b"new", PLAIN)).remaining == 9
        assert (await use_up(limiter, LOGIN, b"struck")).retry_after == 60
        clock.advance(2 * MEMORY)
        assert await limiter.sweep(1) <= 1
        await limiter.sweep(100)
        assert await limiter.sweep(100) == 0
