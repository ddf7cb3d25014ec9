"""Hashes as JSON objects, in the shapes in which Firebase, Keycloak and Auth0 give them out."""

import json
from collections.abc import Mapping
from typing import Any

from .kinds import Argon2Hash, FirebaseHash, ForeignHash, Pbkdf2Hash, ScryptHash, decode, encode
from .refusals import BROKEN, UNKNOWN, WEAK, refused
from .texts import from_hex, log2, parse_text

_FAST = frozenset({"hmac", "ldap", "md4", "md5", "sha1", "sha256", "sha512"})


def parse_object(given: Mapping[str, object]) -> ForeignHash:
    """Recognise a hash by its members; raises ValidationFailed."""
    if "passwordHash" in given:
        return _firebase(given)
    if "credentialData" in given:
        return _keycloak(given)
    if "algorithm" in given:
        return _auth0(given)
    raise refused(UNKNOWN)


def _text(given: Mapping[str, object], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or len(value) > 1024:
        raise refused(BROKEN)
    return value


def _number(given: Mapping[str, object], name: str) -> int:
    value = given.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**10:
        raise refused(BROKEN)
    return value


def _url_safe(text: str) -> bytes:
    return decode(text.replace("-", "+").replace("_", "/"))


def _firebase(given: Mapping[str, object]) -> ForeignHash:
    """Read `passwordHash` and `salt` of a user beside the project's hash parameters."""
    return FirebaseHash(
        _number(given, "mem_cost"),
        _number(given, "rounds"),
        _url_safe(_text(given, "salt")),
        _url_safe(_text(given, "base64_salt_separator")),
        _url_safe(_text(given, "base64_signer_key")),
        _url_safe(_text(given, "passwordHash")),
    )


def _keycloak(given: Mapping[str, object]) -> ForeignHash:
    """Read one of a realm export's credentials; its two parts are JSON within JSON."""
    secret, parameters = _inner(given, "secretData"), _inner(given, "credentialData")
    algorithm, count = _text(parameters, "algorithm"), _number(parameters, "hashIterations")
    salt, digest = decode(_text(secret, "salt")), decode(_text(secret, "value"))
    if algorithm == "argon2":
        return _keycloak_argon2(parameters, count, salt, digest)
    name, _, function = algorithm.partition("-")
    if name != "pbkdf2":
        raise refused(UNKNOWN)
    return Pbkdf2Hash(function or "sha1", count, salt, digest)


def _inner(given: Mapping[str, object], name: str) -> Mapping[str, object]:
    value: Any = given.get(name)
    try:
        inner = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise refused(BROKEN) from None
    if not isinstance(inner, dict):
        raise refused(BROKEN)
    return inner


def _keycloak_argon2(
    parameters: Mapping[str, object], passes: int, salt: bytes, digest: bytes
) -> ForeignHash:
    more = _inner(parameters, "additionalParameters")
    kind, version, memory, lanes = (
        _only(more, name) for name in ("type", "version", "memory", "parallelism")
    )
    if version != "1.3":
        raise refused(UNKNOWN)
    cost = f"m={memory},t={passes},p={lanes}"
    return Argon2Hash(f"$argon2{kind}$v=19${cost}${encode(salt)}${encode(digest)}")


def _only(parameters: Mapping[str, object], name: str) -> str:
    value = parameters.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise refused(BROKEN)
    return value


def _auth0(given: Mapping[str, object]) -> ForeignHash:
    """Read `custom_password_hash` of Auth0's bulk import; bcrypt of an export is plain text."""
    algorithm, hashed = _text(given, "algorithm"), _inner(given, "hash")
    if algorithm in _FAST:
        raise refused(WEAK)
    if algorithm == "scrypt":
        return ScryptHash(
            log2(_number(given, "cost")),
            _number(given, "blockSize"),
            _number(given, "parallelization"),
            _bytes(_inner(given, "salt")),
            _bytes(hashed),
        )
    if algorithm not in ("argon2", "bcrypt", "pbkdf2"):
        raise refused(UNKNOWN)
    return parse_text(_text(hashed, "value"))


def _bytes(given: Mapping[str, object]) -> bytes:
    value = _text(given, "value")
    match given.get("encoding"):
        case "hex":
            return from_hex(value)
        case "base64":
            return decode(value)
        case "utf8":
            return value.encode("utf-8", "surrogatepass")
    raise refused(BROKEN)
