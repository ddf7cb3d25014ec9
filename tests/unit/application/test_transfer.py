import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import pytest

from gatepost.adapters.memory import MemoryUnitOfWork
from gatepost.adapters.memory.storage import MemoryTransaction
from gatepost.adapters.memory.transfer import MemoryTransfer
from gatepost.application.transfer import BATCH, Line, RowReport, RowResult
from gatepost.domain.accounts import Account, AccountId
from gatepost.domain.audit import AuditType
from gatepost.domain.errors import InsufficientScope, InvalidCredentials
from gatepost.domain.roles import Principal, Role, Scope
from gatepost.testing.builders import DAY, an_account, an_unproven_account, new_id
from tests.unit.application.service import CLIENT, PASSWORD, Service

OPERATOR = Principal.operator()
CREATED, UNCHANGED = RowResult.CREATED, RowResult.UNCHANGED
CONFLICT, INVALID = RowResult.CONFLICT, RowResult.INVALID


def a_row(name: str, **more: object) -> dict[str, object]:
    return {"username": name, "email": f"{name}@example.com", "email_verified": True} | more


def lines(*rows: object) -> list[Line]:
    return [
        Line(number=number, text=row if isinstance(row, bytes) else json.dumps(row).encode())
        for number, row in enumerate(rows, 1)
    ]


async def take_in(
    service: Service,
    *rows: object,
    dry_run: bool = False,
    allow_roles: bool = False,
    actor: Principal = OPERATOR,
) -> list[RowReport]:
    found: list[RowReport] = []
    async for batch in service.gatepost.transfer.import_accounts(
        actor=actor,
        lines=lines(*rows),
        dry_run=dry_run,
        allow_roles=allow_roles,
        client=CLIENT,
    ):
        found.extend(batch)
    return found


async def give_out(service: Service, *, with_passwords: bool = True) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    async for batch in service.gatepost.transfer.export_accounts(
        actor=OPERATOR, with_passwords=with_passwords, client=CLIENT
    ):
        found.extend(batch)
    return found


def results(reports: Sequence[RowReport]) -> list[RowResult]:
    return [report.result for report in reports]


def codes(report: RowReport) -> list[tuple[str, str]]:
    return [(error.field, error.code) for error in report.errors]


async def test_accounts_come_in_with_their_passwords_and_no_mail_leaves(service: Service) -> None:
    rows = [a_row("ada", password_hash=f"foreign${PASSWORD}"), a_row("bob")]
    reports = await take_in(service, *rows)
    assert results(reports) == [CREATED, CREATED]
    assert [report.account_id for report in reports] == [
        service.account("ada").id,
        service.account("bob").id,
    ]
    assert service.storage.queued == []
    entries = service.audited(AuditType.ACCOUNT_CREATED)
    assert {entry.subject for entry in entries} == {report.account_id for report in reports}
    assert {(entry.reason, entry.user_agent) for entry in entries} == {("imported", "Firefox")}


async def test_pw_13_a_foreign_hash_opens_once_and_is_ours_afterwards(service: Service) -> None:
    await service.install_keys()
    await take_in(service, a_row("ada", password_hash=f"foreign${PASSWORD}"))
    with pytest.raises(InvalidCredentials):
        await service.log_in(password="something else")
    assert service.account().password_hash == f"foreign${PASSWORD}"
    await service.log_in()
    renewed = service.account().password_hash or ""
    assert renewed.startswith("plain$")
    await service.log_in()
    assert service.account().password_hash == renewed


async def test_the_same_file_again_changes_nothing(service: Service) -> None:
    await service.install_keys()
    given = new_id()
    rows = [
        a_row("ada", password_hash=f"foreign${PASSWORD}"),
        a_row("bob", id=str(given)),
        {"username": "x"},
    ]
    first = await take_in(service, *rows)
    await service.log_in()
    before = dict(service.storage.committed.accounts)
    again = await take_in(service, *rows)
    assert results(again) == [UNCHANGED, UNCHANGED, INVALID]
    assert [report.account_id for report in again[:2]] == [first[0].account_id, given]
    assert service.storage.committed.accounts == before
    assert len(service.audited(AuditType.ACCOUNT_CREATED)) == 2


async def test_a_broken_row_is_told_by_its_line_and_stops_nothing(service: Service) -> None:
    reports = await take_in(
        service,
        b"{",
        b"[" * 100_000,
        b"\xff\xfe\xfd",
        17,
        a_row("ada", password_hash="md5$x"),
        a_row("bob"),
    )
    assert results(reports) == [INVALID] * 5 + [CREATED]
    assert [report.line for report in reports] == [1, 2, 3, 4, 5, 6]
    assert [codes(report)[0][1] for report in reports[:5]] == [
        *("invalid_json", "invalid_json", "invalid_json", "invalid_type", "unknown_hash"),
    ]


