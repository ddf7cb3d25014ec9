"""Faults of a request, told by stable codes and never with what was sent."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

Fault = Mapping[str, str]

_CODES = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "literal_error": "not_allowed",
    "enum": "not_allowed",
    "string_too_long": "too_long",
    "string_too_short": "too_short",
    "too_long": "too_long",
    "too_short": "too_short",
    "string_pattern_mismatch": "invalid_text",
    "string_unicode": "invalid_text",
    "uuid_parsing": "invalid_id",
    "uuid_type": "invalid_id",
    "uuid_version": "invalid_id",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
}

# Own words: those of the validator quote the input here and there.
_MESSAGES = {
    "missing": "This is required.",
    "unknown_field": "There is no such field here.",
    "wrong_type": "Not of the right type.",
    "not_allowed": "Not one of the allowed values.",
    "too_long": "Too long.",
    "too_short": "Too short.",
    "invalid_text": "Contains characters that are not allowed here.",
    "invalid_id": "Not an id.",
    "out_of_range": "Out of range.",
    "invalid": "Not valid.",
    "nul_character": "No NUL characters.",
}

# Names of unknown fields come from the client too; what looks like no name is not repeated.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_FAULTS = 50


def fault(pointer: str, code: str, message: str | None = None) -> Fault:
    return {"pointer": pointer, "code": code, "message": message or _MESSAGES[code]}


def parameter_fault(name: str, code: str, message: str) -> Fault:
    return {"parameter": name if _NAME.fullmatch(name) else "", "code": code, "message": message}


def faults_of(errors: Sequence[Any]) -> list[Fault]:
    """Translate the validator's errors; a body may break far more rules than anybody reads."""
    return [_fault_of(error) for error in errors[:_MAX_FAULTS]]


def pointer_to(parent: str, step: str | int) -> str:
    """Extend a JSON pointer (RFC 6901), or return the parent's for a step not worth repeating."""
    text = str(step)
    return f"{parent}/{text}" if _NAME.fullmatch(text) else parent


def _fault_of(error: Mapping[str, Any]) -> Fault:
    place, *steps = error["loc"]
    code = _code_of(error["type"])
    message = _MESSAGES[code]
    if place != "body":
        return parameter_fault(str(steps[0]), code, message)
    pointer = ""
    for step in steps:
        pointer = pointer_to(pointer, step)
    return fault(pointer, code, message)


def _code_of(type_: str) -> str:
    if type_ in _CODES:
        return _CODES[type_]
    return "wrong_type" if type_.endswith(("_type", "_parsing")) else "invalid"
