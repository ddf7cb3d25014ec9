"""For all tests: settings of Hypothesis, what keeps them quick, and a search of their logs."""

import gc
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The machines of CI stall now and then: a slow example is no failure.
settings.register_profile("gatepost", deadline=None, max_examples=60)
settings.load_profile("gatepost")

# Applications are made by the hundred, and each is a graph of cycles: with the usual thresholds
# the collector walks all of them again and again.
gc.set_threshold(500_000, 50, 50)

# The HTTP client looks for this package with every request; where there is none, everywhere.
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]


def pytest_collection_finish() -> None:
    """Leave alone what collection made: it stays to the end, and is the larger part of all."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def in_20_no_log_of_any_test_holds_a_secret() -> Iterator[None]:
    """Search the logs of this process, and of the services that it started, when all is done."""
    # Late: the process that hands out the tests runs none.
    from tests import leaks

    leaks.collect_logs()
    with leaks.noting_http():
        yield
    leaks.assert_no_leak()
