"""The language somebody asked for (RFC 9110 section 12.5.4)."""

from collections.abc import Collection, Iterator

from ...domain.accounts import parse_locale
from ...domain.errors import ValidationFailed

_MAX_RANGES = 20


def preferred_locale(accept_language: str | None) -> str | None:
    """Return the tag that a header ranks highest, or None when it names no usable one.

    A header is only a default: what is wrong in it is skipped, never refused.
    """
    return next(_ranked(accept_language), None)


def chosen_language(accept_language: str | None, offered: Collection[str], default: str) -> str:
    """Choose the language that a header ranks highest of those offered."""
    languages = (tag.partition("-")[0].lower() for tag in _ranked(accept_language))
    return next((language for language in languages if language in offered), default)


def _ranked(accept_language: str | None) -> Iterator[str]:
    ranges = (accept_language or "")[:1000].split(",")[:_MAX_RANGES]
    ranked = sorted((_weighed(range_) for range_ in ranges), key=lambda pair: -pair[0])
    for weight, tag in ranked:
        if weight > 0 and _is_tag(tag):
            yield tag


def _weighed(range_: str) -> tuple[float, str]:
    tag, _, parameter = range_.partition(";")
    weight = parameter.strip().removeprefix("q=") or "1"
    try:
        return min(max(float(weight), 0.0), 1.0), tag.strip()
    except ValueError:
        return 0.0, tag.strip()


def _is_tag(text: str) -> bool:
    try:
        parse_locale(text)
    except ValidationFailed:
        return False
    return True
