import base64
import secrets
from collections import Counter
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.adapters.cipher import MasterKeys, MasterKeysInvalid
from gatepost.adapters.refresh_tokens import SealedRefreshTokens
from gatepost.domain.sessions import RefreshClaim, SessionId
from gatepost.testing.contracts.security import RefreshTokensContract as TestRefreshTokens
from gatepost.testing.contracts.security import a_claim

__all__ = ["TestRefreshTokens"]

OLD = bytes(range(32))
NEW = bytes(range(100, 132))
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def refresh_tokens() -> SealedRefreshTokens:
    return SealedRefreshTokens(MasterKeys([NEW, OLD]))


def successor(tokens: SealedRefreshTokens, token: str) -> str:
    claim = tokens.open(token)
    assert claim is not None
    return tokens.successor(claim)


def sealed_bytes(token: str) -> bytes:
    return base64.urlsafe_b64decode(token.removeprefix("gpr_") + "=")


@given(
    st.uuids(), st.binary(min_size=16, max_size=16), st.integers(min_value=0, max_value=2**64 - 2)
)
def test_every_claim_comes_back_and_so_does_its_successor(
    session: UUID, secret: bytes, generation: int
) -> None:
    tokens = SealedRefreshTokens(MasterKeys([NEW]))
    claim = RefreshClaim(SessionId(session), secret, generation)
    token = tokens.seal(claim)
    assert tokens.open(token) == claim
    later = RefreshClaim(SessionId(session), secret, generation + 1)
    assert tokens.open(successor(tokens, token)) == later


def test_a_token_is_the_prefix_and_79_characters(refresh_tokens: SealedRefreshTokens) -> None:
    token = refresh_tokens.seal(a_claim())
    assert token.startswith("gpr_")
    assert len(token) == 83
    assert set(token[4:]) <= set(ALPHABET)


def test_se_19_2000_tokens_share_nothing_but_the_prefix_and_the_key_id(
    refresh_tokens: SealedRefreshTokens,
) -> None:
    session = SessionId(UUID(bytes=secrets.token_bytes(16)))
    chain = [refresh_tokens.seal(RefreshClaim(session, secrets.token_bytes(16), 0))]
    while len(chain) < 2000:
        chain.append(successor(refresh_tokens, chain[-1]))
    assert len(set(chain)) == 2000
    raw = [sealed_bytes(token) for token in chain]
    assert len({one[:3] for one in raw}) == 1
    assert {len(one) - 3 for one in raw} == {56}
    for position in range(3, 59):
        most_common = Counter(one[position] for one in raw).most_common(1)[0][1]
        # 2000 draws of 256 values: 7.8 each are expected, 40 happens to nobody.
        assert most_common < 40
    distances = [(int.from_bytes(a) ^ int.from_bytes(b)).bit_count() for a, b in pairwise(raw)]
    assert 220 < sum(distances) / len(distances) < 228


def test_each_changed_bit_is_refused(refresh_tokens: SealedRefreshTokens) -> None:
    raw = sealed_bytes(refresh_tokens.seal(a_claim()))
    for bit in range(len(raw) * 8):
        changed = (int.from_bytes(raw) ^ (1 << bit)).to_bytes(len(raw))
        text = "gpr_" + base64.urlsafe_b64encode(changed).decode().rstrip("=")
        assert refresh_tokens.open(text) is None


def test_the_slack_bits_at_the_end_allow_no_second_spelling(
    refresh_tokens: SealedRefreshTokens,
) -> None:
    token = refresh_tokens.seal(a_claim())
    spellings = [token[:-1] + last for last in ALPHABET]
    same_bytes = [one for one in spellings if sealed_bytes(one) == sealed_bytes(token)]
    assert len(same_bytes) == 4
    assert [one for one in spellings if refresh_tokens.open(one)] == [token]


@pytest.mark.parametrize("prefix", ["GPR_", "gpr-", "gpt_", ""])
def test_another_prefix_is_refused(refresh_tokens: SealedRefreshTokens, prefix: str) -> None:
    token = refresh_tokens.seal(a_claim())
    assert refresh_tokens.open(prefix + token[4:]) is None


@pytest.mark.parametrize(
    "value", [None, 5, b"gpr_" + b"A" * 79, ["gpr_"], "gpr_" + "+/" * 39 + "A"]
)
def test_what_is_no_token_at_all_is_refused(
    refresh_tokens: SealedRefreshTokens, value: object
) -> None:
    assert refresh_tokens.open(value) is None  # type: ignore[arg-type]


def test_a_session_keeps_its_key_on_every_replica_while_keys_change() -> None:
    rings = ([OLD], [OLD, NEW], [NEW, OLD])
    before, middle, after = (SealedRefreshTokens(MasterKeys(ring)) for ring in rings)
    token = before.seal(a_claim())
    assert len({successor(one, token) for one in (before, middle, after)}) == 1
    assert middle.seal(a_claim()) == token != after.seal(a_claim())
    assert middle.open(after.seal(a_claim())) == a_claim()


def test_a_key_taken_from_the_list_opens_nothing() -> None:
    old = SealedRefreshTokens(MasterKeys([OLD]))
    only_new = SealedRefreshTokens(MasterKeys([NEW]))
    token = old.seal(a_claim())
    assert only_new.open(token) is None
    opened = old.open(token)
    assert opened is not None
    with pytest.raises(ValueError, match="any of these keys"):
        only_new.successor(opened)


def test_keys_with_equal_ids_are_refused() -> None:
    seen: dict[bytes, bytes] = {}
    for number in range(100_000):
        key = OLD[:28] + number.to_bytes(4)
        key_id = MasterKeys([key]).derive("gatepost refresh v1 id", 3)[0]
        if key_id in seen:
            with pytest.raises(MasterKeysInvalid, match="share a key id"):
                SealedRefreshTokens(MasterKeys([key, seen[key_id]]))
            return
        seen[key_id] = key
    pytest.fail("no collision found")


def test_a_secret_of_another_length_is_not_sealed(refresh_tokens: SealedRefreshTokens) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        refresh_tokens.seal(RefreshClaim(a_claim().session_id, b"short", 0))


def test_no_repr_shows_a_key_or_a_secret(refresh_tokens: SealedRefreshTokens) -> None:
    assert "secret" not in repr(a_claim())
    assert "x01" not in repr(refresh_tokens)
