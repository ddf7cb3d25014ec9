"""Settings of Hypothesis for all tests."""

from hypothesis import settings

# The machines of CI stall now and then: a slow example is no failure.
settings.register_profile("gatepost", deadline=None, max_examples=60)
settings.load_profile("gatepost")
