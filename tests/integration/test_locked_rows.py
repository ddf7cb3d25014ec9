"""Rows that somebody keeps locked hold up those who need them, and nobody else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg
import pytest

from gatepost import Gatepost, Policies, assemble
from gatepost.adapters.memory import memory_ports
from gatepost.adapters.postgres.callers import PostgresCallers
from gatepost.adapters.postgres.engine import POOL_SIZE, create_engine
from gatepost.adapters.postgres.sessions import PostgresRotations
from gatepost.adapters.postgres.sign_ins import PostgresSignIns
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.application.tokens import SignedIn
from gatepost.domain.audit import ClientContext
from gatepost.domain.limits import LimitPolicy
from gatepost.testing.builders import an_account

CLIENT = ClientContext()
PASSWORD = "tin harp over seven hills"
# More than all pools together have connections.
MANY = 3 * POOL_SIZE


@dataclass(frozen=True)
class House:
    gatepost: Gatepost
    url: str

    def sign_in(self, name: str) -> Awaitable[SignedIn]:
        return self.gatepost.sessions.log_in(login=name, password=PASSWORD, client=CLIENT)

    def refresh(self, tokens: SignedIn) -> Awaitable[SignedIn]:
        return self.gatepost.sessions.refresh(refresh_token=tokens.refresh_token, client=CLIENT)

    @asynccontextmanager
    async def locked(self, sql: str) -> AsyncIterator[None]:
        holder = await asyncpg.connect(self.url)
        try:
            async with holder.transaction():
                await holder.execute(sql)
                yield
        finally:
            await holder.close()


@pytest.fixture
async def house(
    url: str,
    rotations: PostgresRotations,
    callers: PostgresCallers,
    sign_ins: PostgresSignIns,
) -> AsyncIterator[House]:
    engine = create_engine(url)
    uow = PostgresUnitOfWork(engine)
    ports = replace(
        memory_ports(), uow=uow, callers=callers, sign_ins=sign_ins, rotations=rotations
    )
    async with uow() as tx:
        for name in ("ada", "bob"):
            hashed = await ports.hasher.hash(PASSWORD)
            await tx.accounts.add(an_account(username=name, password_hash=hashed), ports.now())
        await tx.commit()
    gatepost = assemble(ports, Policies(limits=LimitPolicy(enabled=False)))
    await gatepost.keys.load()
    yield House(gatepost, url)
    await engine.dispose()


ACCOUNT = "UPDATE accounts SET bio = 'long' WHERE username = 'ada'"
SESSIONS = """
UPDATE sessions SET device_name = 'new' FROM accounts
 WHERE accounts.id = account_id AND username = 'ada'
"""


@pytest.mark.parametrize("sql", [ACCOUNT, SESSIONS, f"{ACCOUNT}; {SESSIONS}"])
async def test_sign_ins_and_refreshes_of_locked_rows_hold_up_nobody_else(
    house: House, sql: str
) -> None:
    ada, bob = [await house.sign_in(name) for name in ("ada", "bob")]
    async with house.locked(sql):
        waiting = [
            asyncio.ensure_future(call)
            for _ in range(MANY)
            for call in (house.sign_in("ada"), house.refresh(ada))
        ]
        await asyncio.sleep(0.1)
        for _ in range(5):
            bob = await house.refresh(bob)
            await house.sign_in("bob")
            await house.gatepost.sessions.list_own(
                actor=await house.gatepost.sessions.authenticate(access_token=bob.access_token)
            )
        assert not all(one.done() for one in waiting)
    tokens = await asyncio.gather(*waiting)
    assert len({one.session_id for one in tokens}) == MANY + 1
    # Each of the refreshes came with the same token, within the grace.
    assert len({one.refresh_token for one in tokens[1::2]}) == 1


async def test_sign_ins_of_one_account_wait_for_no_other_of_them(
    house: House, rotations: PostgresRotations
) -> None:
    sql = "SELECT 1 FROM accounts WHERE username = 'ada' FOR SHARE"
    async with house.locked(sql):
        async with asyncio.timeout(1.5):
            await asyncio.gather(*(house.sign_in("ada") for _ in range(MANY)))
