"""Hashes of other systems: how each kind is verified, what that costs, and how it is stored."""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Protocol

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import verify_secret
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from .refusals import BROKEN, NO_BCRYPT, UNKNOWN, WEAK, refused

# Milliseconds on one ordinary core, measured once: only their proportions matter.
_ARGON2_MS = 0.00052  # a KiB and pass
_SCRYPT_MS = 0.0003  # a block of 128 bytes
_BCRYPT_MS = 0.058  # at cost 0
_PBKDF2_MS = {"sha1": 0.00022, "sha256": 0.00023, "sha512": 0.00052}  # an iteration and block
# A shorter digest is cut off, and would match what it should not.
_LEAST_DIGEST = 16
_MOST_SCRYPT_LOG_N = 24
# RFC 8018 section 4.2. By itself: a long digest costs its owner more, and a guesser only a block.
_LEAST_ITERATIONS = 1000


class ForeignHash(Protocol):
    """One hash, well formed; `str` gives the text that is stored and parses to the same."""

    @property
    def milliseconds(self) -> float: ...
    @property
    def memory_kib(self) -> int: ...
    def matches(self, secret: bytes) -> bool: ...


def argon2_ms(memory_kib: int, time_cost: int) -> float:
    return memory_kib * time_cost * _ARGON2_MS


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


def decode(text: str) -> bytes:
    """Read base64 with or without padding, and passlib's, which has a dot for the plus."""
    bare = text.replace(".", "+").rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise refused(BROKEN) from None


@dataclass(frozen=True, slots=True)
class Argon2Hash:
    """Argon2 (RFC 9106) of any variant, as a PHC string of version 19."""

    phc: str

    def __post_init__(self) -> None:
        if not _ARGON2.fullmatch(self.phc):
            raise refused(BROKEN)
        try:
            found = extract_parameters(self.phc)
        except (InvalidHashError, ValueError):
            raise refused(BROKEN) from None
        salt, digest = self.phc.split("$")[4:]
        lanes_fit = 1 <= found.parallelism <= 16 and found.memory_cost >= 8 * found.parallelism
        sizes_fit = len(decode(salt)) >= 8 and len(decode(digest)) >= _LEAST_DIGEST
        if not (lanes_fit and sizes_fit and found.time_cost >= 1):
            raise refused(BROKEN)

    @property
    def milliseconds(self) -> float:
        return argon2_ms(self.memory_kib, extract_parameters(self.phc).time_cost)

    @property
    def memory_kib(self) -> int:
        return extract_parameters(self.phc).memory_cost

    def matches(self, secret: bytes) -> bool:
        try:
            return verify_secret(self.phc.encode(), secret, extract_parameters(self.phc).type)
        except VerificationError:
            return False

    def __str__(self) -> str:
        # Not bare: that is how ours are stored, which are never of an un-normalised password.
        return f"argon2{self.phc}"


