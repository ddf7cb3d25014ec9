import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from gatepost.adapters.memory import ManualClock, MemoryKeyHasher, MemoryRateLimiter
from gatepost.application.limits import (
    FallbackRateLimiter,
    Hit,
    LeasingRateLimiter,
    Limits,
    telling,
)
from gatepost.application.ports.delivery import JobName
from gatepost.application.ports.limits import LimitEvents
from gatepost.application.refusals import Refusals
from gatepost.domain.errors import RateLimited, Unavailable
from gatepost.domain.limits import Budget, Decision, LimitPolicy, Rate, Rule
from gatepost.testing.builders import (
    a_clock,
)
from tests.unit.application.service import Service

POLICY = LimitPolicy(rates=dict.fromkeys(Rule, Rate(2, timedelta(minutes=1))))


class NotedEvents(LimitEvents):
    def __init__(self) -> None:
        self.noted: list[object] = []

    def limited(self, rule: Rule) -> None:
        self.noted.append(rule)

    def uncounted(self, rule: Rule, *, refused: bool) -> None:
        self.noted.append((rule, refused))

    def store_lost(self) -> None:
        self.noted.append("lost")


@pytest.fixture
def clock() -> ManualClock:
    return a_clock()


@pytest.fixture
def limiter(clock: ManualClock) -> MemoryRateLimiter:
    return MemoryRateLimiter(clock)


@pytest.fixture
def events() -> NotedEvents:
    return NotedEvents()


@pytest.fixture
def limits(limiter: MemoryRateLimiter, clock: ManualClock, events: NotedEvents) -> Limits:
    return Limits(limiter, MemoryKeyHasher(), POLICY, clock, events)


async def test_what_is_spent_is_refused_with_the_wait(limits: Limits, events: NotedEvents) -> None:
    for _ in range(2):
        await limits.spend(Rule.PUBLIC, "192.0.2.1")
    with pytest.raises(RateLimited) as refused:
        await limits.spend(Rule.PUBLIC, "192.0.2.1")
    assert refused.value.retry_after == 30
    assert events.noted == [Rule.PUBLIC]


async def test_who_was_refused_asks_no_store_for_a_second(
    limits: Limits, limiter: MemoryRateLimiter, clock: ManualClock, events: NotedEvents
) -> None:
    for _ in range(3):
        await limits.try_to_spend(Rule.LOGIN_ADDRESS, "192.0.2.1")
    limiter.is_down = True
    clock.advance(timedelta(seconds=0.9))
    with pytest.raises(RateLimited) as refused:
        await limits.spend(Rule.LOGIN_ADDRESS, "192.0.2.1")
    assert refused.value.retry_after == 30
    with pytest.raises(RateLimited):
        limits.recall(Rule.LOGIN_ADDRESS, "192.0.2.1")
    assert events.noted == [Rule.LOGIN_ADDRESS] * 3
    clock.advance(timedelta(seconds=0.1))
    limits.recall(Rule.LOGIN_ADDRESS, "192.0.2.1")
    with pytest.raises(Unavailable):
        await limits.spend(Rule.LOGIN_ADDRESS, "192.0.2.1")


async def test_a_hit_given_back_is_there_at_once(limits: Limits) -> None:
    hits = [await limits.spend(Rule.LOGIN, "ada") for _ in range(2)]
    assert await limits.try_to_spend(Rule.LOGIN, "ada") is None
    await limits.give_back(hits[0])
    assert await limits.try_to_spend(Rule.LOGIN, "ada")


async def test_a_refusal_is_kept_no_longer_than_it_holds(
    limiter: MemoryRateLimiter, clock: ManualClock
) -> None:
    fast = LimitPolicy(rates={Rule.PUBLIC: Rate(1, timedelta(seconds=0.5))})
    limits = Limits(limiter, MemoryKeyHasher(), fast, clock)
    assert await limits.try_to_spend(Rule.PUBLIC, "x")
    assert await limits.try_to_spend(Rule.PUBLIC, "x") is None
    clock.advance(timedelta(seconds=0.5))
    assert await limits.try_to_spend(Rule.PUBLIC, "x")