async def test_a_line_too_long_to_be_read_is_told(service: Service) -> None:
    too_long = [Line(number=9, text=None)]
    taken = service.gatepost.transfer.import_accounts(
        actor=OPERATOR, lines=too_long, client=CLIENT
    )
    ((report,),) = [batch async for batch in taken]
    assert (report.line, codes(report)) == (9, [("row", "too_long")])


async def test_conflicts_name_what_is_taken(service: Service) -> None:
    await service.has("ada")
    await service.has("bob", "bob@example.com")
    reports = await take_in(
        service,
        a_row("ADA", email="other@example.com"),
        a_row("carla", email="ADA@example.com"),
        a_row("ada", email="bob@example.com"),
        a_row("dora", id=str(service.account("bob").id)),
        a_row("ada", id=str(new_id())),
    )
    assert results(reports) == [CONFLICT] * 5
    assert [codes(report) for report in reports] == [
        [("username", "username_taken")],
        [("email", "email_taken")],
        [("username", "username_taken"), ("email", "email_taken")],
        [("id", "id_taken")],
        [("username", "username_taken"), ("email", "email_taken")],
    ]
    assert all(report.account_id is None for report in reports)


async def test_rows_of_one_file_conflict_with_each_other_too(service: Service) -> None:
    reports = await take_in(
        service,
        a_row("ada"),
        a_row("ada"),
        a_row("ada", email="second@example.com"),
        a_row("bob", email="ADA@example.com"),
    )
    assert results(reports) == [CREATED, UNCHANGED, CONFLICT, CONFLICT]


async def test_an_account_that_changed_its_name_is_known_by_its_id(service: Service) -> None:
    ada = await service.has("ada")
    renamed = a_row("lovelace", email="ada@example.com", id=str(ada.id))
    assert results(await take_in(service, renamed)) == [UNCHANGED]
    assert service.account("ada").id == ada.id


async def test_an_erased_account_does_not_come_back(service: Service) -> None:
    erased = an_account(username="ada")
    erased.erase(service.clock())
    service.put(erased)
    (report,) = await take_in(service, a_row("ada", id=str(erased.id)))
    assert codes(report) == [("id", "id_taken"), ("username", "username_taken")]


async def test_registrations_that_ran_out_give_way(service: Service) -> None:
    now = service.clock()
    old = an_unproven_account(username="ada", email="ada@example.com", expires_at=now)
    service.put(old)
    assert results(await take_in(service, a_row("ada"))) == [CREATED]
    assert service.account("ada").id != old.id


async def test_a_dry_run_tells_the_same_and_writes_nothing(service: Service) -> None:
    await service.has("bob", "bob@example.com")
    reports = await take_in(service, a_row("ada"), a_row("bob"), {}, dry_run=True)
    assert results(reports) == [CREATED, UNCHANGED, INVALID]
    assert [row.username.value for row in service.storage.committed.accounts.values()] == ["bob"]


async def test_roles_are_given_only_where_that_was_asked_for(service: Service) -> None:
    row = a_row("ada", roles=["admin", "user"])
    (report,) = await take_in(service, row)
    assert codes(report) == [("roles", "roles_not_allowed")]
    assert results(await take_in(service, a_row("bob", roles=["user"]))) == [CREATED]
    assert results(await take_in(service, row, allow_roles=True)) == [CREATED]
    assert service.account("ada").roles == ("admin",)


async def test_only_roles_that_there_are_and_that_the_actor_holds_are_given(
    service: Service,
) -> None:
    async with service.uow() as tx:
        role = Role(name="support", scopes=frozenset({Scope.USERS_READ}))
        await tx.roles.put(role, service.clock())
        await tx.commit()
    rows = [
        a_row("ada", roles=["support"]),
        a_row("bob", roles=["nothing"]),
        a_row("carla", roles=["admin"]),
    ]
    scopes = frozenset({Scope.USERS_READ, Scope.USERS_WRITE, Scope.ROLES_WRITE})
    helper = replace(OPERATOR, scopes=scopes)
    reports = await take_in(service, *rows, allow_roles=True, actor=helper)
    assert results(reports) == [CREATED, INVALID, INVALID]
    assert codes(reports[1]) == [("roles", "unknown_role")]
    assert codes(reports[2]) == [("roles", "permission_denied")]


