"""What is checked of an access token before a claim is believed; resource servers do it too."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from jwt.algorithms import Algorithm

from ..domain.errors import AccessTokenInvalid
from ..domain.tokens import TokenPolicy
from . import base64url
from .access_claims import Dated, from_json, parse_object

MAX_TOKEN = 8192
TYP = "at+jwt"
_TYPES = {TYP, f"application/{TYP}"}
# They would let a token bring its own key, or ask for a rule that is not kept here.
_REFUSED_HEADERS = {"jwk", "jku", "x5u", "x5c", "crit"}


class UnknownKey(AccessTokenInvalid):
    """A token whose `kid` is not among the keys; a cache of keys may be behind."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key parsed once; `name` is the one algorithm that holds for it."""

    kid: str
    name: str
    algorithm: Algorithm
    public: object


class VerifyingKeys:
    """Keys that belong together, with the tokens that were verified by them.

    One object, replaced as a whole: a check that began with the old keys ends in the old cache.
    """

    def __init__(self, keys: Iterable[VerifyingKey], policy: TokenPolicy, cache: int) -> None:
        self._by_kid = {key.kid: key for key in keys}
        self._policy = policy
        # Keyed by the whole text: a malleable signature's other spelling only misses.
        self._checked = lru_cache(maxsize=cache)(self._check)

    def check(self, token: str) -> Dated:
        """Check all but the times; raises AccessTokenInvalid, and UnknownKey which is one."""
        if not isinstance(token, str) or len(token) > MAX_TOKEN or not token.isascii():
            raise AccessTokenInvalid
        return self._checked(token)

    def _check(self, token: str) -> Dated:
        try:
            header, payload, signature = map(base64url.decode, token.split("."))
        except ValueError:
            raise AccessTokenInvalid from None
        key = self._key_for(parse_object(header))
        signed = token.rpartition(".")[0].encode()
        if not key.algorithm.verify(signed, key.public, signature):
            raise AccessTokenInvalid
        return from_json(payload, self._policy)

    def _key_for(self, header: Mapping[str, object]) -> VerifyingKey:
        """Find the key in memory; the key, not the token, says which algorithm holds."""
        kid, typ = header.get("kid"), header.get("typ")
        # RFC 8725 section 3.11: without the type another JWT of the same key would pass.
        if not isinstance(typ, str) or typ.lower() not in _TYPES:
            raise AccessTokenInvalid
        if not _REFUSED_HEADERS.isdisjoint(header) or not isinstance(kid, str):
            raise AccessTokenInvalid
        key = self._by_kid.get(kid)
        if key is None:
            raise UnknownKey
        if header.get("alg") != key.name:
            raise AccessTokenInvalid
        return key