async def test_refusals_of_a_clock_that_was_set_back_are_forgotten(
    limits: Limits, clock: ManualClock
) -> None:
    for _ in range(3):
        await limits.try_to_spend(Rule.PUBLIC, "x")
    clock.advance(timedelta(hours=-1))
    limits.recall(Rule.PUBLIC, "x")


def test_refusals_do_not_fill_the_memory(clock: ManualClock) -> None:
    refusals, refused = Refusals(clock), Decision(False, Budget(1, 10**7), 10**7)
    for number in range(10_001):
        refusals.note(str(number).encode(), refused)
    assert refusals.recall(b"0") is None
    assert refusals.recall(b"10000") == refused


async def test_rules_and_subjects_do_not_mix(limits: Limits) -> None:
    for rule in Rule:
        for subject in ("one", "other", ""):
            for _ in range(2):
                assert await limits.try_to_spend(rule, subject)
            assert await limits.try_to_spend(rule, subject) is None


async def test_a_hit_is_given_back(limits: Limits) -> None:
    for _ in range(20):
        await limits.give_back(await limits.spend(Rule.LOGIN, "ada"))


async def test_switched_off_nothing_is_counted(limiter: MemoryRateLimiter) -> None:
    limiter.is_down = True
    limits = Limits(limiter, MemoryKeyHasher(), LimitPolicy(enabled=False), a_clock())
    hit = await limits.spend(Rule.LOGIN, "ada")
    await limits.give_back(hit)
    assert hit.decision is None


@pytest.mark.parametrize("rule", Rule)
async def test_without_a_store_a_rule_is_open_or_closed(
    limits: Limits, limiter: MemoryRateLimiter, events: NotedEvents, rule: Rule
) -> None:
    limiter.is_down = True
    closed = rule in POLICY.closed
    if closed:
        with pytest.raises(Unavailable):
            await limits.spend(rule, "x")
    else:
        await limits.give_back(await limits.spend(rule, "x"))
    assert events.noted == [(rule, closed)]


def test_guesses_and_mails_are_closed_and_the_rest_is_open() -> None:
    opened = {Rule.REFRESH, Rule.MAIL_ADDRESS, Rule.PUBLIC, Rule.USER}
    assert LimitPolicy().closed == set(Rule) - opened


async def test_what_cannot_be_given_back_stays_spent(
    limits: Limits, limiter: MemoryRateLimiter, events: NotedEvents
) -> None:
    hit = await limits.spend(Rule.LOGIN, "ada")
    limiter.is_down = True
    await limits.give_back(hit)
    assert events.noted == [(Rule.LOGIN, False)]


async def test_whoever_answers_is_told_how_it_stands(limits: Limits) -> None:
    with telling() as standings:
        hit = await limits.spend(Rule.LOGIN, "ada")
        assert standings[Rule.LOGIN].remaining == 1
        await limits.give_back(hit)
        assert standings[Rule.LOGIN].remaining == 2
        await limits.spend(Rule.PUBLIC, "192.0.2.1")
        await limits.spend(Rule.PUBLIC, "192.0.2.1")
        assert await limits.try_to_spend(Rule.PUBLIC, "192.0.2.1") is None
    assert list(standings) == [Rule.LOGIN, Rule.PUBLIC]
    assert not standings[Rule.PUBLIC].allowed
    await limits.spend(Rule.USER, "x")
    assert Rule.USER not in standings


async def test_what_would_tell_of_others_is_not_told(limits: Limits) -> None:
    with telling() as standings:
        await limits.try_to_spend(Rule.MAIL, "ada@example.com")
        await limits.try_to_spend(Rule.DEVICE, "nonce")
    assert standings == {}


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def second(clock: ManualClock) -> MemoryRateLimiter:
    return MemoryRateLimiter(clock)


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def pair(
    limiter: MemoryRateLimiter,
    second: MemoryRateLimiter,
    events: NotedEvents,
    seconds: Callable[[], float],
) -> FallbackRateLimiter:
    return FallbackRateLimiter(limiter, second, events, seconds)


