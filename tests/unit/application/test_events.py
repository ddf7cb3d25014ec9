"""Events as those who embed Gatepost are told of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gatepost import DomainEvent, Policies, Subscriber, assemble
from gatepost.application.audit import Auditor
from gatepost.application.events import Outbox
from gatepost.application.ports.delivery import JobName
from gatepost.domain.audit import AuditType
from gatepost.domain.events import AccountChanged, AccountRegistered, AccountSuspended
from gatepost.domain.roles import Principal
from gatepost.testing.builders import new_id
from tests.unit.application.service import CLIENT, OTHER_PASSWORD, PASSWORD, UNLIMITED, Service


async def a_service(*subscribers: Subscriber) -> Service:
    service = Service()
    policies = Policies(limits=UNLIMITED)
    service.gatepost = assemble(service.ports, policies, subscribers)
    await service.install_keys()
    return service


class Listener:
    def __init__(self, failing: Sequence[int] = ()) -> None:
        self.events: list[DomainEvent] = []
        self.failing = failing

    async def __call__(self, event: DomainEvent) -> None:
        self.events.append(event)
        if len(self.events) in self.failing:
            raise OSError("down")

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


async def test_a_life_is_told_in_events() -> None:
    told = Listener()
    service = await a_service(told)
    ada = await service.has()
    signed_in = await service.log_in()
    actor = await service.caller(signed_in)
    await service.gatepost.accounts.change(actor=actor, bio="Counts.", client=CLIENT)
    await service.gatepost.accounts.change(actor=actor, bio="Counts.", client=CLIENT)
    await service.change_password(actor)
    await service.log_in(password=OTHER_PASSWORD)
    await service.gatepost.sessions.end_others(actor=actor, client=CLIENT)
    await service.gatepost.sessions.log_out(access_token=signed_in.access_token, client=CLIENT)
    await service.gatepost.administration.suspend(
        actor=Principal.operator(), account_id=ada.id, client=CLIENT
    )
    await service.gatepost.administration.reactivate(
        actor=Principal.operator(), account_id=ada.id, client=CLIENT
    )
    last = await service.caller(await service.log_in(password=OTHER_PASSWORD))
    await service.gatepost.accounts.delete(actor=last, password=OTHER_PASSWORD, client=CLIENT)
    await service.work()
    assert told.names == [
        "account.registered.v1",
        "account.verified.v1",
        "session.created.v1",
        "account.changed.v1",
        "account.password_changed.v1",
        "session.created.v1",
        "session.others_ended.v1",
        "session.ended.v1",
        "account.suspended.v1",
        "account.reactivated.v1",
        "session.created.v1",
        "account.deleted.v1",
    ]
    changed = next(event for event in told.events if isinstance(event, AccountChanged))
    assert (changed.account_id, changed.actor_id, changed.changed) == (ada.id, ada.id, ("bio",))
    suspended = next(event for event in told.events if isinstance(event, AccountSuspended))
    assert suspended.actor_id is None


async def test_an_administrators_change_names_the_fields_and_the_address_apart() -> None:
    told = Listener()
    service = await a_service(told)
    ada = await service.has()
    for changes in ({"email": "ada@example.org"}, {"username": "lovelace", "locale": "de"}):
        await service.gatepost.administration.amend(
            actor=Principal.operator(), account_id=ada.id, versions=None, client=CLIENT, **changes
        )
    await service.work()
    assert told.names[-2:] == ["account.email_changed.v1", "account.changed.v1"]
    assert isinstance(told.events[-1], AccountChanged)
    assert told.events[-1].changed == ("username", "locale")


async def test_with_nobody_to_tell_nothing_is_queued(service: Service) -> None:
    await service.has()
    await service.log_in()
    told = {JobName.PUBLISH_EVENT, JobName.TELL_SUBSCRIBERS}
    assert not told & {job.name for job in service.storage.queued}


async def test_what_subscribers_are_to_hear_is_no_job_of_a_service_without_any(
    service: Service,
) -> None:
    other = await a_service(Listener())
    await other.register()
    (event,) = {job.name for job in other.storage.queued} - set(service.gatepost.jobs.handlers)
    assert event in other.gatepost.jobs.handlers


async def test_a_change_that_is_undone_is_not_told(service: Service) -> None:
    ports = service.ports
    outbox = Outbox(ports.cipher, has_subscribers=True)
    auditor = Auditor(ports.uow, ports.secrets, ports.now, ports.metrics, outbox)
    for commits in (False, True):
        async with service.uow() as tx:
            type_ = AuditType.ACCOUNT_SUSPENDED
            await auditor.note(tx, type_, service.clock(), CLIENT, subject=new_id())
            if commits:
                await tx.commit()
        assert len(service.storage.queued) == commits


async def test_a_known_address_costs_the_same_and_is_not_told() -> None:
    told = Listener()
    service = await a_service(told)
    await service.has()
    await service.work()
    told.events.clear()
    new = await service.cost_of(service.register("bob", "bob@example.com"))
    known = await service.cost_of(service.register("eve", "ada@example.com"))
    assert new == known
    await service.work()
    assert [type(event) for event in told.events] == [AccountRegistered]
    assert told.events[0].actor_id is None


async def test_no_address_no_name_and_no_secret_stands_in_an_event_or_its_job() -> None:
    told = Listener()
    service = await a_service(told)
    await service.register("lovelace", bio="Counts.")
    queued = repr([job for job in service.storage.queued if job.name is JobName.TELL_SUBSCRIBERS])
    await service.work()
    await service.verify()
    signed_in = await service.log_in("lovelace")
    await service.work()
    for private in ("lovelace", "example.com", "Counts.", PASSWORD, signed_in.refresh_token):
        assert private not in repr(told.events)
        assert private not in queued


async def test_a_subscriber_that_fails_hears_it_again_and_keeps_it_from_nobody() -> None:
    broken, told = Listener(failing=[1]), Listener()
    service = await a_service(broken, told)
    await service.register()
    job = next(job for job in service.storage.queued if job.name is JobName.TELL_SUBSCRIBERS)
    with pytest.raises(OSError, match="down"):
        await service.gatepost.jobs.run(job)
    await service.gatepost.jobs.run(job)
    assert len(told.events) == 2
    assert broken.events == told.events
    assert told.events[0] == replace(told.events[1])
    assert told.events[0].id == job.id


async def test_a_subscriber_that_hangs_keeps_it_from_nobody() -> None:
    async def hang(event: DomainEvent) -> None:
        await asyncio.Event().wait()

    told = Listener()
    service = await a_service(hang, told)
    await service.register()
    job = next(job for job in service.storage.queued if job.name is JobName.TELL_SUBSCRIBERS)
    running = asyncio.create_task(service.gatepost.jobs.run(job))
    for _ in range(100):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert told.names == ["account.registered.v1"]


async def test_the_event_of_a_deleted_account_outlives_its_jobs() -> None:
    told = Listener()
    service = await a_service(told)
    await service.has()
    actor = await service.caller(await service.log_in())
    await service.gatepost.accounts.delete(actor=actor, password=PASSWORD, client=CLIENT)
    await service.work()
    assert told.names[-1] == "account.deleted.v1"
