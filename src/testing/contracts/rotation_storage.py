"""What storage must do when one statement turns a session, or many turn and end it at once."""

import asyncio
from dataclasses import replace

from ...application.ports.sessions import Rotations
from ...application.ports.storage import UnitOfWork
from ...domain.sessions import EndReason, Session
from ..builders import NOW, SECOND, a_claim, a_session, an_account
from .account_storage import store
from .session_storage import POLICY, live, signed_in, turned


class RotationsContract:
    async def test_the_current_token_turns_its_session_for_good(
        self, uow: UnitOfWork, rotations: Rotations
    ) -> None:
        account = an_account(roles=("admin",))
        session = a_session(account)
        await signed_in(uow, account, session)
        rotated = await rotations.rotate(a_claim(session), session.secret_hash, NOW, POLICY)
        assert rotated == session.turn(0, NOW, POLICY).holder(account.roles)
        async with uow() as tx:
            assert await tx.sessions.list_live(account.id, NOW) == [session.turn(0, NOW, POLICY)]

    async def test_any_other_token_is_left_to_be_judged(
        self, uow: UnitOfWork, rotations: Rotations
    ) -> None:
        account = an_account()
        session = a_session(account)
        await signed_in(uow, account, session)
        unknown = a_claim(a_session(account))
        assert await rotations.rotate(unknown, session.secret_hash, NOW, POLICY) is None
        assert await rotations.rotate(a_claim(session), b"another", NOW, POLICY) is None
        ahead = a_claim(session, 1)
        assert await rotations.rotate(ahead, session.secret_hash, NOW, POLICY) is None
        late = session.idle_until
        assert await rotations.rotate(a_claim(session), session.secret_hash, late, POLICY) is None
        assert await rotations.rotate(a_claim(session), session.secret_hash, NOW, POLICY)
        assert await rotations.rotate(a_claim(session), session.secret_hash, NOW, POLICY) is None
        async with uow() as tx:
            await tx.sessions.end(session.id, account.id, EndReason.LOGGED_OUT, NOW)
            await tx.commit()
        assert await rotations.rotate(ahead, session.secret_hash, NOW, POLICY) is None

    async def test_of_many_at_once_one_rotates(
        self, uow: UnitOfWork, rotations: Rotations
    ) -> None:
        account = an_account()
        session = a_session(account)
        await signed_in(uow, account, session)
        claim = a_claim(session)
        turned = await asyncio.gather(
            *(rotations.rotate(claim, session.secret_hash, NOW, POLICY) for _ in range(12))
        )
        assert len([one for one in turned if one is not None]) == 1


class SessionRacesContract:
    async def test_forty_refreshes_of_one_token_make_one_successor(self, uow: UnitOfWork) -> None:
        account = an_account()
        session = a_session(account)
        await signed_in(uow, account, session)
        answers = await asyncio.gather(*(turned(uow, session, 0) for _ in range(40)))
        expected = replace(session, generation=1)
        assert answers == [expected] * 40
        assert await live(uow, account) == [expected]

    async def test_of_many_strict_refreshes_one_rotates_and_the_session_ends(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account()
        session = a_session(account)
        await signed_in(uow, account, session)

        async def present(number: int) -> bool:
            # Each a step later than the one before and none within the grace of another.
            now = NOW + number * 11 * SECOND
            answer = await turned(uow, session, 0, now)
            return answer is not None and answer.revoked_at is None

        assert sum(await asyncio.gather(*map(present, range(8)))) == 1
        assert await live(uow, account) == []

    async def test_no_refresh_survives_an_end_that_raced_it(self, uow: UnitOfWork) -> None:
        account = an_account()
        await store(uow, account)

        async def end(session: Session) -> bool:
            async with uow() as tx:
                ended = await tx.sessions.end(session.id, account.id, EndReason.LOGGED_OUT, NOW)
                await tx.commit()
            return ended

        for _ in range(10):
            session = a_session(account)
            async with uow() as tx:
                await tx.sessions.add(session)
                await tx.commit()
            turns = [turned(uow, session, 0) for _ in range(4)]
            ended, answers = await asyncio.gather(end(session), asyncio.gather(*turns))
            assert ended
            assert all(answer is None or answer.revoked_at is None for answer in answers)
            for generation in (0, 1):
                assert await turned(uow, session, generation) is None
        assert await live(uow, account) == []

    async def test_one_of_many_ends_a_session(self, uow: UnitOfWork) -> None:
        account = an_account()
        session = a_session(account)
        await signed_in(uow, account, session)

        async def end() -> bool:
            async with uow() as tx:
                ended = await tx.sessions.end(session.id, account.id, EndReason.LOGGED_OUT, NOW)
                await tx.commit()
            return ended

        assert sum(await asyncio.gather(*(end() for _ in range(8)))) == 1