async def test_a_second_store_counts_while_the_first_is_down(
    pair: FallbackRateLimiter,
    limiter: MemoryRateLimiter,
    events: NotedEvents,
    seconds: Seconds,
) -> None:
    budget = POLICY.budget(Rule.USER)
    limiter.is_down = True
    assert [(await pair.spend(b"x", budget)).allowed for _ in range(3)] == [True, True, False]
    assert events.noted == ["lost"]
    limiter.is_down = False
    assert not (await pair.peek(b"x", budget)).allowed
    seconds.now += 1
    hit = await pair.spend(b"x", budget)
    assert hit.remaining == 1
    await pair.give_back(b"x", hit)
    assert (await limiter.peek(b"x", budget)).remaining == 2


async def test_events_need_nobody_who_hears_them(
    limiter: MemoryRateLimiter, second: MemoryRateLimiter
) -> None:
    pair = FallbackRateLimiter(limiter, second)
    limits = Limits(pair, MemoryKeyHasher(), POLICY, a_clock())
    limiter.is_down = True
    for _ in range(2):
        await limits.spend(Rule.USER, "x")
    assert await limits.try_to_spend(Rule.USER, "x") is None
    second.is_down = True
    assert (await limits.spend(Rule.USER, "y")).decision is None


async def test_without_either_it_is_unavailable(
    pair: FallbackRateLimiter, limiter: MemoryRateLimiter, second: MemoryRateLimiter
) -> None:
    limiter.is_down = second.is_down = True
    with pytest.raises(Unavailable):
        await pair.spend(b"x", POLICY.budget(Rule.USER))


async def test_both_stores_are_swept(
    pair: FallbackRateLimiter,
    limiter: MemoryRateLimiter,
    second: MemoryRateLimiter,
    clock: ManualClock,
) -> None:
    await limiter.spend(b"x", POLICY.budget(Rule.USER))
    await second.spend(b"x", POLICY.budget(Rule.USER))
    await second.spend(b"y", POLICY.budget(Rule.USER))
    clock.advance(timedelta(hours=1))
    assert await pair.sweep(10) == 2
    assert await pair.sweep(10) == 0


def test_a_hit_without_a_decision_was_not_counted() -> None:
    assert Hit(Rule.USER, b"").decision is None


USER = LimitPolicy().budget(Rule.USER)


class CountingRateLimiter(MemoryRateLimiter):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.asked = 0

    async def spend(self, key: bytes, budget: Budget) -> Decision:
        self.asked += 1
        # Gives other calls a turn, as every real store does.
        await asyncio.sleep(0)
        return await super().spend(key, budget)


@pytest.fixture
def store(clock: ManualClock) -> CountingRateLimiter:
    return CountingRateLimiter(clock)


@pytest.fixture
def leasing(store: CountingRateLimiter, seconds: Seconds) -> LeasingRateLimiter:
    return LeasingRateLimiter(store, seconds)


async def test_a_lease_saves_nine_of_ten_questions(
    leasing: LeasingRateLimiter, store: CountingRateLimiter
) -> None:
    for left in range(599, -1, -1):
        assert await leasing.spend(b"x", USER) == Decision(True, USER, (600 - left) * 100_000)
    assert store.asked == 60
    refused = await leasing.spend(b"x", USER)
    assert (refused.allowed, refused.retry_after) == (False, 1)


async def test_several_processes_allow_as_many_as_the_budget_holds(
    store: CountingRateLimiter, seconds: Seconds
) -> None:
    processes = [LeasingRateLimiter(store, seconds) for _ in range(3)]
    hits = await asyncio.gather(*[each.spend(b"x", USER) for each in processes * 300])
    assert 600 - 3 * 9 <= sum(hit.allowed for hit in hits) <= 600