async def test_scopes_are_asked_for(service: Service) -> None:
    for scopes in (frozenset[Scope](), frozenset({Scope.USERS_WRITE})):
        with pytest.raises(InsufficientScope):
            await take_in(
                service, a_row("ada"), allow_roles=True, actor=replace(OPERATOR, scopes=scopes)
            )
    almost = frozenset(Scope) - {Scope.AUDIT_READ}
    with pytest.raises(InsufficientScope):
        await anext(
            service.gatepost.transfer.export_accounts(
                actor=replace(OPERATOR, scopes=almost), client=CLIENT
            )
        )


async def test_hashes_slower_than_ours_are_told(service: Service) -> None:
    slower = a_row("ada", password_hash="slower$x")
    for flags in ([True], [False]):
        reports = await take_in(service, slower)
        assert [report.has_slower_hash for report in reports] == flags


async def test_who_has_expired_neither_leaves_nor_comes_in(service: Service) -> None:
    await take_in(
        service,
        a_row("ada"),
        a_row("bob", email_verified=False, expires_at=(service.clock() + DAY).isoformat()),
    )
    rows = await give_out(service)
    assert [row["username"] for row in rows] == ["ada", "bob"]
    service.clock.advance(DAY)
    assert [row["username"] for row in await give_out(service)] == ["ada"]
    known, expired = await take_in(service, *rows)
    assert results([known, expired]) == [UNCHANGED, INVALID]
    assert codes(expired) == [("expires_at", "expired")]


class Overtaken(MemoryTransfer):
    """Lets somebody in after the rivals were looked for."""

    async def find_rivals(self, accounts: Sequence[Account], now: datetime) -> Sequence[Account]:
        found = await super().find_rivals(accounts, now)
        await self.add_all([an_account(username="ada")], now)
        return found


class OvertakenTransaction(MemoryTransaction):
    @property
    def transfer(self) -> Overtaken:
        return Overtaken(self._tables)


class OvertakenUnitOfWork(MemoryUnitOfWork):
    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[OvertakenTransaction]:
        async with self.storage.alone():
            yield OvertakenTransaction(self.storage)


async def test_who_lost_his_place_a_moment_ago_is_told(service: Service) -> None:
    importing = replace(
        service.gatepost.transfer.import_accounts, uow=OvertakenUnitOfWork(service.storage)
    )
    rows = [a_row(name) for name in ("ada", "bob", "ada")]
    rows.append(a_row("ada", email="other@example.com"))
    batches = importing(actor=OPERATOR, lines=lines(*rows), client=CLIENT)
    ((lost, won, again, wrong),) = [batch async for batch in batches]
    assert results([lost, won, again, wrong]) == [CONFLICT, CREATED, CONFLICT, CONFLICT]
    assert codes(lost) == codes(again) == [("row", "taken")]
    assert codes(wrong) != codes(lost)
    assert again.account_id is None


async def test_batches_are_committed_one_by_one(service: Service) -> None:
    rows = [a_row(f"user-{number}") for number in range(BATCH + 1)]
    taken = service.gatepost.transfer.import_accounts(
        actor=OPERATOR, lines=lines(*rows), client=CLIENT
    )
    assert len(await anext(taken)) == BATCH
    assert len(service.storage.committed.accounts) == BATCH
    assert len(await anext(taken)) == 1
    out = await give_out(service)
    assert [row["id"] for row in out] == sorted(
        str(key) for key in service.storage.committed.accounts
    )


async def test_an_export_taken_in_elsewhere_gives_the_same_accounts(service: Service) -> None:
    await service.has("ada", bio="Zoë")
    rows = [
        a_row("bob", password_hash=f"foreign${PASSWORD}", roles=["admin"], status="suspended"),
        a_row("carla", id=str(AccountId(new_id())), created_at="2020-01-01T00:00:00Z"),
    ]
    await take_in(service, *rows, allow_roles=True)
    service.put(an_unproven_account(is_placeholder=True))
    out = await give_out(service)
    assert [row["username"] for row in out] != []
    other = Service()
    other.clock.advance(DAY)
    assert results(await take_in(other, *out, allow_roles=True)) == [CREATED] * 3
    mine = {row.id: row for row in service.storage.committed.accounts.values()}
    for account in other.storage.committed.accounts.values():
        assert account == replace(mine[account.id], notified_at=None)


async def test_an_export_is_audited_and_can_leave_the_hashes_out(service: Service) -> None:
    await service.has("ada")
    (row,) = await give_out(service, with_passwords=False)
    assert row["password_hash"] is None
    assert len(service.audited(AuditType.ACCOUNTS_EXPORTED)) == 1