_ARGON2 = re.compile(
    r"\$argon2(id|i|d)\$v=19\$m=\d{1,9},t=\d{1,6},p=\d{1,3}\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class BcryptHash:
    """bcrypt; `prepared` names what was done to the password first, to get past its 72 bytes."""

    crypt: str
    prepared: str = ""

    def __post_init__(self) -> None:
        if not _BCRYPT.fullmatch(self.crypt) or not 4 <= self._cost <= 31:
            raise refused(BROKEN)
        try:
            import bcrypt  # noqa: F401
        except ImportError:
            raise refused(NO_BCRYPT) from None

    @property
    def milliseconds(self) -> float:
        return _BCRYPT_MS * 2.0**self._cost

    @property
    def memory_kib(self) -> int:
        return 4

    @property
    def _cost(self) -> int:
        return int(self.crypt[4:6])

    def matches(self, secret: bytes) -> bool:
        import bcrypt

        # Some systems left the unused bits of salt and digest set; the library refuses those.
        salt = self.crypt[:28] + _cleared(self.crypt[28], 0b001111)
        digest = self.crypt[29:59] + _cleared(self.crypt[59], 0b000011)
        # It also refuses what is longer, where the systems that made these hashes cut it off.
        made = bcrypt.hashpw(self._prepare(secret)[:72], salt.encode())
        return hmac.compare_digest(made, f"{salt}{digest}".encode())

    def _prepare(self, secret: bytes) -> bytes:
        match self.prepared:
            case "django":
                return hashlib.sha256(secret).hexdigest().encode()
            case "passlib":
                salt = self.crypt[7:29].encode()
                return base64.b64encode(hmac.digest(salt, secret, "sha256"))
        return secret

    def __str__(self) -> str:
        match self.prepared:
            case "django":
                return f"bcrypt_sha256${self.crypt}"
            case "passlib":
                ident, cost, rest = self.crypt[1:3], self._cost, self.crypt[7:]
                return f"$bcrypt-sha256$v=2,t={ident},r={cost}${rest[:22]}${rest[22:]}"
        return self.crypt


_BCRYPT_LETTERS = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _cleared(letter: str, unused: int) -> str:
    return _BCRYPT_LETTERS[_BCRYPT_LETTERS.index(letter) & ~unused]


_BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")


@dataclass(frozen=True, slots=True)
class Pbkdf2Hash:
    """PBKDF2 (RFC 8018) with HMAC and one of the SHA functions."""

    function: str
    iterations: int
    salt: bytes
    digest: bytes

    def __post_init__(self) -> None:
        if self.function not in _PBKDF2_MS:
            raise refused(UNKNOWN)
        fits = self.iterations >= 1 and self.salt and _LEAST_DIGEST <= len(self.digest) <= 512
        if not fits:
            raise refused(BROKEN)
        if self.iterations < _LEAST_ITERATIONS:
            raise refused(WEAK)

    @property
    def milliseconds(self) -> float:
        blocks = -(-len(self.digest) // hashlib.new(self.function).digest_size)
        return self.iterations * blocks * _PBKDF2_MS[self.function]

    @property
    def memory_kib(self) -> int:
        return 1

    def matches(self, secret: bytes) -> bool:
        length = len(self.digest)
        made = hashlib.pbkdf2_hmac(self.function, secret, self.salt, self.iterations, length)
        return hmac.compare_digest(made, self.digest)

    def __str__(self) -> str:
        name = f"pbkdf2-{self.function}"
        return f"${name}$i={self.iterations}${encode(self.salt)}${encode(self.digest)}"


@dataclass(frozen=True, slots=True)
class ScryptHash:
    """scrypt (RFC 7914); `log_n` is the logarithm of its cost."""

    log_n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def __post_init__(self) -> None:
        numbers_fit = 1 <= self.log_n <= _MOST_SCRYPT_LOG_N and self.r >= 1 and self.p >= 1
        if not (numbers_fit and self.salt and _LEAST_DIGEST <= len(self.digest) <= 512):
            raise refused(BROKEN)

    @property
    def milliseconds(self) -> float:
        return 2.0**self.log_n * self.r * self.p * _SCRYPT_MS

    @property
    def memory_kib(self) -> int:
        return ((1 << self.log_n) + self.p) * self.r // 8

    def matches(self, secret: bytes) -> bool:
        return hmac.compare_digest(self.derived(secret, len(self.digest)), self.digest)

    def derived(self, secret: bytes, length: int) -> bytes:
        room = self.memory_kib * 1024 + 2**20
        n = 1 << self.log_n
        return hashlib.scrypt(
            secret, salt=self.salt, n=n, r=self.r, p=self.p, maxmem=room, dklen=length
        )

    def __str__(self) -> str:
        cost = f"ln={self.log_n},r={self.r},p={self.p}"
        return f"$scrypt${cost}${encode(self.salt)}${encode(self.digest)}"


@dataclass(frozen=True, slots=True)
class FirebaseHash:
    """Firebase's scrypt: what is derived from the password encrypts the project's signer key."""

    log_n: int
    r: int
    salt: bytes
    separator: bytes
    signer_key: bytes
    digest: bytes

    def __post_init__(self) -> None:
        if len(self.signer_key) != len(self.digest) or len(self.salt) == 0:
            raise refused(BROKEN)
        # Checks the numbers, and that the digest is long enough.
        self._scrypt  # noqa: B018

    @property
    def _scrypt(self) -> ScryptHash:
        return ScryptHash(self.log_n, self.r, 1, self.salt + self.separator, self.digest)

    @property
    def milliseconds(self) -> float:
        return self._scrypt.milliseconds

    @property
    def memory_kib(self) -> int:
        return self._scrypt.memory_kib

    def matches(self, secret: bytes) -> bool:
        key = self._scrypt.derived(secret, 64)[:32]
        encryptor = Cipher(AES(key), CTR(bytes(16))).encryptor()
        made = encryptor.update(self.signer_key) + encryptor.finalize()
        return hmac.compare_digest(made, self.digest)

    def __str__(self) -> str:
        key, separator = encode(self.signer_key), encode(self.separator)
        cost = f"v=1,n={self.log_n},r={self.r},p=1,ss={separator},sk={key}"
        return f"$fbscrypt${cost}${encode(self.salt)}${encode(self.digest)}"
