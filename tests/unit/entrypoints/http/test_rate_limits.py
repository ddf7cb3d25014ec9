from gatepost.domain.limits import Decision, LimitPolicy, Rule, State, spend
from gatepost.entrypoints.http.rate_limits import rate_limit_headers


def after(rule: Rule, hits: int) -> Decision:
    budget, state = LimitPolicy().budget(rule), State()
    for _ in range(hits):
        state, decision = spend(budget, state, 0)
    return decision


def test_each_limit_is_told_in_the_order_of_counting() -> None:
    standings = {
        Rule.LOGIN_ADDRESS: after(Rule.LOGIN_ADDRESS, 1),
        Rule.LOGIN: after(Rule.LOGIN, 2),
    }
    assert rate_limit_headers(standings) == [
        (b"ratelimit-policy", b'"login_address";q=30;w=60, "login";q=10;w=300'),
        (b"ratelimit", b'"login_address";r=29;t=2, "login";r=8;t=60'),
    ]


def test_with_nothing_left_the_time_is_that_of_the_next_try() -> None:
    assert rate_limit_headers({Rule.LOGIN: after(Rule.LOGIN, 11)}) == [
        (b"ratelimit-policy", b'"login";q=10;w=300'),
        (b"ratelimit", b'"login";r=0;t=30'),
    ]


def test_the_window_is_that_of_the_setting() -> None:
    for rule, rate in LimitPolicy().rates.items():
        [(_, policy), _] = rate_limit_headers({rule: after(rule, 1)})
        assert policy.endswith(f"q={rate.count};w={int(rate.period.total_seconds())}".encode())


def test_uncounted_calls_carry_no_headers() -> None:
    assert rate_limit_headers({}) == []
