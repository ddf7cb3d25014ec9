"""What the core asks of cryptography, the clock and chance."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from ...domain.dataclasses import dataclass
from ...domain.sessions import RefreshClaim
from ...domain.tokens import AccessClaims

Clock = Callable[[], datetime]


class Secrets(Protocol):
    """Identifiers and chance."""

    def new_id(self) -> UUID:
        """Make a UUIDv7 (RFC 9562 section 5.7)."""
        ...

    def new_token(self) -> str:
        """Make a URL-safe token of 256 random bits."""
        ...

    def new_session_secret(self) -> bytes:
        """Make 128 random bits."""
        ...


@dataclass(frozen=True, slots=True)
class AdoptedHash:
    """A hash that `verify` knows; `is_slower` than ours, it takes longer than one of nobody."""

    encoded: str = field(repr=False)
    is_slower: bool = False


class PasswordHasher(Protocol):
    """A slow hash behind a bounded queue; a full one raises Overloaded at once."""

    def demand_room(self) -> None:
        """Raise Overloaded while `place` would; nothing is taken, so it may be asked at once."""
        return None

    def place(self) -> AbstractContextManager[None]:
        """Hold a place in the queue, for this task's hashes inside; raises Overloaded without one.

        Taken before work that would be in vain without a hash.
        """
        return nullcontext()

    async def hash(self, password: str) -> str: ...

    async def verify(self, password: str, encoded: str | None) -> bool:
        """Compare; with None spend the same time in the same queue and return False.

        An adopted hash takes no less time than ours, right or wrong.
        """
        ...

    def needs_rehash(self, encoded: str) -> bool:
        """Tell whether a hash was made with other parameters than today's, or elsewhere."""
        ...

    def adopt(self, given: str | Mapping[str, object]) -> AdoptedHash:
        """Recognise another system's hash, or one that `portable` gave out; computes nothing.

        Raises ValidationFailed for one that is unknown, too weak, or would cost too much.
        """
        ...

    def portable(self, encoded: str) -> str:
        """Spell a stored hash so that `adopt`, here or elsewhere, stores the same again."""
        ...


class SealPurpose(StrEnum):
    """One derived key each: what is sealed for one purpose opens for no other."""

    SIGNING_KEY = "signing key"
    JOB = "job"
    CURSOR = "cursor"
    DEVICE = "device"
    IDEMPOTENCY = "idempotency"
    EXPORT = "export"
    WEBHOOK = "webhook"


class Cipher(Protocol):
    """Authenticated encryption at rest under keys derived from the master keys."""

    def seal(self, purpose: SealPurpose, plaintext: bytes) -> bytes: ...

    def open(self, purpose: SealPurpose, sealed: bytes) -> bytes:
        """Raise SealBroken when altered, of another purpose, or of a key taken from the list."""
        ...

    def is_stale(self, purpose: SealPurpose, sealed: bytes) -> bool:
        """Tell whether it was sealed under another master key than the first."""
        ...


class SealBroken(Exception):
    """Sealed data cannot be opened: it was altered, or its master key is gone."""


class RefreshTokens(Protocol):
    """Sealed refresh tokens: authentic without a query, and the same bytes from every replica."""

    def seal(self, claim: RefreshClaim) -> str:
        """Seal a new session's first token, with the first key."""
        ...

    def open(self, token: str) -> RefreshClaim | None:
        """Open; None for anything that is not authentic, in one spelling only."""
        ...

    def successor(self, claim: RefreshClaim) -> str:
        """Seal the next generation of a claim that was opened, with its token's own key."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A signing key outside storage; `private_key` is PKCS #8 DER."""

    kid: str
    algorithm: str
    private_key: bytes = field(repr=False)


class SigningKeysInvalid(Exception):
    """Signing keys that cannot be used; names the kid and the fault, and nothing secret."""


class AccessTokens(Protocol):
    """Signs and checks access tokens with the keys that were installed last."""

    def new_key(self) -> KeyPair:
        """Make a key pair of the configured algorithm; `kid` is its RFC 7638 thumbprint."""
        ...

    def install(self, keys: Sequence[KeyPair], signing: str) -> None:
        """Replace the key set; `signing` is the kid that signs.

        Raises SigningKeysInvalid for damaged ones, and then keeps the set there was.
        """
        ...

    def sign(self, claims: AccessClaims) -> str: ...

    def verify(self, token: str, *, expired_too: bool = False) -> AccessClaims:
        """Check signature, typ, alg by key, iss, aud and times; raise AccessTokenInvalid.

        `expired_too` skips only the expiry: ending a session needs no fresh token.
        """
        ...

    def published(self) -> Mapping[str, object]:
        """Return the JWK Set (RFC 7517 section 5), public members only."""
        ...
