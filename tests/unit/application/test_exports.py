import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gatepost.adapters.memory.exports import MemoryExports
from gatepost.application.ports.delivery import Job, JobName
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.errors import (
    AccessTokenInvalid,
    InsufficientScope,
    NotFound,
    Unavailable,
    WrongPassword,
)
from gatepost.domain.exports import Export, ExportId, ExportStatus
from gatepost.domain.roles import ADMIN, Principal, Scope
from gatepost.testing.builders import a_session, an_entry, new_id
from tests.unit.application.service import (
    CLIENT,
    DAY,
    OTHER_PASSWORD,
    PASSWORD,
    SECOND,
    Service,
)


async def signed_in(service: Service, username: str = "ada", *roles: str) -> Principal:
    await service.has(username, f"{username}@example.com", bio="Counts.")
    service.put(replace(service.account(username), roles=roles))
    return await service.caller(await service.log_in(username))


async def ask(service: Service, caller: Principal, password: str = PASSWORD) -> Export:
    return await service.gatepost.exports.request(actor=caller, password=password, client=CLIENT)


async def read(service: Service, caller: Principal, export: Export) -> Export:
    return await service.gatepost.exports.read(actor=caller, export_id=export.id)


async def download(service: Service, caller: Principal, export: Export) -> bytes:
    found = await service.gatepost.exports.download(
        actor=caller, export_id=export.id, client=CLIENT
    )
    content = b"".join([piece async for piece in found.content])
    assert len(content) == found.export.size
    return content


async def exported(service: Service, caller: Principal) -> dict[str, Any]:
    export = await ask(service, caller)
    await service.work()
    document: dict[str, Any] = json.loads(await download(service, caller, export))
    return document


async def delete(service: Service, caller: Principal) -> None:
    await service.gatepost.accounts.delete(actor=caller, password=PASSWORD, client=CLIENT)


def files(service: Service) -> set[ExportId]:
    return set(service.ports.exports.files)


async def test_an_export_is_built_by_a_worker_and_its_owner_is_told(service: Service) -> None:
    caller = await signed_in(service)
    export = await ask(service, caller)
    assert export.status is ExportStatus.PENDING
    assert await read(service, caller, export) == export
    with pytest.raises(NotFound):
        await download(service, caller, export)
    service.clock.advance(SECOND)
    await service.work()
    ready = await read(service, caller, export)
    assert (ready.status, ready.expires_at) == (ExportStatus.READY, service.clock() + DAY)
    assert service.mails_to()[-1] == "export_ready"
    assert service.last_mail().link is None
    assert json.loads(await download(service, caller, export))["format"] == "gatepost.export.v1"


async def test_all_that_is_stored_stands_in_one_document(service: Service) -> None:
    caller = await signed_in(service)
    await service.gatepost.accounts.request_email_change(
        actor=caller, new_email="new@example.com", password=PASSWORD, client=CLIENT
    )
    document = await exported(service, caller)
    account = document["account"]
    assert (account["username"], account["email"]) == ("ada", "ada@example.com")
    assert (account["bio"], account["roles"]) == ("Counts.", ["user"])
    assert [session["ip"] for session in document["sessions"]] == [CLIENT.ip]
    changes = {(one["purpose"], one["new_email"]) for one in document["pending_changes"]}
    assert changes == {("change_email", "new@example.com"), ("undo_email", "ada@example.com")}
    assert [one["status"] for one in document["exports"]] == ["running"]
    types = [event["type"] for event in document["audit_events"]]
    assert types[0] == "account.export_requested"
    assert {"account.registered", "session.created"} <= set(types)
    stored = [one for one in service.storage.audit_entries if one.subject == caller.account_id]
    # All but the download itself.
    assert len(types) == len(stored) - 1


async def test_no_hash_token_or_secret_stands_in_an_export(service: Service) -> None:
    caller = await signed_in(service)
    await service.forget()
    await service.gatepost.accounts.request_email_change(
        actor=caller, new_email="new@example.com", password=PASSWORD, client=CLIENT
    )
    export = await ask(service, caller)
    await service.work()
    content = (await download(service, caller, export)).decode()
    tables = service.storage.committed
    secrets = [service.account().password_hash or "", service.mailed_token(), PASSWORD]
    secrets += [token.digest.hex() for token in tables.tokens.values()]
    secrets += [session.secret_hash.hex() for session in tables.sessions.values()]
    assert len(secrets) > 5
    assert not [secret for secret in secrets if secret in content]
    for word in ("hash", "digest", "secret", "generation"):
        assert f'"{word}' not in content
        assert f'_{word}"' not in content


