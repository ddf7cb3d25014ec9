"""The issuer's published keys, and when to read them again; others do the reading."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt import InvalidKeyError, get_algorithm_by_name

from ..adapters.signed_tokens import VerifyingKey, VerifyingKeys
from ..domain.errors import Unavailable
from ..domain.keys import JWKS_CACHE
from ..domain.tokens import TokenPolicy

UNREADABLE = "The keys of the issuer cannot be read now."
_RETRY_SECONDS = 1.0
# What makes a key one of an algorithm (RFC 7518 section 6, RFC 8037 section 2).
_SHAPES = {
    "ES256": {"kty": "EC", "crv": "P-256"},
    "RS256": {"kty": "RSA"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCachePolicy:
    """How long keys are kept.

    After `max_age` they are read again, at most once a `cool_down` however many tokens name a key
    that is not there. Where reading fails the old ones serve on, until they are `max_stale`: by
    then every token that they signed has expired, and a revoked key must not be good for ever.
    """

    max_age: timedelta = JWKS_CACHE
    cool_down: timedelta = timedelta(seconds=30)
    max_stale: timedelta = timedelta(days=1)


class PublishedKeys:
    """The key set as it was read last. `seconds` is a clock that is never set back."""

    def __init__(
        self,
        policy: TokenPolicy,
        times: KeyCachePolicy,
        cache: int,
        seconds: Callable[[], float],
    ) -> None:
        self._policy, self._cache, self._seconds = policy, cache, seconds
        self._max_age = times.max_age.total_seconds()
        self._cool_down = times.cool_down.total_seconds()
        self._max_stale = times.max_stale.total_seconds()
        self._keys: VerifyingKeys | None = None
        self._published: object = None
        self._read_at = self._tried_at = -math.inf
        self.is_behind = False

    @property
    def usable(self) -> VerifyingKeys | None:
        """Return the keys, unless there are none or none that may still serve."""
        too_old = self._seconds() - self._read_at >= self._max_stale
        return None if too_old else self._keys

    def demand(self) -> VerifyingKeys:
        """Return the keys; raises Unavailable."""
        if (keys := self.usable) is None:
            raise Unavailable(UNREADABLE)
        return keys

    def is_due(self, *, missing: bool = False) -> bool:
        """Tell whether to read now; `missing`: a token names a key that is not there."""
        now = self._seconds()
        if self._keys is None:
            return now - self._tried_at >= _RETRY_SECONDS
        old = missing or now - self._read_at >= self._max_age
        return old and now - self._tried_at >= self._cool_down

    def begin(self) -> None:
        self._tried_at = self._seconds()

    def fail(self) -> None:
        """Count the wait from now: of threads that waited for a reading that hung, none begins
        the next at once, or the last of them would wait for all."""
        self._tried_at = self._seconds()
        self.is_behind = True

    def take(self, published: object) -> None:
        """Take over a JWK Set; raises ValueError, and keeps the old one, if nothing in it serves.

        The same set again keeps what was verified by it.
        """
        if published != self._published:
            self._keys = VerifyingKeys(_parse_set(published), self._policy, self._cache)
            self._published = published
        self._read_at = self._tried_at
        self.is_behind = False


def _parse_set(published: object) -> list[VerifyingKey]:
    listed = published.get("keys") if isinstance(published, Mapping) else None
    if not isinstance(listed, list):
        raise ValueError("not a JWK Set")
    keys = [key for each in listed if (key := _parse(each))]
    if not keys:
        raise ValueError("no key that can be used")
    return keys


def _parse(jwk: object) -> VerifyingKey | None:
    """Read a public signature key; None for one that is not, for keys of other kinds may come."""
    if not isinstance(jwk, Mapping) or jwk.get("use", "sig") != "sig" or "d" in jwk:
        return None
    kid, name = jwk.get("kid"), jwk.get("alg")
    if not isinstance(kid, str) or not isinstance(name, str) or name not in _SHAPES:
        return None
    if any(jwk.get(member) != value for member, value in _SHAPES[name].items()):
        return None
    algorithm = get_algorithm_by_name(name)
    try:
        public = algorithm.from_jwk(dict(jwk))
    except (InvalidKeyError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < 2048:
        return None
    return VerifyingKey(kid, name, algorithm, public)
