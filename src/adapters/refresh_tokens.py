"""Refresh tokens that are sealed claims: no table of tokens, no query for a forgery."""

from dataclasses import dataclass, field
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from ..application.ports.security import RefreshTokens
from ..domain.sessions import RefreshClaim, SessionId
from . import base64url
from .cipher import KEY_ID_BYTES, DerivedKey, MasterKeys

PREFIX = "gpr_"
TOKEN_LENGTH = 83
_LABEL = "gatepost refresh v1"
_SECRET_BYTES = 16
_GENERATION_BYTES = 8


@dataclass(frozen=True, slots=True)
class _Key:
    """A key and the associated data that goes with it."""

    id: bytes
    siv: AESSIV = field(repr=False)

    context: list[bytes]

    @classmethod
    def of(cls, derived: DerivedKey) -> "_Key":
        return cls(derived.id, AESSIV(derived.key), [_LABEL.encode(), derived.id])

    def seal(self, claim: RefreshClaim) -> str:
        plaintext = (
            claim.session_id.bytes
            + claim.secret
            + claim.generation.to_bytes(_GENERATION_BYTES, "big")
        )
        return PREFIX + base64url.encode(self.id + self.siv.encrypt(plaintext, self.context))


class SealedRefreshTokens(RefreshTokens):
    """`gpr_` and base64url of a key id (3 bytes) and a sealed claim (56).

    Deterministic on purpose (RFC 5297): whoever holds the keys makes the same successor from a
    token alone, so two replicas cannot answer one parent with two children. A forgery costs
    2^128 guesses, the length of the synthetic vector.
    """

    def __init__(self, master_keys: MasterKeys) -> None:
        ring = [_Key.of(derived) for derived in master_keys.derive_ring(_LABEL, 64)]
        self._first = ring[0]
        self._keys = {key.id: key for key in ring}

    def seal(self, claim: RefreshClaim) -> str:
        if len(claim.secret) != _SECRET_BYTES:
            raise ValueError(f"A session secret has {_SECRET_BYTES} bytes.")
        return self._first.seal(claim)

    def open(self, token: str) -> RefreshClaim | None:
        sealed = _unwrap(token)
        key = sealed and self._keys.get(sealed[:KEY_ID_BYTES])
        if not sealed or not key:
            return None
        try:
            plaintext = key.siv.decrypt(sealed[KEY_ID_BYTES:], key.context)
        except InvalidTag:
            return None
        return _claim(plaintext, key.id)

    def successor(self, claim: RefreshClaim) -> str:
        """Seal the next generation; raises ValueError for a claim that none of our keys opened."""
        key = self._keys.get(claim.key_id)
        if key is None:
            raise ValueError("The claim was not opened by any of these keys.")
        return key.seal(RefreshClaim(claim.session_id, claim.secret, claim.generation + 1))


def _unwrap(token: str) -> bytes | None:
    if not isinstance(token, str) or len(token) != TOKEN_LENGTH or not token.isascii():
        return None
    if not token.startswith(PREFIX):
        return None
    try:
        return base64url.decode(token.removeprefix(PREFIX))
    except ValueError:
        return None


def _claim(plaintext: bytes, key_id: bytes) -> RefreshClaim:
    return RefreshClaim(
        session_id=SessionId(UUID(bytes=plaintext[:16])),
        secret=plaintext[16:32],
        generation=int.from_bytes(plaintext[32:], "big"),
        key_id=key_id,
    )
