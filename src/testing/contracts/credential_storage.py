"""What storage must do for tokens that are good once."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from ...application.ports.storage import UnitOfWork
from ...domain.credentials import OneTimeToken, Purpose
from ..builders import DAY, NOW, a_token, an_account
from .account_storage import store

TICK = timedelta(microseconds=1)
VERIFY = Purpose.VERIFY_EMAIL
RESET = Purpose.RESET_PASSWORD


async def issue(uow: UnitOfWork, *tokens: OneTimeToken) -> None:
    async with uow() as tx:
        for token in tokens:
            await tx.tokens.add(token)
        await tx.commit()


async def found(uow: UnitOfWork, token: OneTimeToken) -> OneTimeToken | None:
    async with uow() as tx:
        return await tx.tokens.find(token.digest, {token.purpose}, NOW)


class OneTimeTokenContract:
    async def test_every_field_comes_back(self, uow: UnitOfWork) -> None:
        account = an_account()
        token = replace(a_token(account), expires_at=NOW + DAY + TICK)
        await store(uow, account)
        await issue(uow, token)
        assert await found(uow, token) == token
        assert await found(uow, token) == token

    async def test_a_token_is_consumed_once(self, uow: UnitOfWork) -> None:
        account = an_account()
        token = a_token(account)
        await store(uow, account)
        await issue(uow, token)
        async with uow() as tx:
            assert await tx.tokens.consume(token.digest, {VERIFY}, NOW) == token
            assert await tx.tokens.consume(token.digest, {VERIFY}, NOW) is None
            await tx.commit()
        assert await found(uow, token) is None

    async def test_a_consumed_token_is_good_again_when_the_transaction_is_undone(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account()
        token = a_token(account)
        await store(uow, account)
        await issue(uow, token)
        async with uow() as tx:
            await tx.tokens.consume(token.digest, {VERIFY}, NOW)
        assert await found(uow, token) == token

    async def test_a_token_opens_nothing_for_another_purpose_and_stays_good(
        self, uow: UnitOfWork
    ) -> None:
        account = an_account()
        token = a_token(account)
        await store(uow, account)
        await issue(uow, token)
        async with uow() as tx:
            assert await tx.tokens.find(token.digest, {RESET}, NOW) is None
            assert await tx.tokens.consume(token.digest, {RESET}, NOW) is None
            assert await tx.tokens.consume(b"x" * 32, {VERIFY}, NOW) is None
            await tx.commit()
        assert await found(uow, token) == token

    async def test_a_token_is_good_until_just_before_its_expiry(self, uow: UnitOfWork) -> None:
        account = an_account()
        token = a_token(account)
        await store(uow, account)
        await issue(uow, token)
        last = token.expires_at - TICK
        async with uow() as tx:
            assert await tx.tokens.find(token.digest, {VERIFY}, token.expires_at) is None
            assert await tx.tokens.consume(token.digest, {VERIFY}, token.expires_at) is None
            await tx.tokens.add(token)
            assert await tx.tokens.find(token.digest, {VERIFY}, last) == token
            assert await tx.tokens.consume(token.digest, {VERIFY}, last) == token

    async def test_a_new_token_drops_the_older_one_of_its_kind_alone(
        self, uow: UnitOfWork
    ) -> None:
        account, other = an_account(), an_account()
        older, newer = a_token(account), a_token(account)
        reset, foreign = a_token(account, purpose=RESET), a_token(other)
        await store(uow, account, other)
        await issue(uow, older, reset, foreign, newer)
        assert await found(uow, older) is None
        for token in (newer, reset, foreign):
            assert await found(uow, token) == token

    async def test_all_tokens_of_one_account_are_dropped(self, uow: UnitOfWork) -> None:
        account, other = an_account(), an_account()
        verify, reset, foreign = a_token(account), a_token(account, purpose=RESET), a_token(other)
        await store(uow, account, other)
        await issue(uow, verify, reset, foreign)
        async with uow() as tx:
            await tx.tokens.drop_all(account.id)
            await tx.commit()
        assert await found(uow, verify) is None
        assert await found(uow, reset) is None
        assert await found(uow, foreign) == foreign

    async def test_expired_tokens_are_removed_in_batches(self, uow: UnitOfWork) -> None:
        accounts = [an_account() for _ in range(4)]
        await store(uow, *accounts)
        expired = [replace(a_token(account), expires_at=NOW) for account in accounts[:3]]
        good = replace(a_token(accounts[3]), expires_at=NOW + TICK)
        await issue(uow, *expired, good)
        async with uow() as tx:
            removed = [await tx.tokens.remove_expired(NOW, 2) for _ in range(3)]
            await tx.commit()
        assert removed == [2, 1, 0]
        assert await found(uow, good) == good

    async def test_one_of_many_consumes_a_token(self, uow: UnitOfWork) -> None:
        account = an_account()
        token = a_token(account)
        await store(uow, account)
        await issue(uow, token)

        async def consume() -> bool:
            async with uow() as tx:
                spent = await tx.tokens.consume(token.digest, {VERIFY}, NOW)
                await tx.commit()
            return spent is not None

        assert sum(await asyncio.gather(*(consume() for _ in range(20)))) == 1

    async def test_of_many_tokens_issued_at_once_one_is_good(self, uow: UnitOfWork) -> None:
        account = an_account()
        await store(uow, account)
        tokens = [a_token(account) for _ in range(10)]
        await asyncio.gather(*(issue(uow, token) for token in tokens))
        good = [await found(uow, token) for token in tokens]
        assert sum(token is not None for token in good) == 1
