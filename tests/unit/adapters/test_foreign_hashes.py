"""Hashes that Django, Werkzeug, passlib and the bcrypt library made, and published ones."""

import builtins
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gatepost.adapters.foreign_hashes import adopt, own, read, spellings
from gatepost.domain.errors import ValidationFailed

PASSWORD = b"correct horse battery staple"
LINES = Path(__file__).with_name("data").joinpath("foreign_hashes.txt").read_text().splitlines()
VECTORS = dict(line.split(": ", 1) for line in LINES)
SALT, DIGEST = "c2FsdHNhbHRzYWx0", "oP2RMvwVDNUbCuW3WhlbFAVAkY17Nzhn5GxaWoLbQ5c"
# The example in the documentation of Firebase's own tool.
FIREBASE = {
    "passwordHash": "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+"
    "VHjoZilo78198JAdRuid5lQ==",
    "salt": "42xEC+ixf3L2lw==",
    "base64_signer_key": "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKb"
    "m0QsEmYUSDzZvpjeJ9WmXA==",
    "base64_salt_separator": "Bw==",
    "rounds": 8,
    "mem_cost": 14,
}


def code_of(given: Any) -> str:
    with pytest.raises(ValidationFailed) as refused:
        adopt(given)
    (error,) = refused.value.errors
    assert error.field == "password_hash"
    return error.code


def raw(name: str) -> tuple[str, str]:
    """Give salt and digest of a hash that passlib made, for the other shapes to hold."""
    *_, salt, digest = VECTORS[name].replace(".", "+").split("$")
    return salt, digest


def keycloak(secret: Mapping[str, object], data: Mapping[str, object]) -> dict[str, object]:
    parts = {"secretData": json.dumps(secret), "credentialData": json.dumps(data)}
    return {"type": "password", "userLabel": None, **parts}


def some_objects() -> dict[str, dict[str, object]]:
    salt, digest = raw("passlib pbkdf2-sha512")
    pbkdf2 = f"$pbkdf2-sha512$i=10000,l=64${salt}${digest}"
    argon2_salt, argon2_digest = raw("passlib argon2id")
    more = {"hashLength": ["32"], "memory": ["1024"], "type": ["id"], "version": ["1.3"]}
    scrypt = VECTORS["werkzeug scrypt"].split("$")
    plain: dict[str, object] = {"additionalParameters": {}}
    return {
        "keycloak pbkdf2": keycloak(
            {"value": digest, "salt": salt + "=="},
            {"hashIterations": 10000, "algorithm": "pbkdf2-sha512"} | plain,
        ),
        "keycloak argon2": keycloak(
            {"value": argon2_digest, "salt": argon2_salt},
            {
                "hashIterations": 2,
                "algorithm": "argon2",
                "additionalParameters": more | {"parallelism": ["1"]},
            },
        ),
        "auth0 pbkdf2": {"algorithm": "pbkdf2", "hash": {"value": pbkdf2, "encoding": "utf8"}},
        "auth0 bcrypt": {"algorithm": "bcrypt", "hash": {"value": VECTORS["bcrypt 2b"]}},
        "auth0 argon2": {"algorithm": "argon2", "hash": {"value": VECTORS["passlib argon2id"]}},
        "auth0 scrypt": {
            "algorithm": "scrypt",
            "hash": {"value": scrypt[2], "encoding": "hex"},
            "salt": {"value": scrypt[1], "encoding": "utf8"},
            "keylen": 64,
            "cost": 2048,
            "blockSize": 8,
            "parallelization": 1,
        },
    }


def test_every_kind_of_hash_verifies_and_comes_back_from_storage() -> None:
    given: dict[str, str | dict[str, object]] = {**VECTORS, **some_objects()}
    assert len(given) > 25
    for name, one in given.items():
        found = adopt(one)
        assert found.matches(PASSWORD), name
        assert not found.matches(PASSWORD + b" "), name
        assert read(str(found)) == found, name
        assert str(adopt(str(found))) == str(found), name


def test_firebase_hashes_verify_in_both_spellings() -> None:
    found = adopt(FIREBASE)
    assert str(found).startswith("$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw,sk=")
    assert read(str(found)) == found
    assert found.matches(b"user1password")
    assert not found.matches(b"user1passwore")


