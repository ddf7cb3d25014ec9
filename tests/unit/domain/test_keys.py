from dataclasses import replace
from datetime import timedelta

from gatepost.domain.keys import KeyPolicy, KeyState, active_of
from gatepost.testing.builders import DAY, NOW, SECOND, a_key

POLICY = KeyPolicy()


def test_a_retiring_key_stays_until_the_longest_token_has_expired() -> None:
    key, kept = a_key(), POLICY.kept(timedelta(minutes=15))
    assert kept > timedelta(minutes=15) + POLICY.reload
    retiring = key.retire(NOW, kept)
    assert retiring == replace(key, state=KeyState.RETIRING, retires_at=NOW + kept)
    assert not retiring.is_over(NOW + kept - SECOND)
    assert retiring.is_over(NOW + kept)
    assert not key.is_over(NOW + 1000 * DAY)


def test_a_pending_key_is_due_after_two_caches_and_a_reload() -> None:
    pending = a_key(state=KeyState.PENDING)
    keys = [a_key(), pending]
    assert POLICY.announced == 2 * POLICY.cache + POLICY.reload
    assert POLICY.due(keys, NOW + POLICY.announced - SECOND) is None
    assert POLICY.due(keys, NOW + POLICY.announced) == pending
    assert POLICY.due(keys[:1], NOW + DAY) is None


def test_the_age_of_a_key_counts_from_its_first_signature() -> None:
    key = a_key()
    assert key.signs_since == NOW
    late = replace(key, state=KeyState.PENDING).activate(NOW + 5 * DAY)
    assert late.state is KeyState.ACTIVE
    assert not POLICY.lacks_successor([late], NOW + POLICY.lifetime)
    assert POLICY.lacks_successor([late], NOW + 5 * DAY + POLICY.lifetime)


def test_one_successor_is_announced_at_a_time() -> None:
    old, pending = a_key(), a_key(state=KeyState.PENDING)
    later = NOW + POLICY.lifetime
    assert not POLICY.lacks_successor([old], later - SECOND)
    assert POLICY.lacks_successor([old], later)
    assert POLICY.lacks_successor([old], NOW, early=True)
    assert not POLICY.lacks_successor([old, pending], later, early=True)
    assert POLICY.lacks_successor([], NOW)
    assert active_of([pending, old]) == old
    assert active_of([pending]) is None


def test_the_private_half_does_not_show_in_a_log() -> None:
    assert "sealed" not in repr(a_key()).replace("sealed_", "")
