from datetime import timedelta

from gatepost.domain.jobs import RetryPolicy

POLICY = RetryPolicy()


def test_the_wait_doubles_up_to_ten_minutes() -> None:
    waits = [POLICY.delay(failed, 0.5).total_seconds() for failed in (1, 2, 3, 10, 11, 24, 10_000)]
    assert waits == [1, 2, 4, 512, 600, 600, 600]


def test_chance_spreads_a_wait_by_half_of_it() -> None:
    assert POLICY.delay(5, 0.0) == timedelta(seconds=8)
    assert POLICY.delay(5, 1.0) == timedelta(seconds=24)


def test_a_job_is_tried_for_hours_but_not_for_a_day() -> None:
    waits = (POLICY.delay(failed, 0.5) for failed in range(1, POLICY.attempts))
    assert timedelta(hours=2) < sum(waits, timedelta(0)) < timedelta(hours=4)


def test_a_job_is_given_up_after_25_failures_or_5_dead_workers() -> None:
    assert not POLICY.gives_up(24, 4)
    assert POLICY.gives_up(25, 0)
    assert POLICY.gives_up(5, 5)