def test_bcrypt_counts_72_bytes_where_nothing_was_done_about_it() -> None:
    assert adopt(VECTORS["bcrypt 2b"]).matches(PASSWORD)
    for prepared in ("django bcrypt_sha256", "passlib bcrypt-sha256"):
        assert not adopt(VECTORS[prepared]).matches(b"x" * 100)
    assert not adopt(VECTORS["bcrypt 2b"]).matches(b"x" * 100)


def test_bcrypt_hashes_with_unused_bits_set_verify() -> None:
    crypt = VECTORS["bcrypt 2b"]
    # The last letters of salt and digest, with bits that nothing reads.
    odd = crypt[:28] + chr(ord(crypt[28]) + 1) + crypt[29:59] + chr(ord(crypt[59]) + 1)
    assert crypt[28] in ".Oeu"
    assert adopt(odd).matches(PASSWORD)
    assert not adopt(odd).matches(PASSWORD + b"x")
    assert not adopt("$2b$04$" + "a" * 53).matches(PASSWORD)


def test_fast_hashes_are_refused_with_that_as_the_reason() -> None:
    digest = "2338b2cbd799d580b6a70349f87de5ea"
    for given in (
        f"md5$salt${digest}",
        "sha1$salt$0123",
        "sha256$salt$00",
        "plain$secret",
        digest,
        digest * 2,
        "$1$salt$hash",
        "{SSHA}AAAA",
        {"algorithm": "md5", "hash": {"value": digest}},
        f"pbkdf2:sha256:100$salt${digest}",
        f"pbkdf2:sha512:999$salt${digest}",
        f"pbkdf2:sha1:100$salt${'ab' * 400}",
    ):
        assert code_of(given) == "weak_hash", given


def test_unknown_kinds_are_refused() -> None:
    for given in (
        "",
        "$6$salt$hash",
        "$y$j9T$salt$hash",
        "hé",
        "x" * 2000,
        "\0",
        "pbkdf2:md5:5000$salt$" + "00" * 16,
        {},
        {"algorithm": "rot13", "hash": {"value": "x"}},
        keycloak({"value": DIGEST, "salt": SALT}, {"hashIterations": 1, "algorithm": "own"}),
        17,
    ):
        assert code_of(given) == "unknown_hash", given


def test_hashes_that_would_keep_a_core_or_the_memory_busy_are_refused() -> None:
    for given in (
        "$2b$14$" + "a" * 53,
        "$2b$31$" + "a" * 53,
        f"$pbkdf2-sha256$i=9999999999${SALT}${DIGEST}",
        f"pbkdf2_sha256$3000000$salt${DIGEST}=",
        f"$scrypt$ln=18,r=8,p=1${SALT}${DIGEST}",
        f"$scrypt$ln=10,r=8,p=900000${SALT}${DIGEST}",
        f"$argon2id$v=19$m=999999999,t=1,p=1${SALT}${DIGEST}",
        f"$argon2id$v=19$m=1024,t=999999,p=1${SALT}${DIGEST}",
        FIREBASE | {"mem_cost": 20},
    ):
        assert code_of(given) == "costly_hash", given
    huge = f"$argon2id$v=19$m=262144,t=4,p=1${SALT}${DIGEST}"
    with pytest.raises(ValidationFailed):
        own(huge, 19456, 2)
    assert str(own(huge, 262144, 4)) == f"argon2{huge}"


def test_an_export_of_ours_is_held_to_the_bounds_too() -> None:
    weak = f"$argon2id$v=19$m=8,t=1,p=1${SALT}${DIGEST}"
    for given, code in ((weak, "weak_hash"), (weak.replace("8", "\u0668"), "broken_hash")):
        with pytest.raises(ValidationFailed) as refused:
            own(given, 19456, 2)
        assert [error.code for error in refused.value.errors] == [code]
    # Somebody who has chosen it for all his own.
    assert own(weak, 8, 1)


