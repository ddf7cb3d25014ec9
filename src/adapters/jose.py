"""Access tokens as signed JWTs (RFC 9068), and the keys behind them."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from jwt import get_algorithm_by_name
from jwt.algorithms import Algorithm

from ..application.ports.security import AccessTokens, Clock, KeyPair, SigningKeysInvalid
from ..domain.errors import AccessTokenInvalid
from ..domain.tokens import AccessClaims, TokenPolicy
from . import base64url
from .access_claims import to_json
from .signed_tokens import TYP, VerifyingKey, VerifyingKeys

MAX_LEEWAY = timedelta(seconds=60)

_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey
_PublicKey = object


@dataclass(frozen=True, slots=True)
class _Scheme:
    """One algorithm: how keys are made and recognised, and what is public of them."""

    name: str
    make: Callable[[], _PrivateKey]
    fits: Callable[[object], bool]
    public_members: tuple[str, ...]

    @property
    def algorithm(self) -> Algorithm:
        return get_algorithm_by_name(self.name)


_SCHEMES = {
    scheme.name: scheme
    for scheme in (
        _Scheme(
            "ES256",
            lambda: ec.generate_private_key(ec.SECP256R1()),
            lambda key: (
                isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
            ),
            ("crv", "kty", "x", "y"),
        ),
        _Scheme(
            "RS256",
            lambda: rsa.generate_private_key(65537, 2048),
            lambda key: isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048,
            ("e", "kty", "n"),
        ),
        _Scheme(
            "EdDSA",
            Ed25519PrivateKey.generate,
            lambda key: isinstance(key, Ed25519PrivateKey),
            ("crv", "kty", "x"),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class _Key:
    """A key parsed once: loading one costs more than many signatures."""

    kid: str
    scheme: _Scheme
    algorithm: Algorithm
    private: _PrivateKey = field(repr=False)
    public: _PublicKey
    members: Mapping[str, str]

    @classmethod
    def of(cls, scheme: _Scheme, private: _PrivateKey) -> "_Key":
        algorithm, public = scheme.algorithm, private.public_key()
        jwk = algorithm.to_jwk(public, as_dict=True)
        members = {name: jwk[name] for name in scheme.public_members}
        return cls(_thumbprint(members), scheme, algorithm, private, public, members)

    @property
    def header(self) -> str:
        members = {"alg": self.scheme.name, "kid": self.kid, "typ": TYP}
        return base64url.encode(json.dumps(members, separators=(",", ":")).encode())

    @property
    def verifying(self) -> VerifyingKey:
        return VerifyingKey(self.kid, self.scheme.name, self.algorithm, self.public)

    @property
    def published(self) -> dict[str, str]:
        return {**self.members, "kid": self.kid, "use": "sig", "alg": self.scheme.name}


def _thumbprint(members: Mapping[str, str]) -> str:
    """Compute the SHA-256 thumbprint of a key's required members (RFC 7638 section 3)."""
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return base64url.encode(hashlib.sha256(text.encode()).digest())


def _load(pair: KeyPair) -> _Key:
    """Parse a key pair; raises SigningKeysInvalid, which shows nothing but the kid."""
    scheme = _SCHEMES.get(pair.algorithm)
    try:
        private = load_der_private_key(pair.private_key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SigningKeysInvalid(f"The signing key {pair.kid} is damaged.") from None
    if scheme is None or not scheme.fits(private):
        raise SigningKeysInvalid(f"The signing key {pair.kid} is not of its algorithm.")
    key = _Key.of(scheme, private)  # type: ignore[arg-type]
    if key.kid != pair.kid:
        raise SigningKeysInvalid(f"The signing key {pair.kid} is another one by its thumbprint.")
    return key


class _KeySet(VerifyingKeys):
    """All keys, of which one signs."""

    def __init__(
        self, keys: Sequence[_Key], signing: _Key | None, policy: TokenPolicy, cache: int
    ) -> None:
        super().__init__((key.verifying for key in keys), policy, cache)
        self._signing = signing
        self._header = signing.header if signing else ""
        self.published: dict[str, object] = {"keys": [key.published for key in keys]}

    def sign(self, payload: bytes) -> str:
        if self._signing is None:
            raise RuntimeError("No signing key is installed: await gatepost.keys.load() first.")
        text = f"{self._header}.{base64url.encode(payload)}"
        signature = self._signing.algorithm.sign(text.encode(), self._signing.private)
        return f"{text}.{base64url.encode(signature)}"


class JwtAccessTokens(AccessTokens):
    """Signs and checks access tokens; `now` is the only clock.

    `leeway` (60 s at most) is for tokens that seem to come from the future, of a replica whose
    clock is ahead. Expiry has none: the client refreshes. Verified tokens are remembered, the
    last `cache` of them, until the next `install`; their times are compared at every use.
    """

    def __init__(
        self,
        policy: TokenPolicy,
        algorithm: str,
        now: Clock,
        *,
        leeway: timedelta = timedelta(seconds=10),
        cache: int = 4096,
    ) -> None:
        if algorithm not in _SCHEMES:
            raise ValueError(f"The algorithm is one of {', '.join(_SCHEMES)}.")
        if not timedelta(0) <= leeway <= MAX_LEEWAY:
            raise ValueError("The leeway is between 0 and 60 seconds.")
        self._policy = policy
        self._scheme = _SCHEMES[algorithm]
        self._now = now
        self._leeway = leeway
        self._cache = cache
        self._keys = _KeySet((), None, policy, cache)
        self._installed: tuple[Sequence[KeyPair], str] = ((), "")

    def new_key(self) -> KeyPair:
        key = _Key.of(self._scheme, self._scheme.make())
        der = key.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return KeyPair(kid=key.kid, algorithm=self._scheme.name, private_key=der)

    def install(self, keys: Sequence[KeyPair], signing: str) -> None:
        """Replace the key set; raises SigningKeysInvalid and then keeps the one there was.

        The same set again changes nothing, so that a periodic reload keeps the cache.
        """
        if (tuple(keys), signing) == self._installed:
            return
        loaded = {pair.kid: _load(pair) for pair in keys}
        if len(loaded) != len(keys) or signing not in loaded:
            raise SigningKeysInvalid("A key is listed twice, or the one that signs is missing.")
        self._keys = _KeySet(list(loaded.values()), loaded[signing], self._policy, self._cache)
        self._installed = (tuple(keys), signing)

    def sign(self, claims: AccessClaims) -> str:
        return self._keys.sign(to_json(claims))

    def verify(self, token: str, *, expired_too: bool = False) -> AccessClaims:
        dated = self._keys.check(token)
        now = self._now()
        if now + self._leeway < dated.not_before:
            raise AccessTokenInvalid
        if now >= dated.claims.expires_at and not expired_too:
            raise AccessTokenInvalid
        return dated.claims

    def published(self) -> Mapping[str, object]:
        return self._keys.published
