import base64
import hmac

import pytest

from gatepost.adapters.cipher import KeyringCipher, MasterKeys, MasterKeysInvalid
from gatepost.application.ports.security import SealBroken, SealPurpose
from gatepost.testing.contracts.security import CipherContract as TestCipher

__all__ = ["TestCipher"]

OLD = bytes(range(32))
NEW = bytes(range(100, 132))


def spelled(*keys: bytes) -> str:
    return ",".join(base64.b64encode(key).decode() for key in keys)


@pytest.fixture
def cipher() -> KeyringCipher:
    return KeyringCipher(MasterKeys([NEW, OLD]))


@pytest.fixture
def former_cipher() -> KeyringCipher:
    return KeyringCipher(MasterKeys([OLD]))


def test_keys_are_read_in_either_alphabet_with_or_without_padding_and_spaces() -> None:
    key = b"\xfb\xff\xfe" * 4 + bytes(range(20))
    standard, urlsafe = base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()
    assert standard != urlsafe
    expected = MasterKeys([key, OLD]).derive("label", 32)
    for text in (standard, urlsafe, standard.rstrip("="), urlsafe.rstrip("="), f" {standard}\n"):
        assert MasterKeys.parse(f"{text}, {spelled(OLD)}").derive("label", 32) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "secret-secret",
        spelled(OLD) + ",",
        spelled(OLD[:31]),
        spelled(OLD + b"a"),
        spelled(bytes(32)),
        spelled(b"\xff" * 32),
        spelled(b"ab" * 16),
        spelled(OLD, OLD),
        spelled(OLD).replace("=", "!"),
        OLD.hex(),
    ],
)
def test_unusable_keys_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(MasterKeysInvalid) as refusal:
        MasterKeys.parse(text)
    assert all(item.strip() not in str(refusal.value) for item in text.split(",") if item)
    assert refusal.value.__cause__ is None


def test_no_key_is_shown_by_its_repr() -> None:
    keys = MasterKeys([NEW, OLD])
    for shown in (repr(keys), repr(keys.derive_ring("label", 32)), repr(KeyringCipher(keys))):
        assert repr(OLD)[2:-1] not in shown
        assert repr(keys.derive("label", 32)[0])[2:-1] not in shown


def test_derived_keys_differ_by_label_and_by_master_key() -> None:
    keys = MasterKeys([NEW, OLD])
    derived = [*keys.derive("one", 32), *keys.derive("two", 32)]
    assert len(set(derived)) == 4
    assert NEW not in derived


def test_derivation_is_hkdf_sha256_without_salt() -> None:
    extracted = hmac.digest(bytes(32), OLD, "sha256")
    expanded = hmac.digest(extracted, b"gatepost\x01", "sha256")
    assert MasterKeys([OLD]).derive("gatepost", 8) == (expanded[:8],)


def test_the_first_key_seals_and_all_open() -> None:
    before = KeyringCipher(MasterKeys([OLD]))
    middle = KeyringCipher(MasterKeys([OLD, NEW]))
    after = KeyringCipher(MasterKeys([NEW, OLD]))
    old, new = before.seal(SealPurpose.JOB, b"x"), after.seal(SealPurpose.JOB, b"x")
    assert old[:3] == middle.seal(SealPurpose.JOB, b"x")[:3] != new[:3]
    assert after.open(SealPurpose.JOB, old) == middle.open(SealPurpose.JOB, new) == b"x"
    with pytest.raises(SealBroken):
        before.open(SealPurpose.JOB, new)


def test_nothing_of_the_text_is_seen_and_no_two_seals_are_equal(cipher: KeyringCipher) -> None:
    sealed = {cipher.seal(SealPurpose.JOB, b"a secret text") for _ in range(100)}
    assert len(sealed) == 100
    assert not any(b"secret" in one for one in sealed)


def test_the_purposes_have_keys_of_their_own(cipher: KeyringCipher) -> None:
    ids = {cipher.seal(purpose, b"")[:3] for purpose in SealPurpose}
    assert len(ids) == len(SealPurpose)
