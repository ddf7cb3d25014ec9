"""Browsers that signed in before, so that a stranger's guesses do not shut their owner out."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import field
from datetime import UTC, datetime, timedelta

from ..domain.accounts import Account
from ..domain.dataclasses import dataclass
from .ports.security import Cipher, Clock, SealBroken, SealPurpose, Secrets

DEVICE_TTL = timedelta(days=365)
_ID = 16
_NONCE = 16
_VERSION = 16
_TIME = 8


@dataclass(frozen=True, slots=True)
class _Claim:
    account_id: bytes
    nonce: bytes = field(repr=False)
    version: bytes = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Devices:
    """Seals what a browser keeps: the account, a nonce, the password's version, and an end.

    It opens nothing. It names a budget of failures that is the browser's own, worthless for
    another account and after a change of the password.
    """

    cipher: Cipher
    secrets: Secrets
    now: Clock

    def remember(self, account: Account) -> str:
        """Make the value of the cookie, only after the right password."""
        end = int((self.now() + DEVICE_TTL).timestamp()).to_bytes(_TIME, "big")
        nonce = self.secrets.new_session_secret()
        plain = account.id.bytes + nonce + _version_of(account) + end
        sealed = self.cipher.seal(SealPurpose.DEVICE, plain)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def recognise(self, cookie: str | None, candidates: Iterable[Account | None]) -> str | None:
        """Return the subject of the browser's own budget, if it belongs to one of these."""
        claim = self._opened(cookie) if cookie else None
        if claim is None or claim.expires_at <= self.now():
            return None
        for account in candidates:
            if account and account.id.bytes == claim.account_id:
                return claim.nonce.hex() if _version_of(account) == claim.version else None
        return None

    def _opened(self, cookie: str) -> _Claim | None:
        try:
            sealed = base64.urlsafe_b64decode(cookie.encode("ascii") + b"==")
            plain = self.cipher.open(SealPurpose.DEVICE, sealed)
        except (SealBroken, ValueError):
            return None
        head, nonce = plain[:_ID], plain[_ID : _ID + _NONCE]
        version = plain[_ID + _NONCE : _ID + _NONCE + _VERSION]
        end = int.from_bytes(plain[-_TIME:], "big")
        return _Claim(head, nonce, version, datetime.fromtimestamp(end, UTC))


def _version_of(account: Account) -> bytes:
    """Digest the stored hash: another one at every change, and nothing to guess from."""
    return hashlib.sha256((account.password_hash or "").encode()).digest()[:_VERSION]