def test_a_hash_that_could_not_be_read_again_is_refused() -> None:
    long = {"value": "QUFB" * 170, "salt": "QUFB" * 250}
    assert len(long["value"]) < 1024 > len(long["salt"])
    data = {"hashIterations": 20000, "algorithm": "pbkdf2-sha256"}
    assert code_of(keycloak(long, data)) == "broken_hash"
    lanes = {"type": ["id"], "version": ["1.3"], "memory": ["1024"], "parallelism": ["\u0661"]}
    argon2 = {"hashIterations": 2, "algorithm": "argon2", "additionalParameters": lanes}
    assert code_of(keycloak({"value": DIGEST, "salt": SALT}, argon2)) == "broken_hash"


def test_what_todays_frameworks_write_by_default_is_taken() -> None:
    for given in (
        f"pbkdf2_sha256$1200000$salt${DIGEST}=",
        f"pbkdf2:sha256:1000000$salt${'ab' * 32}",
        f"scrypt:32768:8:1$salt${'ab' * 64}",
        f"argon2$argon2id$v=19$m=102400,t=2,p=8${SALT}${DIGEST}",
        "$2b$12$" + "a" * 53,
    ):
        assert read(str(adopt(given))) is not None


def test_half_a_hash_is_refused() -> None:
    salt, _ = raw("passlib pbkdf2-sha512")
    good = {"value": DIGEST, "salt": salt}
    data = {"hashIterations": 5000, "algorithm": "pbkdf2-sha256"}
    argon2 = {"hashIterations": 2, "algorithm": "argon2"}
    for given in (
        "$2b$12$abc",
        "$2b$03$" + "a" * 53,
        "$argon2id$v=16$m=1024,t=1,p=1$AAAA$AAAA",
        f"$argon2id$v=19$m=1024,t=0,p=1${SALT}${DIGEST}",
        f"$argon2id$v=19$m=1024,t=1,p=99${SALT}${DIGEST}",
        f"$argon2id$v=19$m=8,t=1,p=9${SALT}${DIGEST}",
        f"$argon2id$v=19$m=1024,t=1,p=1$AAAAAAAAAAAAA${DIGEST}",
        "pbkdf2_sha256$20000$salt",
        "pbkdf2_sha256$20000$salt$AAAA",
        f"pbkdf2_sha256$99999999999$salt${DIGEST}",
        f"$pbkdf2-sha256$20000$!${DIGEST}",
        f"pbkdf2:sha256:20000$salt${'zz' * 16}",
        f"scrypt:1000:8:1$salt${'ab' * 16}",
        f"$scrypt$ln=25,r=8,p=1${SALT}${DIGEST}",
        f"$scrypt$ln=10,r=0,p=1${SALT}${DIGEST}",
        FIREBASE | {"base64_signer_key": "Bw=="},
        FIREBASE | {"rounds": True},
        FIREBASE | {"rounds": "8"},
        FIREBASE | {"salt": None},
        keycloak(good, data | {"hashIterations": -1}),
        keycloak(good, argon2),
        keycloak(good, argon2 | {"additionalParameters": {"type": []}}),
        {"credentialData": "{", "secretData": "{}"},
        {"credentialData": "[" * 9999, "secretData": "{}"},
        {"algorithm": "scrypt", "hash": {"value": "00", "encoding": "hex"}, "cost": 3},
    ):
        assert code_of(given) == "broken_hash", given
    old = {"type": ["id"], "version": ["1.0"], "memory": ["1024"], "parallelism": ["1"]}
    assert code_of(keycloak(good, argon2 | {"additionalParameters": old})) == "unknown_hash"


def test_without_its_library_bcrypt_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def importing(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "bcrypt":
            raise ImportError
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", importing)
    assert code_of(VECTORS["bcrypt 2b"]) == "bcrypt_not_installed"
    assert read(VECTORS["bcrypt 2b"]) is None


def test_a_hash_of_an_unnormalised_password_matches_it_however_it_is_typed() -> None:
    # Django hashed it as a browser on a Mac had sent it: with the accent as a character apart.
    found = adopt(
        "pbkdf2_sha256$2000$aB3dE5fG7hI9jK1lM3nO5p$CTiyocvCdcbT+XE882dHqPbxGEYgnH4DGYeqmBfOfWY="
    )
    assert [found.matches(one) for one in spellings("caf\u00e9 au lait, sans sucre")] == [
        False,
        True,
    ]
    assert list(spellings("plain")) == [b"plain"]
