"""Cryptography for tests: forgeries are refused as in earnest, but nothing is slow or secret."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ...application.ports.security import (
    AccessTokens,
    AdoptedHash,
    Cipher,
    Clock,
    KeyPair,
    PasswordHasher,
    RefreshTokens,
    SealBroken,
    SealPurpose,
)
from ...domain.errors import AccessTokenInvalid, FieldError, ValidationFailed
from ...domain.sessions import RefreshClaim, SessionId
from ...domain.tokens import AccessClaims, TokenPolicy

_NONCE_BYTES = 16
_TAG_BYTES = 32
_SECRET_BYTES = 16
_FOREIGN = ("foreign$", "slower$")
_CLAIM_BYTES = 16 + _SECRET_BYTES + 8


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


class PlainPasswordHasher(PasswordHasher):
    """A fast hash. Change `params` to make every older hash one to be renewed.

    `work` counts the slow hashes that a real one would have computed, decoys included: equal
    counts stand for equal time. Another system's hashes are `foreign$` (or `slower$`) and the
    password.
    """

    def __init__(self, params: str = "1") -> None:
        self.params = params
        self.work = 0

    async def hash(self, password: str) -> str:
        self.work += 1
        return self._encode(password, self.params, secrets.token_hex(8))

    async def verify(self, password: str, encoded: str | None) -> bool:
        self.work += 1
        if encoded and encoded.startswith(_FOREIGN):
            return encoded.partition("$")[2] == password
        parts = (encoded or "").split("$")
        if len(parts) != 4:
            return False
        expected = self._encode(password, parts[1], parts[2])
        return encoded == expected

    def needs_rehash(self, encoded: str) -> bool:
        return not encoded.startswith(f"plain${self.params}$")

    def adopt(self, given: str | Mapping[str, object]) -> AdoptedHash:
        if isinstance(given, str) and given.startswith(_FOREIGN):
            return AdoptedHash(given, is_slower=given.startswith("slower$"))
        if isinstance(given, str) and given.startswith("gatepost$plain$"):
            return AdoptedHash(given.removeprefix("gatepost$"))
        message = "Not a kind of hash that can be verified."
        raise ValidationFailed(FieldError("password_hash", "unknown_hash", message))

    def portable(self, encoded: str) -> str:
        return encoded if encoded.startswith(_FOREIGN) else f"gatepost${encoded}"

    def _encode(self, password: str, params: str, salt: str) -> str:
        salted = salt.encode() + password.encode("utf-8", "surrogatepass")
        return f"plain${params}${salt}${hashlib.sha256(salted).hexdigest()}"


class MemoryCipher(Cipher):
    """A key stream and a tag over it, one key a purpose; opens what its older keys sealed, too."""

    def __init__(self, key: bytes | None = None, *older: bytes) -> None:
        self._keys = (key or secrets.token_bytes(32), *older)

    def seal(self, purpose: SealPurpose, plaintext: bytes) -> bytes:
        nonce, key = secrets.token_bytes(_NONCE_BYTES), self._keys[0]
        body = nonce + _apply_stream(key, purpose, nonce, plaintext)
        return body + _seal_tag(key, purpose, body)

    def open(self, purpose: SealPurpose, sealed: bytes) -> bytes:
        key = self._key_of(purpose, sealed)
        if key is None:
            raise SealBroken
        body = sealed[:-_TAG_BYTES]
        return _apply_stream(key, purpose, body[:_NONCE_BYTES], body[_NONCE_BYTES:])

    def is_stale(self, purpose: SealPurpose, sealed: bytes) -> bool:
        return self._key_of(purpose, sealed) != self._keys[0]

    def _key_of(self, purpose: SealPurpose, sealed: bytes) -> bytes | None:
        body, tag = sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]
        fitting = (
            key for key in self._keys if hmac.compare_digest(tag, _seal_tag(key, purpose, body))
        )
        return next(fitting, None)


def _seal_tag(key: bytes, purpose: SealPurpose, body: bytes) -> bytes:
    return _mac(_mac(key, f"tag {purpose}".encode()), body)


def _apply_stream(key: bytes, purpose: SealPurpose, nonce: bytes, text: bytes) -> bytes:
    seed = _mac(key, f"stream {purpose}".encode()) + nonce
    stream = hashlib.shake_256(seed).digest(len(text))
    return bytes(one ^ other for one, other in zip(text, stream, strict=True))


class MemoryRefreshTokens(RefreshTokens):
    """Claims with a tag behind them, in hexadecimal."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)

    def seal(self, claim: RefreshClaim) -> str:
        if len(claim.secret) != _SECRET_BYTES:
            raise ValueError(f"A session secret has {_SECRET_BYTES} bytes.")
        generation = claim.generation.to_bytes(8, "big")
        body = claim.session_id.bytes + claim.secret + generation
        return f"gpr_{(body + _mac(self._key, body)).hex()}"

    def open(self, token: str) -> RefreshClaim | None:
        try:
            body = bytes.fromhex(token.removeprefix("gpr_"))[:-_TAG_BYTES]
        except ValueError:
            return None
        if len(body) != _CLAIM_BYTES:
            return None
        claim = RefreshClaim(
            session_id=SessionId(UUID(bytes=body[:16])),
            secret=body[16:32],
            generation=int.from_bytes(body[32:], "big"),
        )
        # Sealed again and compared as text: that checks the tag and leaves one spelling.
        return claim if hmac.compare_digest(token, self.seal(claim)) else None

    def successor(self, claim: RefreshClaim) -> str:
        return self.seal(RefreshClaim(claim.session_id, claim.secret, claim.generation + 1))


