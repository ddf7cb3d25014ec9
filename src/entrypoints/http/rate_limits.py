"""Rate limits in headers (draft-ietf-httpapi-ratelimit-headers, structured fields)."""

from collections.abc import Mapping

from ...domain.limits import Decision, Rule

_SECOND = 1_000_000


def rate_limit_headers(standings: Mapping[Rule, Decision]) -> list[tuple[bytes, bytes]]:
    """Tell how it stands with each limit that was counted; without one there are no headers."""
    if not standings:
        return []
    policy = ", ".join(f'"{rule}";q={_quota(each)}' for rule, each in standings.items())
    left = ", ".join(f'"{rule}";r={_left(each)}' for rule, each in standings.items())
    return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]


def _quota(decision: Decision) -> str:
    budget = decision.budget
    return f"{budget.burst};w={-(-budget.full // _SECOND)}"


def _left(decision: Decision) -> str:
    # A client that has nothing left wants to know when to come back, not when all is there.
    wait = decision.reset if decision.remaining else decision.retry_after
    return f"{decision.remaining};t={wait}"
