"""The pytest plugin: a fixture `gatepost` for the tests of those who use the service.

It lies beside the package on purpose: pytest loads it wherever Gatepost is installed, and a module
inside the package would import the whole core before each of those test runs.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gatepost.testing.in_memory import InMemoryGatepost

pytest.register_assert_rewrite("gatepost.testing.contracts")


@pytest.fixture
def gatepost() -> "Iterator[InMemoryGatepost]":
    """Open a Gatepost of this test's own, in memory; it serves HTTP once `url` is asked for."""
    from gatepost.testing.in_memory import InMemoryGatepost

    with InMemoryGatepost() as opened:
        yield opened
