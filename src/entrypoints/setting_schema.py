"""The settings described: how each is called, and what it is unless set."""

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Any

from pydantic.fields import FieldInfo

from .settings import SECRET_NAMES, Settings, known_names

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def settings_schema() -> dict[str, Any]:
    """Make a JSON Schema of the environment; every value is a string there."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of Gatepost",
        "type": "object",
        "properties": {name: _property(name, field) for name, field in setting_fields()},
    }


def setting_fields() -> Iterator[tuple[str, FieldInfo]]:
    for name, path in known_names():
        model: Any = Settings
        for step in path[:-1]:
            model = model.model_fields[step].annotation
        yield name, model.model_fields[path[-1]]


def _property(name: str, field: FieldInfo) -> dict[str, Any]:
    described: dict[str, Any] = {"type": "string", "description": field.description or ""}
    if (default := spelled_default(field)) is not None:
        described["default"] = default
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        described["enum"] = [choice.value for choice in kind]
    if name in SECRET_NAMES:
        described["writeOnly"] = True
    return described


def spelled_default(field: FieldInfo) -> str | None:
    """Spell a default as the environment would; None where there is none."""
    value = field.default
    if value is None or value == ():
        return None
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        unit, size = next((u, s) for u, s in _UNITS if seconds % s == 0)
        return f"{seconds // size}{unit}"
    if isinstance(value, bool):
        return str(value).lower()
    return value.value if isinstance(value, StrEnum) else str(value)
