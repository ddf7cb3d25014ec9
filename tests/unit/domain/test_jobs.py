from datetime import timedelta

from gatepost.domain.jobs import RetryPolicy

POLICY = RetryPolicy()


def test_the_wait_doubles_and_stays_under_a_minute() -> None:
    waits = [POLICY.delay(failed, 1).total_seconds() for failed in (1, 2, 3, 6, 7, 24, 10_000)]
    assert waits == [1, 2, 4, 32, 50, 50, 50]


def test_chance_takes_up_to_half_of_a_wait() -> None:
    assert POLICY.delay(5, 0.0) == timedelta(seconds=8)
    assert POLICY.delay(5, 1.0) == timedelta(seconds=16)


def test_a_job_is_tried_for_hours_but_not_for_a_day() -> None:
    waits = (POLICY.delay(failed, 0.5) for failed in range(1, POLICY.attempts))
    assert timedelta(hours=2) < sum(waits, timedelta(0)) < timedelta(hours=4)


def test_a_job_is_given_up_after_300_failures_or_10_dead_workers() -> None:
    assert not POLICY.gives_up(299, 9)
    assert POLICY.gives_up(300, 0)
    assert POLICY.gives_up(10, 10)
