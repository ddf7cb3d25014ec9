"""What every storage of sessions must do."""

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest

from ...application.ports.storage import UnitOfWork
from ...domain.accounts import Account, AccountId, AccountStatus
from ...domain.sessions import EndReason, RefreshClaim, Session, SessionId, SessionPolicy
from ..builders import (
    DAY,
    NOW,
    SECOND,
    SECRET,
    a_claim,
    a_session,
    an_account,
    an_unproven_account,
    new_id,
)
from .account_storage import store

POLICY = SessionPolicy()
TICK = timedelta(microseconds=1)


async def signed_in(uow: UnitOfWork, account: Account, *sessions: Session) -> None:
    await store(uow, account)
    async with uow() as tx:
        for session in sessions:
            await tx.sessions.add(session)
        await tx.commit()


async def turned(
    uow: UnitOfWork, session: Session, generation: int, now: datetime = NOW
) -> Session | None:
    """Present a token of a generation, in a transaction of its own."""
    async with uow() as tx:
        found = await tx.sessions.turn(
            a_claim(session, generation), session.secret_hash, now, POLICY
        )
        await tx.commit()
    return found[0] if found else None


async def live(uow: UnitOfWork, account: Account, now: datetime = NOW) -> list[Session]:
    async with uow() as tx:
        return list(await tx.sessions.list_live(account.id, now))


