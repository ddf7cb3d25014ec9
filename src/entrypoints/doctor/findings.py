"""What a look at something said."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """`instead`: what to do about it. `numbers`: for machines, by name with their unit."""

    check: str
    status: Status
    says: str
    instead: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


def ok(check: str, says: str, **numbers: float) -> Finding:
    return Finding(check, Status.OK, says, numbers=numbers)


def warning(check: str, says: str, instead: str, **numbers: float) -> Finding:
    return Finding(check, Status.WARNING, says, instead, numbers)


def failed(check: str, says: str, instead: str, **numbers: float) -> Finding:
    return Finding(check, Status.FAILED, says, instead, numbers)


def skipped(check: str, says: str) -> Finding:
    return Finding(check, Status.SKIPPED, says)


def worst(findings: Iterable[Finding]) -> Status:
    """Sum up; what was not looked at says nothing."""
    told = {finding.status for finding in findings}
    return next((s for s in (Status.FAILED, Status.WARNING) if s in told), Status.OK)
