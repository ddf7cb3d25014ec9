"""Races between administrators, on a real server."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from gatepost import Gatepost, Policies, assemble
from gatepost.adapters.memory import memory_ports
from gatepost.adapters.postgres.callers import PostgresCallers
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.application.ports.storage import UnitOfWork
from gatepost.domain.accounts import Account
from gatepost.domain.audit import ClientContext
from gatepost.domain.errors import GatepostError, InvalidCredentials, LastAdmin, VersionConflict
from gatepost.domain.limits import LimitPolicy
from gatepost.domain.roles import ADMIN, Principal
from gatepost.testing.builders import NOW, an_account

OPERATOR = Principal.operator()
CLIENT = ClientContext()
PASSWORD = "tin harp over seven hills"

Act = Callable[[Gatepost, Account], Awaitable[object]]

LEAVING: dict[str, Act] = {
    "suspend": lambda gatepost, who: gatepost.administration.suspend(
        actor=OPERATOR, account_id=who.id, client=CLIENT
    ),
    "delete": lambda gatepost, who: gatepost.administration.delete(
        actor=OPERATOR, account_id=who.id, versions=None, client=CLIENT
    ),
    "lose the role": lambda gatepost, who: gatepost.administration.set_roles(
        actor=OPERATOR, account_id=who.id, roles=(), client=CLIENT
    ),
}


@pytest.fixture
async def gatepost(uow: PostgresUnitOfWork, callers: PostgresCallers) -> Gatepost:
    gatepost = assemble(
        replace(memory_ports(), uow=uow, callers=callers),
        Policies(limits=LimitPolicy(enabled=False)),
    )
    await gatepost.keys.load()
    return gatepost


async def store(uow: UnitOfWork, *accounts: Account) -> None:
    async with uow() as tx:
        for account in accounts:
            await tx.accounts.add(account, NOW)
        await tx.commit()


async def outcome(call: Awaitable[object]) -> type[GatepostError] | None:
    try:
        await call
    except GatepostError as refused:
        return type(refused)
    return None


@pytest.mark.parametrize("first", LEAVING.values(), ids=LEAVING.keys())
@pytest.mark.parametrize("second", LEAVING.values(), ids=LEAVING.keys())
async def test_az_05_of_two_administrators_who_go_at_once_one_stays(
    gatepost: Gatepost, uow: PostgresUnitOfWork, first: Act, second: Act
) -> None:
    pair = an_account(roles=(ADMIN,)), an_account(roles=(ADMIN,))
    await store(uow, *pair)
    outcomes = await asyncio.gather(
        outcome(first(gatepost, pair[0])), outcome(second(gatepost, pair[1]))
    )
    assert sorted(outcomes, key=str) == sorted([None, LastAdmin], key=str)
    async with uow() as tx:
        assert len(await tx.directory.lock_admins()) == 1


async def test_se_13_a_login_at_the_time_of_a_suspension_leaves_no_session(
    gatepost: Gatepost, uow: PostgresUnitOfWork
) -> None:
    hashed = await memory_ports().hasher.hash(PASSWORD)
    people = [an_account(password_hash=hashed) for _ in range(8)]
    await store(uow, *people)

    async def log_in(who: Account) -> type[GatepostError] | None:
        return await outcome(
            gatepost.sessions.log_in(login=who.username.value, password=PASSWORD, client=CLIENT)
        )

    calls = [
        call
        for who in people
        for call in (log_in(who), outcome(LEAVING["suspend"](gatepost, who)))
    ]
    assert set(await asyncio.gather(*calls)) <= {None, InvalidCredentials}
    for who in people:
        found = await gatepost.administration.list_sessions(actor=OPERATOR, account_id=who.id)
        assert list(found) == []


async def test_of_many_changes_of_one_version_one_is_made(
    gatepost: Gatepost, uow: PostgresUnitOfWork
) -> None:
    account = an_account()
    await store(uow, account)
    outcomes = await asyncio.gather(
        *(
            outcome(
                gatepost.administration.amend(
                    actor=OPERATOR,
                    account_id=account.id,
                    versions=frozenset({account.updated_at}),
                    bio=str(number),
                    client=CLIENT,
                )
            )
            for number in range(8)
        )
    )
    assert outcomes.count(None) == 1
    assert outcomes.count(VersionConflict) == 7
