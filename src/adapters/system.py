"""The system's clock and chance."""

import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from ..application.ports.security import Secrets

_CHANCE_BITS = 74
_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def utc_now() -> datetime:
    return datetime.now(UTC)


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


class SystemSecrets(Secrets):
    """Identifiers and secrets from the operating system's generator.

    Ids of one process ascend strictly, also while its clock stands still or is set back.
    """

    def __init__(self, unix_ms: Callable[[], int] = _unix_ms) -> None:
        self._unix_ms = unix_ms
        self._lock = threading.Lock()
        self._latest = -1

    def new_id(self) -> UUID:
        chance = secrets.randbits(_CHANCE_BITS)
        with self._lock:
            fresh = self._unix_ms() << _CHANCE_BITS | chance
            if fresh <= self._latest:
                # RFC 9562 section 6.2, method 2: the step is random, or ids could be guessed.
                fresh = self._latest + 1 + (chance & 0xFFFF_FFFF)
            self._latest = fresh
        return _version_7(fresh)

    def new_token(self) -> str:
        return secrets.token_urlsafe(32)

    def new_session_secret(self) -> bytes:
        return secrets.token_bytes(16)


def _version_7(value: int) -> UUID:
    """Spread 48 bits of time and 74 of chance around version and variant."""
    head, low = value >> 62, value & ((1 << 62) - 1)
    time_part, high = head >> 12, head & 0xFFF
    return UUID(int=time_part << 80 | _VERSION_7 | high << 64 | _VARIANT | low)
