"""What every implementation of the security ports must do.

Collect a class under a fixture named after its port: `hasher`, `cipher`, `refresh_tokens`,
`access_tokens`. The last one is built with the fixtures `token_policy` and `clock`. The only key
of `former_cipher` is the second one of `cipher`, and `foreign` is another system's hash of
PASSWORD that the hasher knows.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from ...adapters.memory import ManualClock
from ...application.ports.security import (
    AccessTokens,
    Cipher,
    KeyPair,
    PasswordHasher,
    RefreshTokens,
    SealBroken,
    SealPurpose,
)
from ...domain.accounts import AccountId
from ...domain.errors import AccessTokenInvalid, ValidationFailed
from ...domain.sessions import RefreshClaim, SessionId
from ...domain.tokens import AccessClaims, TokenPolicy

PASSWORD = "correct horse battery staple"
NONSENSE = ["", "x", ".", "..", "a.b.c", "gpr_", "\0", "\ud800", "é" * 83, "A" * 83, "x" * 100_000]
BROKEN_HASHES = ["", "x", "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$AAAA", "$2b$12$abc", "hé"]


def a_claim(generation: int = 0) -> RefreshClaim:
    return RefreshClaim(
        session_id=SessionId(UUID("01890000-0000-7000-8000-00000000000a")),
        secret=bytes(range(16)),
        generation=generation,
    )


def some_claims(
    policy: TokenPolicy,
    now: datetime,
    *,
    issuer: str | None = None,
    audience: str | None = None,
    roles: tuple[str, ...] = ("admin", "user"),
) -> AccessClaims:
    return AccessClaims(
        issuer=issuer or policy.issuer,
        audience=audience or policy.audience,
        subject=AccountId(UUID("01890000-0000-7000-8000-000000000001")),
        session_id=SessionId(UUID("01890000-0000-7000-8000-000000000002")),
        client_id="gatepost",
        scope="account:read account:write",
        roles=roles,
        token_id=UUID("01890000-0000-7000-8000-000000000003"),
        issued_at=now,
        expires_at=now + policy.access_ttl,
    )


def with_new_key(tokens: AccessTokens) -> KeyPair:
    key = tokens.new_key()
    tokens.install([key], key.kid)
    return key


class PasswordHasherContract:
    async def test_a_password_matches_its_own_hash(self, hasher: PasswordHasher) -> None:
        assert await hasher.verify(PASSWORD, await hasher.hash(PASSWORD))

    @pytest.mark.parametrize(
        "other", ["", PASSWORD + " ", " " + PASSWORD, PASSWORD[:-1] + "f", PASSWORD.upper()]
    )
    async def test_nothing_but_the_exact_password_matches(
        self, hasher: PasswordHasher, other: str
    ) -> None:
        assert not await hasher.verify(other, await hasher.hash(PASSWORD))

    async def test_a_long_password_counts_to_its_last_character(
        self, hasher: PasswordHasher
    ) -> None:
        encoded = await hasher.hash("x" * 1023 + "a")
        assert await hasher.verify("x" * 1023 + "a", encoded)
        assert not await hasher.verify("x" * 1023 + "b", encoded)

    async def test_no_password_matches_where_there_is_no_hash(
        self, hasher: PasswordHasher
    ) -> None:
        assert await hasher.verify(PASSWORD, None) is False

    @pytest.mark.parametrize("encoded", BROKEN_HASHES)
    async def test_no_password_matches_a_broken_hash(
        self, hasher: PasswordHasher, encoded: str
    ) -> None:
        assert await hasher.verify(PASSWORD, encoded) is False

    async def test_a_fresh_hash_needs_no_rehash(self, hasher: PasswordHasher) -> None:
        assert not hasher.needs_rehash(await hasher.hash(PASSWORD))

    @pytest.mark.parametrize("encoded", BROKEN_HASHES)
    def test_a_broken_hash_needs_a_rehash(self, hasher: PasswordHasher, encoded: str) -> None:
        assert hasher.needs_rehash(encoded)

    async def test_a_foreign_hash_is_adopted_verified_and_to_be_renewed(
        self, hasher: PasswordHasher, foreign: str
    ) -> None:
        adopted = hasher.adopt(foreign).encoded
        assert await hasher.verify(PASSWORD, adopted)
        assert not await hasher.verify(PASSWORD + " ", adopted)
        assert hasher.needs_rehash(adopted)
        assert foreign not in repr(hasher.adopt(foreign))

    async def test_a_hash_that_goes_elsewhere_is_stored_there_as_it_was_here(
        self, hasher: PasswordHasher, foreign: str
    ) -> None:
        for stored in (await hasher.hash(PASSWORD), hasher.adopt(foreign).encoded):
            assert hasher.adopt(hasher.portable(stored)).encoded == stored

    def test_what_is_no_hash_is_not_adopted(self, hasher: PasswordHasher) -> None:
        nonsense: list[str | dict[str, object]] = [*BROKEN_HASHES, *NONSENSE, {}, {"hash": "x"}]
        for given in nonsense:
            with pytest.raises(ValidationFailed) as refused:
                hasher.adopt(given)
            assert [error.field for error in refused.value.errors] == ["password_hash"]


class CipherContract:
    @pytest.mark.parametrize("plaintext", [b"", b"a", bytes(range(256)) * 20])
    def test_what_was_sealed_opens_again(self, cipher: Cipher, plaintext: bytes) -> None:
        for purpose in SealPurpose:
            assert cipher.open(purpose, cipher.seal(purpose, plaintext)) == plaintext

    def test_what_was_sealed_for_one_purpose_opens_for_no_other(self, cipher: Cipher) -> None:
        sealed = cipher.seal(SealPurpose.JOB, b"secret")
        with pytest.raises(SealBroken):
            cipher.open(SealPurpose.SIGNING_KEY, sealed)

    def test_every_altered_byte_breaks_the_seal(self, cipher: Cipher) -> None:
        sealed = cipher.seal(SealPurpose.JOB, b"secret")
        for position in range(len(sealed)):
            altered = bytearray(sealed)
            altered[position] ^= 1
            with pytest.raises(SealBroken):
                cipher.open(SealPurpose.JOB, bytes(altered))

    def test_a_cut_or_longer_text_breaks_the_seal(self, cipher: Cipher) -> None:
        sealed = cipher.seal(SealPurpose.JOB, b"secret")
        for length in range(len(sealed)):
            with pytest.raises(SealBroken):
                cipher.open(SealPurpose.JOB, sealed[:length])
        with pytest.raises(SealBroken):
            cipher.open(SealPurpose.JOB, sealed + b"\0")

    def test_what_an_older_key_sealed_opens_and_is_stale_until_it_is_sealed_again(
        self, cipher: Cipher, former_cipher: Cipher
    ) -> None:
        for purpose in SealPurpose:
            sealed = former_cipher.seal(purpose, b"secret")
            assert cipher.open(purpose, sealed) == b"secret"
            assert cipher.is_stale(purpose, sealed)
            assert not former_cipher.is_stale(purpose, sealed)
            again = cipher.seal(purpose, b"secret")
            assert not cipher.is_stale(purpose, again)
            with pytest.raises(SealBroken):
                former_cipher.open(purpose, again)


class RefreshTokensContract:
    @pytest.mark.parametrize("generation", [0, 1, 255, 256, 2**40])
    def test_a_token_opens_to_its_claim(
        self, refresh_tokens: RefreshTokens, generation: int
    ) -> None:
        claim = a_claim(generation)
        assert refresh_tokens.open(refresh_tokens.seal(claim)) == claim

    def test_a_successor_is_the_next_generation_of_the_same_session(
        self, refresh_tokens: RefreshTokens
    ) -> None:
        parent = refresh_tokens.open(refresh_tokens.seal(a_claim(6)))
        assert parent is not None
        assert refresh_tokens.open(refresh_tokens.successor(parent)) == a_claim(7)

    def test_a_parent_has_one_successor_however_often_it_is_asked(
        self, refresh_tokens: RefreshTokens
    ) -> None:
        token = refresh_tokens.seal(a_claim())
        parents = [refresh_tokens.open(token) for _ in range(3)]
        successors = {refresh_tokens.successor(parent) for parent in parents if parent}
        assert len(successors) == 1
        assert successors != {token}

    @pytest.mark.parametrize("text", NONSENSE)
    def test_nonsense_opens_to_nothing(self, refresh_tokens: RefreshTokens, text: str) -> None:
        assert refresh_tokens.open(text) is None

    def test_a_token_with_one_character_changed_opens_to_nothing(
        self, refresh_tokens: RefreshTokens
    ) -> None:
        token = refresh_tokens.seal(a_claim())
        for position, character in enumerate(token):
            other = "B" if character == "A" else "A"
            changed = token[:position] + other + token[position + 1 :]
            assert refresh_tokens.open(changed) is None

    def test_a_token_has_one_spelling_only(self, refresh_tokens: RefreshTokens) -> None:
        token = refresh_tokens.seal(a_claim())
        for other in (f"{token}=", f" {token}", f"{token}\n", token[:-1], f"{token}A"):
            assert refresh_tokens.open(other) is None


class AccessTokensContract:
    def test_a_signed_token_verifies_to_its_claims(
        self, access_tokens: AccessTokens, token_policy: TokenPolicy, clock: ManualClock
    ) -> None:
        with_new_key(access_tokens)
        claims = some_claims(token_policy, clock())
        assert access_tokens.verify(access_tokens.sign(claims)) == claims

    def test_no_roles_and_an_empty_scope_survive(
        self, access_tokens: AccessTokens, token_policy: TokenPolicy, clock: ManualClock
    ) -> None:
        with_new_key(access_tokens)
        claims = some_claims(token_policy, clock(), roles=())
        assert access_tokens.verify(access_tokens.sign(claims)).roles == ()

    def test_jw_20_the_token_of_a_machine_client_has_no_session(
        self, access_tokens: AccessTokens, token_policy: TokenPolicy, clock: ManualClock
    ) -> None:
        with_new_key(access_tokens)
        person = some_claims(token_policy, clock(), roles=())
        claims = replace(person, session_id=None, client_id=str(person.subject))
        assert access_tokens.verify(access_tokens.sign(claims)) == claims

    @pytest.mark.parametrize("text", NONSENSE)
    def test_nonsense_is_refused(self, access_tokens: AccessTokens, text: str) -> None:
        with_new_key(access_tokens)
        with pytest.raises(AccessTokenInvalid):
            access_tokens.verify(text)

    def test_nothing_verifies_before_a_key_is_installed(self, access_tokens: AccessTokens) -> None:
        with pytest.raises(AccessTokenInvalid):
            access_tokens.verify("a.b.c")

    def test_a_token_expires(
        self, access_tokens: AccessTokens, token_policy: TokenPolicy, clock: ManualClock
    ) -> None:
        with_new_key(access_tokens)
        token = access_tokens.sign(some_claims(token_policy, clock()))
        clock.advance(token_policy.access_ttl - timedelta(seconds=1))
        access_tokens.verify(token)
        # Implementations may allow for clocks that differ, by a minute at most.
        clock.advance(timedelta(seconds=61))
        with pytest.raises(AccessTokenInvalid):
            access_tokens.verify(token)

    def test_an_expired_token_serves_where_that_was_asked_for(
        self, access_tokens: AccessTokens, token_policy: TokenPolicy, clock: ManualClock
    ) -> None:
        with_new_key(access_tokens)
        claims = some_claims(token_policy, clock())
        token = access_tokens.sign(claims)
        clock.advance(timedelta(days=30))
        assert access_tokens.verify(token, expired_too=True) == claims
        with pytest.raises(AccessTokenInvalid):
            access_tokens.verify(token)

    def test_a_token_of_another_issuer_or_audience_is_refused(
        self, access_tokens: AccessTokens, token_policy: TokenPolicy, clock: ManualClock
    ) -> None:
        with_new_key(access_tokens)
        for claims in (
            some_claims(token_policy, clock(), issuer=token_policy.issuer + "/"),
            some_claims(token_policy, clock(), issuer=token_policy.issuer[:-1]),
            some_claims(token_policy, clock(), audience="somebody else"),
        ):
            with pytest.raises(AccessTokenInvalid):
                access_tokens.verify(access_tokens.sign(claims), expired_too=True)

    def test_a_retiring_key_still_verifies_and_a_removed_one_does_not(
        self, access_tokens: AccessTokens, token_policy: TokenPolicy, clock: ManualClock
    ) -> None:
        old = with_new_key(access_tokens)
        token = access_tokens.sign(some_claims(token_policy, clock()))
        new = access_tokens.new_key()
        access_tokens.install([new, old], new.kid)
        access_tokens.verify(token)
        access_tokens.verify(access_tokens.sign(some_claims(token_policy, clock())))
        access_tokens.install([new], new.kid)
        with pytest.raises(AccessTokenInvalid):
            access_tokens.verify(token)

    def test_the_installed_keys_are_published(self, access_tokens: AccessTokens) -> None:
        first, second = access_tokens.new_key(), access_tokens.new_key()
        access_tokens.install([first, second], second.kid)
        keys = access_tokens.published()["keys"]
        assert isinstance(keys, list)
        assert {key["kid"] for key in keys} == {first.kid, second.kid}
