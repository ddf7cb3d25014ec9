from dataclasses import replace
from datetime import timedelta

from gatepost.domain.keys import KeyState
from tests.builders import NOW, a_key


def test_a_retiring_key_stays_until_the_longest_token_has_expired() -> None:
    key, longest = a_key(), timedelta(minutes=16)
    retiring = key.retire(NOW, longest)
    assert retiring == replace(key, state=KeyState.RETIRING, retires_at=NOW + longest)


def test_the_private_half_does_not_show_in_a_log() -> None:
    assert "sealed" not in repr(a_key()).replace("sealed_", "")
