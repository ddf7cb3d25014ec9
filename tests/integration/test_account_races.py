"""Use cases that race for one account, on a real server: one wins, and no deadlock."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from gatepost import Gatepost, Policies, assemble
from gatepost.adapters.memory import MemoryPorts, memory_ports
from gatepost.adapters.postgres.callers import PostgresCallers
from gatepost.adapters.postgres.sign_ins import PostgresSignIns
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.application.mail import Postbox
from gatepost.application.ports.delivery import Job
from gatepost.domain.accounts import Account
from gatepost.domain.addresses import EmailAddress
from gatepost.domain.audit import ClientContext
from gatepost.domain.credentials import OneTimeToken, Purpose
from gatepost.domain.errors import GatepostError
from gatepost.domain.limits import LimitPolicy
from gatepost.domain.roles import ADMIN, Principal, Scope
from gatepost.testing.builders import an_account

CLIENT = ClientContext()
PASSWORD = "tin harp over seven hills"
NEW = EmailAddress("new@example.org")


@pytest.fixture
def ports(
    uow: PostgresUnitOfWork, callers: PostgresCallers, sign_ins: PostgresSignIns
) -> MemoryPorts:
    return replace(memory_ports(), uow=uow, callers=callers, sign_ins=sign_ins)


@pytest.fixture
def gatepost(ports: MemoryPorts) -> Gatepost:
    return assemble(ports, Policies(limits=LimitPolicy(enabled=False)))


async def stored(ports: MemoryPorts, *, roles: tuple[str, ...] = ()) -> Account:
    account = an_account(password_hash=await ports.hasher.hash(PASSWORD), roles=roles)
    async with ports.uow() as tx:
        await tx.accounts.add(account, ports.now())
        await tx.commit()
    return account


async def asked(ports: MemoryPorts, account: Account) -> tuple[str, str]:
    """Issue the tokens of a change of address: that which confirms, and that which undoes."""
    confirm, undo, now = "confirm", "undo", ports.now()
    async with ports.uow() as tx:
        for secret, purpose, sets in (
            (confirm, Purpose.CHANGE_EMAIL, NEW),
            (undo, Purpose.UNDO_EMAIL, account.email),
        ):
            await tx.tokens.add(
                OneTimeToken.issue(
                    secret, purpose, account.id, account.email.key, now, new_email=sets.value
                )
            )
        await tx.commit()
    return confirm, undo


async def outcome(call: Awaitable[object]) -> str:
    try:
        await call
    except GatepostError as refused:
        return refused.code
    return "done"


def caller(account: Account) -> Principal:
    return Principal(account=account, session_id=None, scopes=frozenset(Scope))


async def test_em_07_of_many_confirmations_at_once_one_succeeds(
    gatepost: Gatepost, ports: MemoryPorts
) -> None:
    token, _ = await asked(ports, await stored(ports))
    confirm = gatepost.accounts.verify_email
    outcomes = await asyncio.gather(
        *(outcome(confirm(token=token, password=PASSWORD, client=CLIENT)) for _ in range(10))
    )
    assert Counter(outcomes) == {"done": 1, "token_invalid": 9}


async def test_a_change_that_is_confirmed_and_undone_at_once_ends_undone(
    gatepost: Gatepost, ports: MemoryPorts
) -> None:
    account = await stored(ports)
    confirm, undo = await asked(ports, account)
    confirmed, undone = await asyncio.gather(
        outcome(gatepost.accounts.verify_email(token=confirm, password=PASSWORD, client=CLIENT)),
        outcome(gatepost.accounts.undo_email_change(token=undo, client=CLIENT)),
    )
    assert (confirmed in ("done", "token_invalid"), undone) == (True, "done")
    async with ports.uow() as tx:
        left = await tx.accounts.get(account.id)
    assert left is not None
    assert (left.email, left.password_hash) == (account.email, None)


async def test_of_many_undos_and_deletions_at_once_each_succeeds_once_at_most(
    gatepost: Gatepost, ports: MemoryPorts
) -> None:
    account = await stored(ports)
    _, undo = await asked(ports, account)
    delete, actor = gatepost.accounts.delete, caller(account)
    calls: list[Awaitable[object]] = []
    for _ in range(5):
        calls.append(gatepost.accounts.undo_email_change(token=undo, client=CLIENT))
        calls.append(delete(actor=actor, password=PASSWORD, client=CLIENT))
    outcomes = Counter(await asyncio.gather(*map(outcome, calls)))
    # Whichever comes first, the other finds no token or another password.
    assert outcomes in (
        {"done": 1, "token_invalid": 4, "wrong_password": 5},
        {"done": 1, "token_invalid": 5, "wrong_password": 4},
    )


async def test_az_05_of_two_administrators_who_leave_at_once_one_stays(
    gatepost: Gatepost, ports: MemoryPorts
) -> None:
    both = [await stored(ports, roles=(ADMIN,)) for _ in range(2)]
    outcomes = await asyncio.gather(
        *(
            outcome(gatepost.accounts.delete(actor=caller(one), password=PASSWORD, client=CLIENT))
            for one in both
        )
    )
    assert sorted(outcomes) == ["done", "last_admin"]


async def test_az_07_a_job_of_an_erased_account_is_gone_and_the_notice_is_not(
    gatepost: Gatepost,
    ports: MemoryPorts,
    uow: PostgresUnitOfWork,
    queued_jobs: Callable[[], Awaitable[list[Job]]],
) -> None:
    account = await stored(ports)
    postbox = Postbox(ports.secrets, ports.cipher)
    async with uow() as tx:
        await postbox.offer_undo(tx, account, ports.now())
        await tx.commit()
    await gatepost.accounts.delete(actor=caller(account), password=PASSWORD, client=CLIENT)
    (job,) = await queued_jobs()
    assert job.account_id == account.id
