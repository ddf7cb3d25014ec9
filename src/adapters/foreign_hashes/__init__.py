"""Password hashes of other systems, taken over within bounds until their owners sign in."""

import unicodedata
from collections.abc import Iterator, Mapping

from ...domain.errors import ValidationFailed
from .kinds import Argon2Hash, ForeignHash, argon2_ms
from .objects import parse_object
from .refusals import BROKEN, COSTLY, UNKNOWN, WEAK, refused
from .texts import parse_text

__all__ = ["SPELLINGS", "ForeignHash", "adopt", "argon2_ms", "own", "read", "spellings"]

# Half of the second that OWASP allows a hash: owners sign in with it once.
MOST_MS = 500.0
MOST_MEMORY_KIB = 128 * 1024
# As much as a thousand iterations of PBKDF2, its least, with SHA-1.
LEAST_MS = 0.2
# The most that `spellings` gives.
SPELLINGS = 2


def adopt(given: str | Mapping[str, object]) -> ForeignHash:
    """Recognise a hash and hold it to the bounds; raises ValidationFailed.

    Unknown and dear ones are refused here, at import: at sign-in it would be too late.
    """
    if not isinstance(given, (str, Mapping)):
        raise refused(UNKNOWN)
    found = parse_text(given) if isinstance(given, str) else parse_object(given)
    _hold(found, LEAST_MS, MOST_MS, MOST_MEMORY_KIB)
    if read(str(found)) is None:
        # What is stored is read again at each sign-in, and there is a longest text.
        raise refused(BROKEN)
    return found


def own(phc: str, memory_kib: int, time_cost: int) -> ForeignHash:
    """Check a hash that another Gatepost gave out; what ours cost now is within the bounds."""
    found = Argon2Hash(phc)
    ours = argon2_ms(memory_kib, time_cost)
    _hold(found, min(LEAST_MS, ours), max(MOST_MS, ours), max(MOST_MEMORY_KIB, memory_kib))
    return found


def _hold(found: ForeignHash, least_ms: float, most_ms: float, most_kib: int) -> None:
    if found.milliseconds < least_ms:
        raise refused(WEAK)
    if found.milliseconds > most_ms or found.memory_kib > most_kib:
        raise refused(COSTLY)


def read(stored: str) -> ForeignHash | None:
    """Parse what was stored; None for anything else."""
    try:
        return parse_text(stored)
    except ValidationFailed:
        return None


def spellings(password: str) -> Iterator[bytes]:
    """Spell a normalised password as other systems may have hashed it: composed or not."""
    yield password.encode("utf-8", "surrogatepass")
    if not password.isascii():
        yield unicodedata.normalize("NFD", password).encode("utf-8", "surrogatepass")
