import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from gatepost import DomainEvent, Policies, assemble
from gatepost.application.jobs import client_of
from gatepost.application.ports.delivery import Job, JobName
from gatepost.application.ports.security import SealBroken
from gatepost.application.sealed_jobs import sealed_job, unseal
from gatepost.domain.audit import AuditType
from gatepost.domain.credentials import Purpose
from gatepost.domain.errors import NotFound, Unavailable
from gatepost.domain.jobs import JobFilter, JobRecord, JobState
from gatepost.testing.builders import (
    a_job,
    a_session,
    a_token,
    an_account,
    an_entry,
    an_unproven_account,
    new_id,
)
from tests.unit.application.service import CLIENT, DAY, PASSWORD, SECOND, Service


async def test_every_job_name_has_a_handler(service: Service) -> None:
    async def hear(event: DomainEvent) -> None: ...

    heard = assemble(service.ports, Policies(), [hear])
    assert set(heard.jobs.handlers) == set(JobName)
    assert set(service.gatepost.jobs.handlers) == set(JobName) - {JobName.TELL_SUBSCRIBERS}


async def test_no_address_or_token_stands_in_a_queued_job(service: Service) -> None:
    await service.register()
    await service.register("eve", "ada@example.com")
    await service.resend()
    await service.forget()
    queued = repr(service.storage.queued)
    assert len(service.storage.queued) == 4
    assert all("ada@example.com" in opened for opened in service.opened_payloads())
    assert "example.com" not in queued
    assert PASSWORD not in "".join(service.opened_payloads())


async def test_a_job_tells_the_client_it_came_from(service: Service) -> None:
    await service.forget()
    (job,) = service.storage.queued
    assert client_of(unseal(service.ports.cipher, job)) == CLIENT


async def test_an_altered_job_opens_for_nobody(service: Service) -> None:
    job = sealed_job(service.ports.cipher, new_id(), JobName.SEND_MAIL, {"to": "x"})
    altered = replace(job, payload={"sealed": "00" + job.payload["sealed"][2:]})
    with pytest.raises(SealBroken):
        await service.gatepost.jobs.run(altered)


async def test_what_has_run_out_is_purged_and_the_rest_stays(service: Service) -> None:
    tables, now = service.storage.committed, service.clock()
    owner, pending = an_account(), an_unproven_account(created_at=now, expires_at=now + SECOND)
    expired = an_unproven_account(created_at=now - 8 * DAY, expires_at=now)
    for account in (owner, pending, expired):
        service.put(account)
    dead = a_token(owner, purpose=Purpose.RESET_PASSWORD, now=now - DAY)
    alive = a_token(owner, now=now)
    tables.tokens.update({dead.digest: dead, alive.digest: alive})
    old, ended = a_session(owner, now=now - 98 * DAY), a_session(owner, now=now - 60 * DAY)
    live = a_session(owner, now=now)
    tables.sessions.update({session.id: session for session in (old, ended, live)})
    await service.gatepost.jobs.run(a_job(name=JobName.PURGE))
    tables = service.storage.committed
    assert set(tables.accounts) == {owner.id, pending.id}
    assert set(tables.tokens) == {alive.digest}
    assert set(tables.sessions) == {live.id}


async def test_a_session_is_kept_a_week_after_its_end(service: Service) -> None:
    await service.has()
    signed_in = await service.log_in()
    await service.gatepost.sessions.log_out(access_token=signed_in.access_token, client=CLIENT)
    service.clock.advance(7 * DAY)
    await service.purge()
    assert signed_in.session_id in service.storage.committed.sessions
    service.clock.advance(SECOND)
    await service.purge()
    assert not service.storage.committed.sessions


async def test_more_than_one_batch_is_purged_in_small_transactions(service: Service) -> None:
    now = service.clock()
    owner = an_account()
    service.put(owner)
    for _ in range(501):
        token = a_token(owner, now=now - 2 * DAY)
        service.storage.committed.tokens[token.digest] = token
    before = service.uow.opened
    await service.purge()
    assert not service.storage.committed.tokens
    # Two for the tokens, one for exports.
    assert service.uow.opened - before == 3


async def test_a_job_that_nobody_takes_is_told_after_minutes(service: Service) -> None:
    check = service.gatepost.checks["jobs"]
    service.ports.backlog.oldest_seconds = 300
    await check()
    service.ports.backlog.oldest_seconds = 301
    with pytest.raises(Unavailable):
        await check()


