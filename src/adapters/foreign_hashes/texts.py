"""Hashes as text: PHC strings, crypt's, and those of Django, Werkzeug, passlib and Supabase."""

import re
from collections.abc import Callable

from .kinds import (
    Argon2Hash,
    BcryptHash,
    FirebaseHash,
    ForeignHash,
    Pbkdf2Hash,
    ScryptHash,
    decode,
)
from .refusals import BROKEN, UNKNOWN, WEAK, refused

_LONGEST = 1024
_WEAK = re.compile(
    r"(md5|sha1|sha224|sha256|sha384|sha512|plain|crypt|unsalted_\w+|hmac)\$.*"
    r"|\$1\$.*|\$apr1\$.*|\{(S?SHA|S?MD5|CLEARTEXT)\}.*"
    r"|[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{128}",
    re.DOTALL,
)


def parse_text(text: str) -> ForeignHash:
    """Recognise a hash by its beginning; raises ValidationFailed."""
    if len(text) > _LONGEST or not text.isascii():
        raise refused(UNKNOWN)
    for beginning, parse in _BEGINNINGS.items():
        if text.startswith(beginning):
            return parse(text)
    raise refused(WEAK if _WEAK.fullmatch(text) else UNKNOWN)


def _parts(text: str, pattern: str) -> tuple[str, ...]:
    found = re.fullmatch(pattern, text)
    if found is None:
        raise refused(BROKEN)
    return found.groups(default="")


def number(text: str) -> int:
    if not re.fullmatch(r"\d{1,10}", text):
        raise refused(BROKEN)
    return int(text)


def from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise refused(BROKEN) from None


def log2(n: int) -> int:
    if n < 2 or n & (n - 1):
        raise refused(BROKEN)
    return n.bit_length() - 1


def _argon2(text: str) -> ForeignHash:
    return Argon2Hash(text.removeprefix("argon2"))


def _bcrypt(text: str) -> ForeignHash:
    return BcryptHash(text.removeprefix("bcrypt$"))


def _django_bcrypt(text: str) -> ForeignHash:
    return BcryptHash(text.removeprefix("bcrypt_sha256$"), "django")


def _passlib_bcrypt(text: str) -> ForeignHash:
    pattern = r"\$bcrypt-sha256\$v=2,t=(2[ab]),r=(\d{1,2})\$([^$]{22})\$([^$]{31})"
    ident, cost, salt, digest = _parts(text, pattern)
    return BcryptHash(f"${ident}${int(cost):02}${salt}{digest}", "passlib")


def _django_pbkdf2(text: str) -> ForeignHash:
    function, count, salt, digest = _parts(text, r"pbkdf2_(\w+)\$(\d+)\$([^$]+)\$([^$]+)")
    return Pbkdf2Hash(function, number(count), salt.encode(), decode(digest))


def _werkzeug_pbkdf2(text: str) -> ForeignHash:
    function, count, salt, digest = _parts(text, r"pbkdf2:(\w+):(\d+)\$([^$]+)\$([^$]+)")
    return Pbkdf2Hash(function, number(count), salt.encode(), from_hex(digest))


def _phc_pbkdf2(text: str) -> ForeignHash:
    """Read what passlib writes, and PHC strings, which name the count and perhaps the length."""
    pattern = r"\$pbkdf2(?:-(sha\d+))?\$(?:i=)?(\d+)(?:,l=\d+)?\$([^$]+)\$([^$]+)"
    function, count, salt, digest = _parts(text, pattern)
    return Pbkdf2Hash(function or "sha1", number(count), decode(salt), decode(digest))


def _django_scrypt(text: str) -> ForeignHash:
    pattern = r"scrypt\$(\d+)\$([^$]+)\$(\d+)\$(\d+)\$([^$]+)"
    n, salt, r, p, digest = _parts(text, pattern)
    return ScryptHash(log2(number(n)), number(r), number(p), salt.encode(), decode(digest))


def _werkzeug_scrypt(text: str) -> ForeignHash:
    n, r, p, salt, digest = _parts(text, r"scrypt:(\d+):(\d+):(\d+)\$([^$]+)\$([^$]+)")
    return ScryptHash(log2(number(n)), number(r), number(p), salt.encode(), from_hex(digest))


def _phc_scrypt(text: str) -> ForeignHash:
    pattern = r"\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([^$]+)\$([^$]+)"
    log_n, r, p, salt, digest = _parts(text, pattern)
    return ScryptHash(number(log_n), number(r), number(p), decode(salt), decode(digest))


def _supabase_firebase(text: str) -> ForeignHash:
    pattern = r"\$fbscrypt\$v=1,n=(\d+),r=(\d+),p=1,ss=([^,$]*),sk=([^,$]+)\$([^$]+)\$([^$]+)"
    log_n, r, separator, key, salt, digest = _parts(text, pattern)
    return FirebaseHash(
        number(log_n), number(r), decode(salt), decode(separator), decode(key), decode(digest)
    )


_BEGINNINGS: dict[str, Callable[[str], ForeignHash]] = {
    "$argon2": _argon2,
    "argon2$": _argon2,
    "$2a$": _bcrypt,
    "$2b$": _bcrypt,
    "$2y$": _bcrypt,
    "bcrypt$": _bcrypt,
    "bcrypt_sha256$": _django_bcrypt,
    "$bcrypt-sha256$": _passlib_bcrypt,
    "pbkdf2_": _django_pbkdf2,
    "pbkdf2:": _werkzeug_pbkdf2,
    "$pbkdf2": _phc_pbkdf2,
    "scrypt$": _django_scrypt,
    "scrypt:": _werkzeug_scrypt,
    "$scrypt$": _phc_scrypt,
    "$fbscrypt$": _supabase_firebase,
}
