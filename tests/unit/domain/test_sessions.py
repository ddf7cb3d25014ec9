from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from gatepost.domain.sessions import EndReason, Session, SessionPolicy
from gatepost.testing.builders import DAY, NOW, SECOND, a_session, an_account

POLICY = SessionPolicy()
GRACE = POLICY.refresh_grace
TICK = timedelta(microseconds=1)


def at_generation(generation: int) -> Session:
    return replace(a_session(an_account()), generation=generation)


class Storage:
    """One row behind the guard that every storage puts before `Session.turn`."""

    def __init__(self, policy: SessionPolicy = POLICY) -> None:
        self.policy = policy
        self.row = a_session(an_account(), policy=policy)

    def present(self, generation: int, now: datetime) -> int | None:
        """Answer a token with the generation of its successor, or refuse."""
        if self.row.is_live(now):
            self.row = self.row.turn(generation, now, self.policy)
        return generation + 1 if self.row.is_live(now) else None


def test_a_new_session_is_live_until_it_idles_out() -> None:
    session = a_session(an_account(), device_name="phone")
    assert session.generation == 0
    assert session.device_name == "phone"
    assert session.rotated_at == session.created_at == NOW
    assert session.is_live(NOW + POLICY.idle_ttl - TICK)
    assert not session.is_live(NOW + POLICY.idle_ttl)


def test_a_new_session_never_idles_past_its_absolute_end() -> None:
    policy = SessionPolicy(idle_ttl=9 * DAY, absolute_ttl=2 * DAY)
    session = a_session(an_account(), policy=policy)
    assert session.idle_until == session.absolute_until == NOW + 2 * DAY


def test_a_session_is_not_live_from_its_absolute_end_on_or_once_ended() -> None:
    session = replace(a_session(an_account()), idle_until=NOW + 99 * DAY)
    assert session.is_live(session.absolute_until - TICK)
    assert not session.is_live(session.absolute_until)
    ended = session.end(EndReason.LOGGED_OUT, NOW)
    assert not ended.is_live(NOW)
    assert (ended.revoked_at, ended.revoked_reason) == (NOW, EndReason.LOGGED_OUT)


def test_se_01_the_unspent_token_rotates() -> None:
    session = at_generation(5)
    now = NOW + DAY
    expected = replace(session, generation=6, rotated_at=now, idle_until=now + POLICY.idle_ttl)
    assert session.turn(5, now, POLICY) == expected


def test_rotation_never_extends_the_absolute_lifetime() -> None:
    session = at_generation(5)
    now = session.absolute_until - SECOND
    turned = session.turn(5, now, POLICY)
    assert turned.idle_until == turned.absolute_until == session.absolute_until


@pytest.mark.parametrize("passed", [-GRACE, -TICK, timedelta(0), TICK, GRACE])
def test_se_01_the_direct_predecessor_changes_nothing_within_the_grace(passed: timedelta) -> None:
    session = at_generation(5)
    assert session.turn(4, session.rotated_at + passed, POLICY) == session


@pytest.mark.parametrize(
    ("presented", "passed", "reason"),
    [
        (4, GRACE + TICK, EndReason.LATE_PARENT),
        (4, -GRACE - TICK, EndReason.LATE_PARENT),
        (4, DAY, EndReason.LATE_PARENT),
        (3, timedelta(0), EndReason.STALE),
        (3, DAY, EndReason.STALE),
        (0, timedelta(0), EndReason.STALE),
        (6, timedelta(0), EndReason.AHEAD),
        (900, DAY, EndReason.AHEAD),
    ],
)
def test_se_02_every_other_replay_ends_the_session(
    presented: int, passed: timedelta, reason: EndReason
) -> None:
    session = at_generation(5)
    now = session.rotated_at + passed
    assert session.turn(presented, now, POLICY) == session.end(reason, now)


def test_without_a_grace_every_replay_at_another_time_ends_the_session() -> None:
    strict = SessionPolicy(refresh_grace=timedelta(0))
    session = at_generation(5)
    later = session.turn(4, session.rotated_at + TICK, strict)
    assert later.revoked_reason is EndReason.LATE_PARENT


def test_a_repeat_does_not_extend_the_grace() -> None:
    storage = Storage()
    assert storage.present(0, NOW) == 1
    assert storage.present(0, NOW + GRACE) == 1
    assert storage.present(0, NOW + GRACE + TICK) is None


def moments(longest: timedelta) -> st.SearchStrategy[timedelta]:
    return st.timedeltas(timedelta(0), longest)


