"""Settings of Hypothesis for all tests, and what keeps them quick."""

import gc
import sys

from hypothesis import settings

# The machines of CI stall now and then: a slow example is no failure.
settings.register_profile("gatepost", deadline=None, max_examples=60)
settings.load_profile("gatepost")

# Applications are made by the hundred, and each is a graph of cycles: with the usual thresholds
# the collector walks all of them again and again.
gc.set_threshold(100_000, 50, 50)

# The HTTP client looks for this package with every request; where there is none, everywhere.
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]