async def test_what_is_left_goes_one_by_one(
    leasing: LeasingRateLimiter, store: CountingRateLimiter
) -> None:
    for _ in range(595):
        await store.spend(b"x", USER)
    for _ in range(5):
        assert (await leasing.spend(b"x", USER)).allowed
    assert not (await leasing.spend(b"x", USER)).allowed


async def test_a_lease_ends_when_its_hits_were_earned_back(
    leasing: LeasingRateLimiter, store: CountingRateLimiter, seconds: Seconds
) -> None:
    for moment in (0.0, 0.9, 1.0):
        seconds.now = 100 + moment
        await leasing.spend(b"x", USER)
    assert store.asked == 2


@pytest.mark.parametrize("processes", [2, 8])
async def test_below_the_budget_there_is_room_for_a_burst_however_many_processes_he_meets(
    store: CountingRateLimiter, seconds: Seconds, clock: ManualClock, processes: int
) -> None:
    serving = [LeasingRateLimiter(store, seconds) for _ in range(processes)]
    # Eight a second, where ten are earned back.
    pause = timedelta(seconds=1) / 8
    for number in range(8 * 180):
        assert (await serving[number % processes].spend(b"x", USER)).allowed
        clock.advance(pause)
        seconds.now += pause.total_seconds()
    burst = await asyncio.gather(*[serving[0].spend(b"x", USER) for _ in range(300)])
    assert all(hit.allowed for hit in burst)


async def test_above_the_budget_several_processes_allow_what_it_holds_and_what_is_earned(
    store: CountingRateLimiter, seconds: Seconds, clock: ManualClock
) -> None:
    serving = [LeasingRateLimiter(store, seconds) for _ in range(3)]
    pause, allowed = timedelta(seconds=1) / 30, 0
    for number in range(30 * 60):
        allowed += (await serving[number % 3].spend(b"x", USER)).allowed
        clock.advance(pause)
        seconds.now += pause.total_seconds()
    assert 600 + 10 * 60 - 3 * 9 <= allowed <= 600 + 10 * 60


async def test_calls_that_come_at_once_share_a_lease(
    leasing: LeasingRateLimiter, store: CountingRateLimiter
) -> None:
    await asyncio.gather(*[leasing.spend(b"x", USER) for _ in range(20)])
    assert store.asked == 2


async def test_leases_are_forgotten_when_there_are_many(
    leasing: LeasingRateLimiter, store: CountingRateLimiter, seconds: Seconds
) -> None:
    for number in range(10_000):
        await leasing.spend(b"%d" % number, USER)
    seconds.now += 1
    await leasing.spend(b"x", USER)
    assert len(leasing._leases) == 1


async def test_small_and_growing_budgets_are_not_leased(
    leasing: LeasingRateLimiter, store: CountingRateLimiter, clock: ManualClock
) -> None:
    growing = Budget.of(Rate(600, timedelta(hours=1)), timedelta(minutes=15))
    for budget in (LimitPolicy().budget(Rule.PUBLIC), growing):
        store.asked = 0
        key = b"%d" % budget.burst
        hit = [await leasing.spend(key, budget) for _ in range(10)].pop()
        assert store.asked == 10
        await leasing.give_back(key, hit)
        assert await leasing.peek(key, budget) == await store.peek(key, budget)
    clock.advance(timedelta(days=1))
    assert await leasing.sweep(10) == 2


async def test_who_was_mailed_enough_is_asked_for_in_vain_and_nobody_is_told() -> None:
    rates = dict.fromkeys(Rule, Rate(100, timedelta(minutes=1)))
    rates[Rule.MAIL] = Rate(2, timedelta(minutes=1))
    service = Service(limits=LimitPolicy(rates=rates))
    for _ in range(3):
        await service.forget()
    assert [job.name for job in service.storage.queued] == [JobName.REQUEST_RESET] * 2