class MemoryAccessTokens(AccessTokens):
    """JSON claims with a tag, `kid.claims.tag`; times in whole seconds, as in a JWT.

    Signs from the start. The key that it begins with is the first that `new_key` gives, so that
    tokens outlive a first `keys.load()`.
    """

    def __init__(self, policy: TokenPolicy, now: Clock) -> None:
        self._policy = policy
        self._now = now
        self._first: KeyPair | None = _new_key()
        self.install([self._first], self._first.kid)

    def new_key(self) -> KeyPair:
        first, self._first = self._first, None
        return first or _new_key()

    def install(self, keys: Sequence[KeyPair], signing: str) -> None:
        self._keys: dict[str, KeyPair] = {key.kid: key for key in keys}
        self._signing = signing

    def sign(self, claims: AccessClaims) -> str:
        body = json.dumps(_members(claims)).encode().hex()
        return f"{self._signing}.{body}.{self._tag(self._signing, body)}"

    def verify(self, token: str, *, expired_too: bool = False) -> AccessClaims:
        kid, _, signed = token.partition(".")
        body, _, tag = signed.partition(".")
        if kid not in self._keys or not _equal(tag, self._tag(kid, body)):
            raise AccessTokenInvalid
        claims = _claims(json.loads(bytes.fromhex(body)))
        if not self._is_ours(claims) or (self._now() >= claims.expires_at and not expired_too):
            raise AccessTokenInvalid
        return claims

    def published(self) -> Mapping[str, object]:
        return {
            "keys": [
                {"kty": "oct", "kid": key.kid, "alg": key.algorithm, "use": "sig"}
                for key in self._keys.values()
            ]
        }

    def _tag(self, kid: str, body: str) -> str:
        return _mac(self._keys[kid].private_key, body.encode("utf-8", "surrogatepass")).hex()

    def _is_ours(self, claims: AccessClaims) -> bool:
        ours = (self._policy.issuer, self._policy.audience)
        return (claims.issuer, claims.audience) == ours and claims.issued_at <= self._now()


def _new_key() -> KeyPair:
    key = secrets.token_bytes(32)
    return KeyPair(kid=hashlib.sha256(key).hexdigest(), algorithm="HS256", private_key=key)


def _equal(tag: str, expected: str) -> bool:
    return tag.isascii() and hmac.compare_digest(tag, expected)


def _members(claims: AccessClaims) -> dict[str, object]:
    return {
        "iss": claims.issuer,
        "aud": claims.audience,
        "sub": str(claims.subject),
        "sid": str(claims.session_id) if claims.session_id else None,
        "client_id": claims.client_id,
        "scope": claims.scope,
        "roles": claims.roles,
        "jti": str(claims.token_id),
        "iat": int(claims.issued_at.timestamp()),
        "exp": int(claims.expires_at.timestamp()),
    }


def _claims(members: dict[str, str]) -> AccessClaims:
    return AccessClaims(
        issuer=members["iss"],
        audience=members["aud"],
        subject=UUID(members["sub"]),
        session_id=SessionId(UUID(members["sid"])) if members["sid"] else None,
        client_id=members["client_id"],
        scope=members["scope"],
        roles=tuple(members["roles"]),
        token_id=UUID(members["jti"]),
        issued_at=datetime.fromtimestamp(int(members["iat"]), UTC),
        expires_at=datetime.fromtimestamp(int(members["exp"]), UTC),
    )
