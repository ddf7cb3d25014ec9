"""Passwords and the one-time tokens that are mailed."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache

from .accounts import AccountId
from .dataclasses import dataclass
from .errors import FieldError, ValidationFailed

MAX_PASSWORD_BYTES = 1024


@cache
def common_passwords() -> frozenset[str]:
    """Load the shipped list, case-folded; NIST SP 800-63B-4 section 3.1.1.2 asks for one."""
    from pathlib import Path

    text = Path(__file__).with_name("common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(text.split("\n"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordPolicy:
    """Length and block lists; nothing about composition (NIST SP 800-63B-4 section 3.1.1.2)."""

    min_length: int = 8
    service_name: str = "Gatepost"

    def parse_new(self, password: str, *, own: Iterable[str], field: str = "password") -> str:
        """Return the NFC form of a password that somebody wants to set.

        `own`: username, address and the like. Block lists compare whole passwords, case-folded,
        never substrings: a long phrase that contains a listed word is a good one.
        """
        normal = parse_existing(password, field)
        ValidationFailed.raise_for(
            FieldError(field, code, message) for code, message in self._faults(normal, own)
        )
        return normal

    def _faults(self, normal: str, own: Iterable[str]) -> Iterator[tuple[str, str]]:
        folded = normal.casefold()
        if len(normal) < self.min_length:
            yield "too_short", f"At least {self.min_length} characters; 15 or more are better."
        elif folded in common_passwords():
            yield "too_common", "One of the passwords that are tried first."
        if folded in {word.casefold() for word in (*own, self.service_name)}:
            yield "too_obvious", "The name of the account, its address or the service."


def parse_existing(password: str, field: str = "password") -> str:
    """Return the NFC form; only the upper bound holds for a password that exists already.

    The bound is checked on what was sent, before any work (a 100 kB password is an attack).
    """
    if len(password) > MAX_PASSWORD_BYTES or len(_encoded(password, field)) > MAX_PASSWORD_BYTES:
        raise ValidationFailed(
            FieldError(field, "too_long", f"At most {MAX_PASSWORD_BYTES} bytes.")
        )
    return unicodedata.normalize("NFC", password)


def _encoded(password: str, field: str) -> bytes:
    if "\0" in password:
        raise ValidationFailed(FieldError(field, "nul_character", "No NUL characters."))
    try:
        return password.encode()
    except UnicodeEncodeError:
        raise ValidationFailed(FieldError(field, "invalid_text", "Not valid Unicode.")) from None


class Purpose(StrEnum):
    """What a one-time token is good for; a token of one kind never serves as another."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105
    SET_PASSWORD = "set_password"  # noqa: S105
    CHANGE_PASSWORD = "change_password"  # noqa: S105
    CHANGE_EMAIL = "change_email"
    UNDO_EMAIL = "undo_email"


LIFETIMES = {
    Purpose.VERIFY_EMAIL: timedelta(hours=24),
    Purpose.RESET_PASSWORD: timedelta(minutes=30),
    # An administrator made the account: the owner chooses his first password.
    Purpose.SET_PASSWORD: timedelta(hours=24),
    # Answered to a right initial password, never mailed; it proves no mailbox.
    Purpose.CHANGE_PASSWORD: timedelta(minutes=10),
    Purpose.CHANGE_EMAIL: timedelta(hours=24),
    Purpose.UNDO_EMAIL: timedelta(days=3),
}

# What sets a password, and what proves an address.
TO_SET_PASSWORD = frozenset(
    {Purpose.RESET_PASSWORD, Purpose.SET_PASSWORD, Purpose.CHANGE_PASSWORD}
)
TO_PROVE_ADDRESS = frozenset({Purpose.VERIFY_EMAIL, Purpose.CHANGE_EMAIL})


def digest(secret: str) -> bytes:
    """Hash a secret of 256 random bits for storage; a slow hash would add nothing (ASVS 6.5.2)."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimeToken:
    """Stored form of a mailed token: its hash, bound to purpose, account and address.

    The address is that at issue: after a change of address the token opens nothing, but for the
    undo of that change. `new_email` is the address that the token sets: that of a change, or that
    which an undo returns to.
    """

    digest: bytes
    purpose: Purpose
    account_id: AccountId
    email: str
    created_at: datetime
    expires_at: datetime
    new_email: str | None = None

    @classmethod
    def issue(
        cls,
        secret: str,
        purpose: Purpose,
        account_id: AccountId,
        email: str,
        now: datetime,
        *,
        new_email: str | None = None,
    ) -> "OneTimeToken":
        return cls(
            digest=digest(secret),
            purpose=purpose,
            account_id=account_id,
            email=email,
            created_at=now,
            expires_at=now + LIFETIMES[purpose],
            new_email=new_email,
        )
