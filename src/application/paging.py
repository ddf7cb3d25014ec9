"""Keyset pages: where a page ended, sealed and bound to what was asked."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from ..domain.dataclasses import dataclass
from ..domain.errors import FieldError, ValidationFailed
from .ports.security import Cipher, SealBroken, SealPurpose

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list; `next_cursor` is None at its end."""

    items: Sequence[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Cursors:
    """Seals positions: they hold names and addresses, and the addresses of pages are logged."""

    cipher: Cipher

    def seal(self, query: Mapping[str, str | None], position: Sequence[str]) -> str:
        """Make the cursor of the page after `position`, good for this query alone."""
        plain = json.dumps([query, list(position)], sort_keys=True).encode()
        return base64.urlsafe_b64encode(self.cipher.seal(SealPurpose.CURSOR, plain)).decode()

    def open(self, query: Mapping[str, str | None], cursor: str | None) -> tuple[str, ...] | None:
        """Read a position back; None is the start. Raises ValidationFailed for `cursor`."""
        if cursor is None:
            return None
        try:
            sealed = base64.urlsafe_b64decode(cursor.encode())
            opened = self.cipher.open(SealPurpose.CURSOR, sealed)
        except (ValueError, SealBroken):
            raise self._refusal() from None
        made_for, position = json.loads(opened)
        if made_for != dict(query):
            raise self._refusal()
        return tuple(position)

    def _refusal(self) -> ValidationFailed:
        return ValidationFailed(
            FieldError("cursor", "invalid_cursor", "Take it from the page before, unchanged.")
        )
