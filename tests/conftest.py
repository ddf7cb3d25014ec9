"""For all tests: settings of Hypothesis, what keeps them quick, and a search of their logs."""

import gc
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import leaks

# The machines of CI stall now and then: a slow example is no failure.
settings.register_profile("gatepost", deadline=None, max_examples=60)
settings.load_profile("gatepost")

# Applications are made by the hundred, and each is a graph of cycles: with the usual thresholds
# the collector walks all of them again and again.
gc.set_threshold(100_000, 50, 50)

# The HTTP client looks for this package with every request; where there is none, everywhere.
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]


@pytest.fixture(scope="session", autouse=True)
def in_20_no_log_of_any_test_holds_a_secret() -> Iterator[None]:
    """Search the logs of this process, and of the services that it started, when all is done."""
    leaks.collect_logs()
    with leaks.noting_http():
        yield
    leaks.assert_no_leak()