# A refresh of an honest client: how long it was idle before, and when within the grace its
# other tab, or its retry after a lost answer, presented the same token.
honest_refreshes = st.lists(
    st.tuples(moments(POLICY.idle_ttl - GRACE - SECOND), st.lists(moments(GRACE), max_size=3)),
    max_size=12,
)


@given(honest_refreshes)
def test_an_honest_client_never_loses_its_session(
    refreshes: list[tuple[timedelta, list[timedelta]]],
) -> None:
    """Two tabs that share one token, answers that are lost and asked for again in the grace."""
    storage, now, token = Storage(), NOW, 0
    for idle, repeats in refreshes:
        first = now + idle
        now = first + max(repeats, default=timedelta(0))
        if now >= storage.row.absolute_until:
            break
        presented = [first, *(first + repeat for repeat in sorted(repeats))]
        answers = {storage.present(token, when) for when in presented}
        assert answers == {token + 1}
        token += 1
    assert storage.row.revoked_at is None
    assert storage.row.generation == token


@given(st.integers(1, 8), moments(20 * DAY), st.integers(0, 5), st.booleans())
def test_se_02_thief_and_owner_who_drift_apart_lose_the_session(
    ahead: int, pause: timedelta, used_before: int, thief_goes_ahead: bool
) -> None:
    """Both hold one token; one goes on alone, the other comes later than the grace."""
    storage, now = Storage(), NOW
    held = dict.fromkeys(["thief", "owner"], 0)
    for _ in range(used_before):
        held["owner"] = storage.present(held["owner"], now) or -1
    held["thief"] = held["owner"]
    first, second = ("thief", "owner") if thief_goes_ahead else ("owner", "thief")
    for _ in range(ahead):
        held[first] = storage.present(held[first], now) or -1
    now += GRACE + TICK + pause
    assert storage.present(held[second], now) is None
    assert storage.row.revoked_reason in (EndReason.LATE_PARENT, EndReason.STALE)
    for generation in range(storage.row.generation + 2):
        assert storage.present(generation, now) is None


def test_se_02_in_lockstep_within_the_grace_two_holders_are_told_apart_by_the_next_step() -> None:
    storage = Storage()
    assert storage.present(0, NOW) == storage.present(0, NOW + SECOND) == 1
    assert storage.present(1, NOW + SECOND) == 2
    assert storage.present(0, NOW + 2 * SECOND) is None
    assert storage.row.revoked_reason is EndReason.STALE


class Interleavings(RuleBasedStateMachine):
    """Any number of holders of copies, honest or not, in any order, the clock set back as well.

    The oracle knows nothing of generations: it remembers when each token was spent first and
    whether the answer to it was spent in turn.
    """

    copies = Bundle("copies")

    def __init__(self) -> None:
        super().__init__()
        self.storage = Storage()
        self.now = NOW
        self.spent: dict[int, datetime] = {}
        self.absolute_until = self.storage.row.absolute_until
        self.ended = False

    @rule(target=copies)
    def sign_in(self) -> int:
        """Hold the first token of the session."""
        return 0

    @rule(seconds=st.sampled_from([-11, -10, -1, 0, 1, 5, 9, 10, 11, 3600]))
    def let_time_pass(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule(target=copies, token=consumes(copies))
    def refresh(self, token: int) -> int:
        """Present a copy and go on with the answer: a tab, or a thief."""
        return self._present(token)

    @rule(target=copies, token=copies)
    def refresh_and_keep(self, token: int) -> int:
        """Present a copy that somebody else holds too, or whose answer may get lost."""
        return self._present(token)

    @rule(token=copies)
    def refresh_and_lose_the_answer(self, token: int) -> None:
        self._present(token)

    def _present(self, token: int) -> int:
        may_turn = not self.ended and self._is_good(token)
        answer = self.storage.present(token, self.now)
        assert (answer is not None) == may_turn
        self.ended = self.ended or not may_turn
        self.spent.setdefault(token, self.now)
        return token if answer is None else answer

    def _is_good(self, token: int) -> bool:
        """Unspent, or spent within the grace with an answer that nobody used yet."""
        first = self.spent.get(token)
        return first is None or (abs(self.now - first) <= GRACE and token + 1 not in self.spent)

    @invariant()
    def there_is_at_most_one_unspent_token(self) -> None:
        if not self.ended:
            assert self.storage.row.generation == len(self.spent)
            assert self.storage.row.generation not in self.spent

    @invariant()
    def the_absolute_lifetime_stands(self) -> None:
        row = self.storage.row
        assert row.absolute_until == self.absolute_until
        assert row.idle_until <= row.absolute_until

    @invariant()
    def an_ended_session_stays_ended(self) -> None:
        assert (self.storage.row.revoked_at is not None) == self.ended


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