async def test_what_is_long_comes_in_pages_and_once(service: Service) -> None:
    caller = await signed_in(service)
    owner = caller.own_account
    tables = service.storage.committed
    sessions = [a_session(owner, now=service.clock()) for _ in range(450)]
    tables.sessions.update({session.id: session for session in sessions})
    about = [an_entry(subject=owner.id) for _ in range(450)]
    by = [replace(an_entry(subject=new_id()), actor=owner.id) for _ in range(3)]
    tables.audit += [*about, *by, an_entry(subject=new_id())]
    document = await exported(service, caller)
    found = [session["id"] for session in document["sessions"]]
    assert (len(found), len(set(found))) == (451, 451)
    ids = [event["id"] for event in document["audit_events"]]
    assert len(ids) == len(set(ids))
    assert {str(entry.id) for entry in (*about, *by)} <= set(ids)


async def test_how_far_a_long_one_is_rises_step_by_step_to_a_hundred(service: Service) -> None:
    caller = await signed_in(service)
    owner, export, seen = caller.own_account, await ask(service, caller), []
    service.storage.committed.audit += [an_entry(subject=owner.id) for _ in range(4_000)]
    (job,) = await service.storage.drain()
    store, write = service.ports.exports, service.ports.exports.write

    async def watched(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        pieces = 0
        async for piece in content:
            yield piece
            pieces += 1
            if pieces % 40 == 0:
                seen.append((await read(service, caller, export)).progress)

    async def writing(export_id: ExportId, content: AsyncIterator[bytes]) -> int:
        size = await write(export_id, watched(content))
        assert (await read(service, caller, export)).status is ExportStatus.RUNNING
        return size

    store.write = writing  # type: ignore[method-assign]
    await service.gatepost.jobs.run(job)
    assert seen == sorted(seen)
    steps = sorted(set(seen))
    assert 15 < len(steps) <= 20
    assert (steps[0], steps[-1] < 100) == (0, True)
    assert (await read(service, caller, export)).progress == 100


async def test_one_whose_progress_cannot_be_written_is_built_all_the_same(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await signed_in(service)
    export = await ask(service, caller)
    tables = service.storage.committed
    tables.audit += [an_entry(subject=caller.own_account.id) for _ in range(500)]

    async def fail(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(MemoryExports, "note_progress", fail)
    await service.work()
    assert (await read(service, caller, export)).status is ExportStatus.READY


async def test_where_an_administrator_acted_from_is_not_told(service: Service) -> None:
    caller, root = await signed_in(service), await signed_in(service, "root", ADMIN)
    await service.gatepost.administration.send_reset(
        actor=root, account_id=caller.own_account.id, client=CLIENT
    )
    document = await exported(service, caller)
    (event,) = [one for one in document["audit_events"] if one["actor"] == str(root.account_id)]
    assert {event[name] for name in ("ip", "user_agent", "request_id", "session_id")} == {None}
    assert event["subject"] == str(caller.account_id)


async def test_a_wrong_password_asks_for_nothing_and_is_audited(service: Service) -> None:
    caller = await signed_in(service)
    with pytest.raises(WrongPassword):
        await ask(service, caller, OTHER_PASSWORD)
    assert not service.storage.committed.exports
    (entry,) = service.audited(AuditType.EXPORT_REQUESTED)
    assert (entry.result, entry.reason) == (AuditResult.FAILURE, "wrong_password")


async def test_request_and_download_are_audited(service: Service) -> None:
    caller = await signed_in(service)
    await exported(service, caller)
    for type_ in (AuditType.EXPORT_REQUESTED, AuditType.EXPORT_DOWNLOADED):
        (entry,) = service.audited(type_)
        assert (entry.actor, entry.subject) == (caller.account_id, caller.account_id)
        assert (entry.session_id, entry.ip) == (caller.session_id, CLIENT.ip)


async def test_one_is_built_at_a_time(service: Service) -> None:
    caller = await signed_in(service)
    first = await ask(service, caller)
    assert await ask(service, caller) == first
    assert len(service.storage.queued) == len(service.audited(AuditType.EXPORT_REQUESTED)) == 1
    await service.work()
    assert (await ask(service, caller)).id != first.id


async def test_one_that_was_never_built_has_failed_after_a_day(service: Service) -> None:
    caller = await signed_in(service)
    export = await ask(service, caller)
    service.clock.advance(DAY)
    assert (await read(service, caller, export)).status is ExportStatus.FAILED
    assert (await ask(service, caller)).id != export.id
    await service.work()
    assert files(service) == set(service.storage.committed.exports) - {export.id}
    await service.purge()
    assert service.storage.committed.exports[export.id].status is ExportStatus.FAILED


async def test_a_ready_one_is_kept_a_day_and_told_of_for_a_week(service: Service) -> None:
    caller = await signed_in(service)
    export = await ask(service, caller)
    await service.work()
    service.clock.advance(DAY - SECOND)
    await service.purge()
    await download(service, caller, export)
    service.clock.advance(SECOND)
    with pytest.raises(NotFound):
        await download(service, caller, export)
    assert (await read(service, caller, export)).status is ExportStatus.EXPIRED
    assert files(service) == {export.id}
    await service.purge()
    assert not files(service)
    service.clock.advance(7 * DAY)
    await service.purge()
    assert (await read(service, caller, export)).status is ExportStatus.EXPIRED
    service.clock.advance(SECOND)
    await service.purge()
    with pytest.raises(NotFound):
        await read(service, caller, export)


async def test_more_than_one_batch_of_exports_is_closed(service: Service) -> None:
    caller = await signed_in(service)
    for _ in range(501):
        export = Export.request(ExportId(new_id()), caller.own_account.id, service.clock())
        service.storage.committed.exports[export.id] = export
    service.clock.advance(DAY)
    await service.purge()
    statuses = {export.status for export in service.storage.committed.exports.values()}
    assert statuses == {ExportStatus.FAILED}


async def test_one_that_goes_while_its_file_is_removed_does_not_come_back(
    service: Service,
) -> None:
    caller = await signed_in(service)
    export = await ask(service, caller)
    service.clock.advance(DAY)
    store = service.ports.exports

    async def remove(export_id: ExportId) -> None:
        # The store may take its time: no transaction is open meanwhile.
        async with service.ports.uow() as tx:
            await tx.exports.remove_all(caller.own_account.id)
            await tx.commit()

    store.remove = remove  # type: ignore[method-assign]
    await service.purge()
    assert export.id not in service.storage.committed.exports


async def test_nobody_sees_the_export_of_somebody_else(service: Service) -> None:
    ada, root = await signed_in(service), await signed_in(service, "root", ADMIN)
    export = await ask(service, ada)
    await service.work()
    for call in (read, download):
        with pytest.raises(NotFound):
            await call(service, root, export)
        with pytest.raises(NotFound):
            await call(service, ada, replace(export, id=ExportId(new_id())))
    assert not service.audited(AuditType.EXPORT_DOWNLOADED)


async def test_scopes_are_needed(service: Service) -> None:
    caller = await signed_in(service)
    export = await ask(service, caller)
    reader = replace(caller, scopes=frozenset({Scope.ACCOUNT_READ}))
    writer = replace(caller, scopes=frozenset({Scope.ACCOUNT_WRITE}))
    with pytest.raises(InsufficientScope):
        await ask(service, reader)
    for call in (read, download):
        with pytest.raises(InsufficientScope):
            await call(service, writer, export)


async def test_a_file_that_is_lost_is_not_found(service: Service) -> None:
    caller = await signed_in(service)
    export = await ask(service, caller)
    await service.work()
    await service.ports.exports.remove(export.id)
    with pytest.raises(NotFound):
        await download(service, caller, export)


@pytest.mark.parametrize("change", ["password", "removed", "suspended"])
async def test_who_changes_while_the_password_is_compared_gets_none(
    service: Service, change: str
) -> None:
    caller = await signed_in(service)

    async def meanwhile() -> None:
        now, account = service.clock(), service.account()
        if change == "removed":
            service.remove(account)
        elif change == "password":
            service.put(replace(account, password_hash="another"))
        else:
            service.put(replace(account, expires_at=now))

    service.hasher.meanwhile = meanwhile
    with pytest.raises(WrongPassword if change == "password" else AccessTokenInvalid):
        await ask(service, caller)
    assert not service.storage.committed.exports


async def test_a_job_that_runs_again_changes_nothing(service: Service) -> None:
    caller = await signed_in(service)
    export = await ask(service, caller)
    (job,) = await service.storage.drain()
    await service.gatepost.jobs.run(job)
    await service.work()
    ready = await read(service, caller, export)
    service.clock.advance(SECOND)
    await service.gatepost.jobs.run(job)
    assert await read(service, caller, export) == ready
    assert not service.storage.queued
    assert service.mails_to().count("export_ready") == 1


async def run_while_writing(service: Service, job: Job, meanwhile: Any) -> None:
    """Run a job, and something else at the moment when the file is written."""
    store = service.ports.exports
    write = store.write

    async def interrupted(export_id: ExportId, content: AsyncIterator[bytes]) -> int:
        size = await write(export_id, content)
        store.write = write  # type: ignore[method-assign]
        await meanwhile()
        return size

    store.write = interrupted  # type: ignore[method-assign]
    await service.gatepost.jobs.run(job)


async def test_two_workers_at_once_tell_the_owner_once(service: Service) -> None:
    caller = await signed_in(service)
    export = await ask(service, caller)
    (job,) = await service.storage.drain()
    await run_while_writing(service, job, lambda: service.gatepost.jobs.run(job))
    await service.work()
    assert service.mails_to().count("export_ready") == 1
    await download(service, caller, export)


async def test_a_failure_is_tried_again(service: Service) -> None:
    caller = await signed_in(service)
    export = await ask(service, caller)
    (job,) = await service.storage.drain()

    async def fail() -> None:
        raise Unavailable

    with pytest.raises(Unavailable):
        await run_while_writing(service, job, fail)
    assert (await read(service, caller, export)).status is ExportStatus.RUNNING
    assert await ask(service, caller) == await read(service, caller, export)
    await service.gatepost.jobs.run(job)
    await download(service, caller, export)


async def test_az_07_a_deletion_cancels_what_is_queued_and_removes_what_is_ready(
    service: Service,
) -> None:
    caller = await signed_in(service)
    await exported(service, caller)
    await ask(service, caller)
    await delete(service, caller)
    assert not service.storage.committed.exports
    names = sorted(job.name for job in service.storage.queued)
    assert names == [JobName.REMOVE_EXPORT, JobName.REMOVE_EXPORT, JobName.SEND_MAIL]
    await service.work()
    assert not files(service)


async def test_az_07_a_deletion_while_it_is_built_leaves_no_file(service: Service) -> None:
    caller = await signed_in(service)
    await ask(service, caller)
    (job,) = await service.storage.drain()

    async def leave() -> None:
        await delete(service, caller)
        await service.work()

    await run_while_writing(service, job, leave)
    assert not files(service)
    assert not service.storage.committed.exports
    assert "export_ready" not in service.mails_to()
    await service.gatepost.jobs.run(job)
    assert not files(service)


async def test_an_account_that_expires_leaves_its_file_to_the_cleaning(service: Service) -> None:
    caller = await signed_in(service)
    export = await ask(service, caller)
    (job,) = await service.storage.drain()
    await run_while_writing(service, job, lambda: gone(service))
    assert not files(service)
    await service.gatepost.jobs.run(job)
    assert not files(service)
    service.clock.advance(DAY)
    await service.purge()
    assert service.storage.committed.exports[export.id].status is ExportStatus.FAILED


async def gone(service: Service) -> None:
    service.remove(service.account())


async def test_the_address_of_a_placeholder_gets_no_mail(service: Service) -> None:
    caller = await signed_in(service)
    await ask(service, caller)
    service.put(replace(service.account(), is_placeholder=True))
    await service.work()
    assert "export_ready" not in service.mails_to()
    assert not files(service)