@pytest.fixture
def dead(service: Service) -> list[Job]:
    """Three jobs that were given up."""
    names = (JobName.SEND_MAIL, JobName.SEND_MAIL, JobName.REQUEST_RESET)
    jobs = [a_job(name=name, payload={"sealed": "5ec2e7"}) for name in names]
    table, now = service.storage.committed.queue, service.clock()
    for job in jobs:
        table.dead[job.id] = job
        table.records[job.id] = JobRecord(
            id=job.id,
            name=job.name,
            state=JobState.DEAD,
            attempts=25,
            error="OSError",
            created_at=now,
            due_at=now,
            changed_at=now,
        )
    return jobs


async def test_operators_see_how_jobs_stand_and_not_what_they_are_about(
    service: Service, dead: list[Job]
) -> None:
    await service.forget()
    shown = await service.gatepost.jobs.list(filter_=JobFilter(), limit=3)
    assert [record.id for record in shown] == [job.id for job in dead]
    only_dead = JobFilter(state=JobState.DEAD, name=JobName.REQUEST_RESET)
    (one,) = await service.gatepost.jobs.list(filter_=only_dead, limit=50)
    assert one.id == dead[2].id
    assert "5ec2e7" not in repr(shown)


async def test_a_dead_job_is_tried_again_alone_or_with_all_others(
    service: Service, dead: list[Job]
) -> None:
    letters = service.gatepost.jobs.dead
    one = JobFilter(ids=(dead[0].id,))
    assert await letters.retry(filter_=one, client=CLIENT) == 1
    assert service.storage.queued == [dead[0]]
    assert len(service.audited(AuditType.JOBS_RETRIED)) == 1
    with pytest.raises(NotFound):
        await letters.retry(filter_=one, client=CLIENT)
    assert await letters.retry(filter_=JobFilter(), client=CLIENT) == 2
    assert await letters.retry(filter_=JobFilter(), client=CLIENT) == 0
    assert len(service.audited(AuditType.JOBS_RETRIED)) == 2


async def test_dead_jobs_are_purged_by_age_and_name(service: Service, dead: list[Job]) -> None:
    purge, mails = service.gatepost.jobs.dead.purge, JobFilter(name=JobName.SEND_MAIL)
    await service.forget()
    assert await purge(filter_=JobFilter(), older=DAY, client=CLIENT) == 0
    assert service.audited(AuditType.JOBS_PURGED) == []
    service.clock.advance(DAY + SECOND)
    assert await purge(filter_=mails, older=DAY, client=CLIENT) == 2
    assert await purge(filter_=JobFilter(), older=DAY, client=CLIENT) == 1
    assert len(service.audited(AuditType.JOBS_PURGED)) == 2
    assert len(service.storage.queued) == 1


async def test_many_dead_jobs_are_revived_in_small_transactions_and_noted_once(
    service: Service, dead: list[Job]
) -> None:
    table = service.storage.committed.queue
    for _ in range(500):
        job = a_job()
        table.dead[job.id] = job
        table.records[job.id] = replace(table.records[dead[0].id], id=job.id)
    before = service.uow.opened
    assert await service.gatepost.jobs.dead.retry(filter_=JobFilter(), client=CLIENT) == 503
    assert service.uow.opened - before == 2
    assert len(service.audited(AuditType.JOBS_RETRIED)) == 1


async def test_a_job_that_hangs_is_given_up_at_its_deadline(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def hang(job: Job) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(JobName, "deadline", timedelta(0))
    jobs = replace(service.gatepost.jobs, handlers={JobName.SEND_MAIL: hang})
    with pytest.raises(TimeoutError):
        await jobs.run(a_job())
    assert ended.is_set()


async def test_entries_of_the_audit_trail_go_when_they_are_old(service: Service) -> None:
    trail, now = service.storage.committed.audit, service.clock()
    old, young = an_entry(), an_entry()
    trail.append(replace(old, created_at=now - 366 * DAY))
    trail.append(replace(young, created_at=now - 364 * DAY))
    await service.purge()
    kept = {entry.id for entry in service.storage.audit_entries}
    assert young.id in kept
    assert old.id not in kept


def test_mail_goes_before_requests_exports_and_cleaning() -> None:
    names = (JobName.SEND_MAIL, JobName.REQUEST_RESET, JobName.BUILD_EXPORT, JobName.PURGE)
    assert sorted(names, key=lambda name: -name.priority) == list(names)


def test_heavy_jobs_run_a_few_at_once_and_may_take_long() -> None:
    assert JobName.SEND_MAIL.at_once is None
    assert JobName.BUILD_EXPORT.at_once == 4
    assert JobName.SEND_MAIL.deadline < JobName.BUILD_EXPORT.deadline
