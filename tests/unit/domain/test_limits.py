from datetime import timedelta

import pytest

from gatepost.domain.limits import (
    LONGEST_DELAY,
    MEMORY,
    MOST_STRIKES,
    Budget,
    LimitPolicy,
    Rate,
    Rule,
    State,
    address_key,
    is_forgettable,
    login_key,
    look,
    spend,
)

HOUR = timedelta(hours=1)
LOGIN = LimitPolicy().budget(Rule.LOGIN)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/1h", Rate(10, HOUR)),
        ("1/1s", Rate(1, timedelta(seconds=1))),
        ("3/15m", Rate(3, timedelta(minutes=15))),
        ("9999999/366d", Rate(9_999_999, timedelta(days=366))),
    ],
)
def test_a_rate_is_read(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    "text", ["", "10", "0/1h", "1/0s", "-1/1h", "10/1w", "10 / 1h", "1e3/1h", "10/1h ", "1/367d"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a limit"):
        Rate.parse(text)


@pytest.mark.parametrize("rate", [(0, HOUR), (1, timedelta(0)), (1, -HOUR)])
def test_no_rate_is_empty(rate: tuple[int, timedelta]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Rate(*rate)


@pytest.mark.parametrize("text", ["3/1s", "7/1s", "9999999/1s", "11/5m", "600/1m"])
def test_a_burst_is_as_large_as_the_rate_also_where_it_does_not_divide(text: str) -> None:
    rate = Rate.parse(text)
    budget = Budget.of(rate)
    assert budget.full // budget.interval == rate.count
    assert budget.interval >= 1


def test_every_rule_has_a_budget_and_only_logins_grow() -> None:
    policy = LimitPolicy()
    assert [rule for rule in Rule if policy.budget(rule).grows] == [Rule.LOGIN]
    assert policy.budget(Rule.REGISTER) == Budget(10, 360_000_000)


def test_a_rate_that_is_not_given_is_the_default() -> None:
    policy = LimitPolicy(rates={Rule.REGISTER: Rate(1, HOUR)})
    assert policy.budget(Rule.REGISTER).burst == 1
    assert policy.budget(Rule.USER).burst == 600


def test_no_setting_keeps_the_owner_waiting_for_more_than_a_quarter_of_an_hour() -> None:
    budget = LimitPolicy(rates={Rule.LOGIN: Rate(2, timedelta(days=30))}).budget(Rule.LOGIN)
    state = None
    for _ in range(20):
        state, decision = spend(budget, state, 0)
    assert decision.retry_after == LONGEST_DELAY.total_seconds()
    assert not budget.grows


def test_doubling_never_overflows_what_stores_can_hold() -> None:
    slowest = Budget.of(Rate(1, LONGEST_DELAY - timedelta(microseconds=1)), LONGEST_DELAY)
    assert slowest.interval << MOST_STRIKES < 2**53
    assert slowest.delay(MOST_STRIKES) == slowest.longest


def test_guessing_on_is_the_fastest_way_and_slow() -> None:
    """NIST SP 800-63B-4 wants no more than 100 failures on one account; a day allows them."""
    a_day, now, tries = 86_400_000_000, 0, 0
    state: State | None = None
    while now < a_day:
        state, decision = spend(LOGIN, state, now)
        tries += decision.allowed
        now += 0 if decision.allowed else decision.retry_after * 1_000_000
    assert tries < 115
    bursts = a_day // (LOGIN.full + LOGIN.memory)
    assert (bursts + 1) * LOGIN.burst < tries


def test_an_unknown_key_has_all_of_its_budget() -> None:
    decision = look(LOGIN, None, 0)
    assert (decision.allowed, decision.remaining, decision.reset) == (True, 10, 0)
    assert decision.retry_after == 0


def test_the_reset_tells_when_all_is_there_again() -> None:
    _, decision = spend(LOGIN, None, 0)
    assert (decision.remaining, decision.reset) == (9, 30)


def test_a_key_is_forgotten_when_it_stands_as_if_never_seen() -> None:
    memory = MEMORY // timedelta(microseconds=1)
    assert is_forgettable(State(5), 5)
    assert not is_forgettable(State(6), 5)
    assert not is_forgettable(State(5, 1), 4 + memory)
    assert is_forgettable(State(5, 1), 5 + memory)


@pytest.mark.parametrize(
    ("ip", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
    ],
)
def test_rl_12_a_network_of_64_bits_counts_as_one(ip: str | None, key: str) -> None:
    assert address_key(ip) == key


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("Ada", "ada"),
        ("Ada@Example.COM", "ada@example.com"),
        ("ada@b\u00fccher.example", "ada@xn--bcher-kva.example"),
        ("ada@bu\u0308cher.example", "ada@xn--bcher-kva.example"),
        (" N\uff4fbody!", "nobody!"),
        ("x" * 10_000, "x" * 320),
        ("a@", "a@"),
    ],
)
def test_spellings_of_a_login_count_as_one(typed: str, key: str) -> None:
    assert login_key(typed) == key
