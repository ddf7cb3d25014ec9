"""For tests: contract suites for adapters of one's own, and a Gatepost that lives in memory.

Needs the extra `testing`; nothing of the service imports it.
"""
