"""Master keys, keys derived from them, and what is sealed at rest."""

import base64
import hmac
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..application.ports.limits import KeyHasher
from ..application.ports.security import Cipher, SealBroken, SealPurpose
from ..domain.limits import Rule

KEY_ID_BYTES = 3
_KEY_BYTES = 32
# 32 random bytes hold some 30 different ones; fewer than 8 happens to nobody by chance.
_FEWEST_DIFFERENT = 8
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{43}=?")
_TO_STANDARD = str.maketrans("-_", "+/")
_NONCE_BYTES = 12
_TAG_BYTES = 16
_LIMITER_KEY_BYTES = 16


class MasterKeysInvalid(ValueError):
    """The configured master keys cannot be used; the message never shows one."""


@dataclass(frozen=True, slots=True)
class DerivedKey:
    """A key for one purpose, and the short id by which sealed data names it."""

    id: bytes
    key: bytes = field(repr=False)


class MasterKeys:
    """Secrets of 32 bytes, newest first. None is used itself: every purpose derives its own."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise MasterKeysInvalid("There is no master key.")
        for number, key in enumerate(keys, 1):
            _refuse_weak(number, key)
        if len(set(keys)) != len(keys):
            raise MasterKeysInvalid("A master key is listed twice.")
        self._keys = tuple(keys)

    @classmethod
    def parse(cls, text: str) -> "MasterKeys":
        """Read base64 (either alphabet), separated by commas; raises MasterKeysInvalid."""
        return cls([_decoded(number, item) for number, item in enumerate(text.split(","), 1)])

    def __len__(self) -> int:
        return len(self._keys)

    def derive(self, label: str, length: int) -> tuple[bytes, ...]:
        """Derive one key from each master key, newest first (HKDF-SHA256, RFC 5869)."""
        return tuple(_hkdf(key, label, length) for key in self._keys)

    def derive_ring(self, label: str, length: int) -> tuple[DerivedKey, ...]:
        """Derive keys and their ids; raises MasterKeysInvalid when two ids are equal."""
        ids = self.derive(f"{label} id", KEY_ID_BYTES)
        if len(set(ids)) != len(ids):
            raise MasterKeysInvalid(f"Two master keys share a key id ({label}): replace one.")
        keys = self.derive(label, length)
        return tuple(DerivedKey(id, key) for id, key in zip(ids, keys, strict=True))


def _decoded(number: int, item: str) -> bytes:
    text = item.strip()
    if not _BASE64.fullmatch(text):
        raise MasterKeysInvalid(f"Master key {number} is not {_KEY_BYTES} bytes in base64.")
    return base64.b64decode(text.rstrip("=").translate(_TO_STANDARD) + "=")


def _refuse_weak(number: int, key: bytes) -> None:
    if len(key) != _KEY_BYTES:
        raise MasterKeysInvalid(f"Master key {number} is not {_KEY_BYTES} bytes long.")
    if len(set(key)) < _FEWEST_DIFFERENT:
        raise MasterKeysInvalid(f"Master key {number} is not random.")


def _hkdf(key: bytes, label: str, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=label.encode()).derive(key)


class KeyringCipher(Cipher):
    """AES-256-GCM under keys derived for each purpose; the first seals, all open.

    Sealed data is key id (3) || nonce (12) || ciphertext and tag. Nonces are random, which is
    safe up to 2^32 seals a key (NIST SP 800-38D section 8.3).
    """

    def __init__(self, master_keys: MasterKeys) -> None:
        self._sealing: dict[SealPurpose, bytes] = {}
        self._keys: dict[tuple[SealPurpose, bytes], AESGCM] = {}
        for purpose in SealPurpose:
            ring = master_keys.derive_ring(f"gatepost seal {purpose.value} v1", 32)
            self._sealing[purpose] = ring[0].id
            self._keys |= {(purpose, one.id): AESGCM(one.key) for one in ring}

    def seal(self, purpose: SealPurpose, plaintext: bytes) -> bytes:
        key_id = self._sealing[purpose]
        nonce = os.urandom(_NONCE_BYTES)
        key = self._keys[purpose, key_id]
        return key_id + nonce + key.encrypt(nonce, plaintext, _bound_to(purpose, key_id))

    def open(self, purpose: SealPurpose, sealed: bytes) -> bytes:
        key_id = sealed[:KEY_ID_BYTES]
        nonce = sealed[KEY_ID_BYTES : KEY_ID_BYTES + _NONCE_BYTES]
        ciphertext = sealed[KEY_ID_BYTES + _NONCE_BYTES :]
        key = self._keys.get((purpose, key_id))
        if key is None or len(ciphertext) < _TAG_BYTES:
            raise SealBroken("Unknown key or cut short.")
        try:
            return key.decrypt(nonce, ciphertext, _bound_to(purpose, key_id))
        except InvalidTag:
            raise SealBroken("Altered, or sealed for another purpose.") from None

    def is_stale(self, purpose: SealPurpose, sealed: bytes) -> bool:
        return sealed[:KEY_ID_BYTES] != self._sealing[purpose]


def _bound_to(purpose: SealPurpose, key_id: bytes) -> bytes:
    return purpose.value.encode() + b"\0" + key_id


class LimiterKeyHasher(KeyHasher):
    """HMAC-SHA256 under a key derived from the first master key; a new one starts counts anew."""

    def __init__(self, master_keys: MasterKeys) -> None:
        self._key = master_keys.derive("gatepost limiter keys v1", 32)[0]

    def __call__(self, rule: Rule, subject: str) -> bytes:
        text = f"{rule}\0{subject}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, "sha256")[:_LIMITER_KEY_BYTES]
