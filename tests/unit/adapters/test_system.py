from datetime import UTC, timedelta
from uuid import RFC_4122

from gatepost.adapters.system import SystemSecrets, utc_now


def test_now_is_in_utc() -> None:
    assert utc_now().tzinfo is UTC
    assert utc_now().utcoffset() == timedelta(0)


def test_an_id_is_a_uuid_of_version_7_that_starts_with_the_time() -> None:
    made = SystemSecrets(lambda: 0x017F22E279B0).new_id()
    assert made.version == 7
    assert made.variant == RFC_4122
    assert made.hex.startswith("017f22e279b07")


def test_ids_ascend_while_the_clock_stands_still() -> None:
    system = SystemSecrets(lambda: 1_700_000_000_000)
    ids = [system.new_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))
    assert {made.version for made in ids} == {7}
    assert {made.variant for made in ids} == {RFC_4122}


def test_ids_ascend_when_the_clock_is_set_back() -> None:
    times = iter([1_700_000_000_000, 1_600_000_000_000, 1_700_000_000_001])
    system = SystemSecrets(lambda: next(times))
    first, second, third = (system.new_id() for _ in range(3))
    assert first < second < third


def test_tokens_hold_256_bits_and_differ() -> None:
    system = SystemSecrets()
    tokens = {system.new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert {len(token) for token in tokens} == {43}


def test_session_secrets_hold_128_bits_and_differ() -> None:
    system = SystemSecrets()
    made = {system.new_session_secret() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(secret) for secret in made} == {16}