class SessionContract:
    async def test_every_field_comes_back(self, uow: UnitOfWork) -> None:
        account = an_account()
        full = replace(
            a_session(account),
            generation=2**40,
            rotated_at=NOW + TICK,
            idle_until=NOW + 2 * DAY + TICK,
            absolute_until=NOW + 3 * DAY + TICK,
            device_name="Zoë's phone \N{MOBILE PHONE}",
            user_agent="Mozilla/5.0 (X11)",
            ip="2001:db8::1",
        )
        await signed_in(uow, account, full)
        assert await live(uow, account) == [full]

    async def test_empty_fields_come_back_empty(self, uow: UnitOfWork) -> None:
        account = an_account()
        session = a_session(account)
        await signed_in(uow, account, session)
        assert await live(uow, account) == [session]

    async def test_live_sessions_of_one_account_are_listed_newest_first(
        self, uow: UnitOfWork
    ) -> None:
        account, other = an_account(), an_account()
        older, newest, middle = (
            a_session(account, now=NOW + number * SECOND) for number in (0, 2, 1)
        )
        ended = a_session(account)
        await signed_in(uow, account, older, newest, middle, ended)
        await signed_in(uow, other, a_session(other))
        async with uow() as tx:
            assert await tx.sessions.end(ended.id, account.id, EndReason.LOGGED_OUT, NOW)
            await tx.commit()
        assert await live(uow, account) == [newest, middle, older]
        assert await live(uow, account, newest.idle_until - TICK) == [newest]
        assert await live(uow, account, newest.idle_until) == []

    async def test_se_01_a_token_turns_once_and_within_the_grace_again(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account(roles=("admin",))
        session = a_session(account)
        await signed_in(uow, account, session)
        now = NOW + SECOND
        async with uow() as tx:
            found = await tx.sessions.turn(a_claim(session), session.secret_hash, now, POLICY)
            await tx.commit()
        expected = replace(session, generation=1, rotated_at=now, idle_until=now + POLICY.idle_ttl)
        assert found == (expected, account)
        assert await turned(uow, session, 0, now + POLICY.refresh_grace) == expected
        assert await live(uow, account) == [expected]

    @pytest.mark.parametrize(
        ("generation", "later", "reason"),
        [
            (1, timedelta(seconds=10, microseconds=1), EndReason.LATE_PARENT),
            (0, timedelta(0), EndReason.STALE),
            (3, timedelta(0), EndReason.AHEAD),
        ],
    )
    async def test_se_02_any_other_replay_ends_this_session_and_no_other(
        self, uow: UnitOfWork, generation: int, later: timedelta, reason: EndReason
    ) -> None:
        account = an_account()
        session, other = a_session(account), a_session(account)
        await signed_in(uow, account, session, other)
        for spent in (0, 1):
            await turned(uow, session, spent)
        now = NOW + later
        ended = await turned(uow, session, generation, now)
        assert ended is not None
        assert (ended.revoked_at, ended.revoked_reason) == (now, reason)
        for generation in range(4):
            assert await turned(uow, session, generation, now) is None
        assert await live(uow, account) == [other]

    async def test_an_uncommitted_turn_is_undone(self, uow: UnitOfWork) -> None:
        account = an_account()
        session = a_session(account)
        await signed_in(uow, account, session)
        async with uow() as tx:
            await tx.sessions.turn(a_claim(session), session.secret_hash, NOW, POLICY)
        assert await live(uow, account) == [session]

    async def test_unknown_session_and_wrong_secret_turn_nothing(self, uow: UnitOfWork) -> None:
        account = an_account()
        session = a_session(account)
        await signed_in(uow, account, session)
        stranger = RefreshClaim(SessionId(new_id()), SECRET, 0)
        async with uow() as tx:
            assert await tx.sessions.turn(stranger, session.secret_hash, NOW, POLICY) is None
            # A generation far off too: a stranger must not be able to end a session.
            for generation in (0, 9):
                claim = a_claim(session, generation)
                assert await tx.sessions.turn(claim, b"x" * 32, NOW, POLICY) is None
            await tx.commit()
        assert await live(uow, account) == [session]

    async def test_expired_sessions_do_not_turn(self, uow: UnitOfWork) -> None:
        account = an_account()
        idle = a_session(account)
        short = replace(a_session(account), absolute_until=NOW + DAY)
        await signed_in(uow, account, idle, short)
        assert await turned(uow, idle, 9, idle.idle_until) is None
        assert await turned(uow, short, 0, short.absolute_until) is None
        assert await turned(uow, idle, 0, idle.idle_until - TICK) is not None
        last = await turned(uow, short, 0, short.absolute_until - TICK)
        assert last is not None
        assert last.idle_until == last.absolute_until == short.absolute_until

    async def test_sessions_of_an_account_that_may_not_sign_in_do_not_turn(
        self, uow: UnitOfWork
    ) -> None:
        suspended = an_account(status=AccountStatus.SUSPENDED)
        expiring = an_unproven_account(expires_at=NOW + SECOND)
        first, second = a_session(suspended), a_session(expiring)
        await signed_in(uow, suspended, first)
        await signed_in(uow, expiring, second)
        assert await turned(uow, first, 9) is None
        assert await turned(uow, second, 9, NOW + SECOND) is None
        assert await live(uow, suspended) == [first]
        assert await live(uow, expiring) == [second]

    async def test_end_takes_one_live_session_of_its_own_account_once(
        self, uow: UnitOfWork
    ) -> None:
        account, other = an_account(), an_account()
        session, spared = a_session(account), a_session(account)
        await signed_in(uow, account, session, spared)
        await store(uow, other)
        reason = EndReason.LOGGED_OUT
        async with uow() as tx:
            assert not await tx.sessions.end(session.id, other.id, reason, NOW)
            assert not await tx.sessions.end(SessionId(new_id()), account.id, reason, NOW)
            assert await tx.sessions.end(session.id, account.id, reason, NOW)
            assert not await tx.sessions.end(session.id, account.id, reason, NOW)
            await tx.commit()
        assert await live(uow, account) == [spared]
        assert await turned(uow, session, 0) is None

    async def test_end_all_takes_every_live_session_but_the_kept_one(
        self, uow: UnitOfWork
    ) -> None:
        account, other = an_account(), an_account()
        first, kept, third, ended = (a_session(account) for _ in range(4))
        foreign = a_session(other)
        await signed_in(uow, account, first, kept, third, ended)
        await signed_in(uow, other, foreign)
        reason = EndReason.PASSWORD_CHANGED
        async with uow() as tx:
            await tx.sessions.end(ended.id, account.id, EndReason.LOGGED_OUT, NOW)
            assert await tx.sessions.end_all(account.id, reason, NOW, keep=kept.id) == 2
            await tx.commit()
        assert await live(uow, account) == [kept]
        async with uow() as tx:
            assert await tx.sessions.end_all(account.id, reason, NOW) == 1
            assert await tx.sessions.end_all(AccountId(new_id()), reason, NOW) == 0
            await tx.commit()
        assert await live(uow, account) == []
        assert await live(uow, other) == [foreign]

    async def test_everybodys_sessions_are_ended_batch_by_batch(self, uow: UnitOfWork) -> None:
        account, other = an_account(), an_account()
        mine = [a_session(account) for _ in range(3)]
        begun_later = replace(a_session(other), created_at=NOW + TICK)
        await signed_in(uow, account, *mine)
        await signed_in(uow, other, a_session(other), begun_later)
        async with uow() as tx:
            await tx.sessions.end(mine[1].id, account.id, EndReason.LOGGED_OUT, NOW)
            await tx.commit()
        counts, after = [], None
        for _ in range(3):
            async with uow() as tx:
                why = EndReason.ENDED_BY_ADMINISTRATOR
                ended, after = await tx.sessions.end_next(after, why, NOW, 3)
                await tx.commit()
            counts.append((ended, after is None))
        assert sum(ended for ended, _ in counts) == 3
        assert [is_over for _, is_over in counts] == [False, False, True]
        assert await live(uow, account) == []
        assert await live(uow, other) == [begun_later]

    async def test_only_long_ended_sessions_are_removed_and_in_batches(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account()
        alive, idled_out, outlived, recent, old, older = (a_session(account) for _ in range(6))
        idled_out = replace(idled_out, idle_until=NOW - TICK)
        outlived = replace(outlived, absolute_until=NOW - TICK)
        await signed_in(uow, account, alive, idled_out, outlived, recent, old, older)
        async with uow() as tx:
            for session, when in ((recent, NOW + TICK), (old, NOW - TICK), (older, NOW - DAY)):
                await tx.sessions.end(session.id, account.id, EndReason.LOGGED_OUT, when)
            begin, looked_at = await tx.sessions.remove_ended(None, NOW, 4)
            rest, end = await tx.sessions.remove_ended(looked_at, NOW, 4)
            await tx.commit()
        assert (begin + rest, end) == (4, None)
        everybody = (alive, idled_out, outlived, recent, old, older)
        assert looked_at == sorted(session.id for session in everybody)[3]
        assert await live(uow, account) == [alive]

    @pytest.mark.parametrize("seed", range(3))
    async def test_turn_is_the_rule_of_the_domain(self, uow: UnitOfWork, seed: int) -> None:
        """Random walks around the edges of grace and expiry, the clock set back as well."""
        random = Random(seed)  # noqa: S311
        account = an_account()
        await store(uow, account)
        row, now = a_session(account), NOW
        row = row.end(EndReason.LOGGED_OUT, now)
        for _ in range(60):
            if not row.is_live(now):
                row = a_session(account, now=now)
                async with uow() as tx:
                    await tx.sessions.add(row)
                    await tx.commit()
            now = _next_instant(random, row, now)
            presented = max(0, row.generation + random.choice([-2, -1, -1, 0, 0, 0, 1]))
            expected = row.turn(presented, now, POLICY) if row.is_live(now) else None
            assert await turned(uow, row, presented, now) == expected
            row = expected or row


def _next_instant(random: Random, row: Session, now: datetime) -> datetime:
    edges = [
        row.rotated_at + POLICY.refresh_grace,
        row.rotated_at - POLICY.refresh_grace,
        row.idle_until,
        row.absolute_until,
    ]
    edge = random.choice([now, now, *edges[: random.choice([2, 2, 2, 4])]])
    return edge + random.choice([-1, 0, 1]) * TICK
