"""Why a hash is not taken over: said at import, so that nobody learns it at sign-in."""

from ...domain.errors import FieldError, ValidationFailed

UNKNOWN = "unknown_hash"
BROKEN = "broken_hash"
WEAK = "weak_hash"
COSTLY = "costly_hash"
NO_BCRYPT = "bcrypt_not_installed"

_MESSAGES = {
    UNKNOWN: "Not a kind of hash that can be verified.",
    BROKEN: "A known kind of hash, but not a whole one.",
    WEAK: "So fast a hash protects no password: leave it out, and let the owner set a new one.",
    COSTLY: "Verifying it would take too much time or memory.",
    NO_BCRYPT: "bcrypt hashes need the extra `bcrypt`.",
}


def refused(code: str) -> ValidationFailed:
    return ValidationFailed(FieldError("password_hash", code, _MESSAGES[code]))
