from dataclasses import replace

import pytest

from gatepost.application.jobs import client_of, sealed_job, unseal
from gatepost.application.ports.delivery import JobName
from gatepost.application.ports.security import SealBroken
from gatepost.domain.credentials import Purpose
from gatepost.domain.errors import Unavailable
from tests.builders import a_job, a_session, a_token, an_account, an_unproven_account, new_id
from tests.unit.application.service import CLIENT, DAY, PASSWORD, SECOND, Service


async def test_every_job_name_has_a_handler(service: Service) -> None:
    assert set(service.gatepost.jobs.handlers) == set(JobName)


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
