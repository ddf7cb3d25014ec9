"""Webhooks, from an event to what its receiver gets, and what becomes of it."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gatepost import assemble
from gatepost.adapters.memory import MemoryCipher
from gatepost.application.deliveries import DeliveryFailed, EndpointDisabled
from gatepost.application.ports.delivery import Job, JobName
from gatepost.application.webhooks import NewEndpoint
from gatepost.domain.audit import AuditType
from gatepost.domain.errors import InsufficientScope, NotFound, ValidationFailed
from gatepost.domain.jobs import RetryPolicy
from gatepost.domain.roles import Principal, Scope
from gatepost.domain.webhooks import (
    DELIVERIES_KEPT,
    FAILING_AT_MOST,
    MAX_ATTEMPTS,
    Delivery,
    DeliveryId,
    DeliveryStatus,
    Fault,
    Outcome,
)
from gatepost.testing.builders import a_job, new_id
from tests.unit.application.service import CLIENT, DAY, Service

URL = "https://hooks.example.com/in?key=1"
DOWN = Outcome(3000, fault=Fault.TIMED_OUT)
OPERATOR = Principal.operator()
WHO: Mapping[str, Any] = {"actor": OPERATOR, "client": CLIENT}


async def an_endpoint(
    service: Service, *events: str, url: str = URL, contact: str | None = None
) -> NewEndpoint:
    return await service.gatepost.webhooks.create(
        actor=OPERATOR, url=url, events=events, contact=contact, client=CLIENT
    )


async def deliveries(service: Service, made: NewEndpoint) -> list[Delivery]:
    found = await service.gatepost.webhooks.deliveries(
        actor=OPERATOR, endpoint_id=made.endpoint.id
    )
    return list(found)


async def a_queued_delivery(service: Service) -> Job:
    """Let something happen, and stop before it is sent."""
    await service.register()
    [publish] = [j for j in await service.storage.drain() if j.name is JobName.PUBLISH_EVENT]
    await service.gatepost.jobs.run(publish)
    [job] = await service.storage.drain()
    assert job.name is JobName.DELIVER_WEBHOOK
    return job


async def test_what_happens_is_posted_to_who_wants_it(service: Service) -> None:
    every = await an_endpoint(service)
    await an_endpoint(service, "account.deleted.v1")
    some = await an_endpoint(service, "account.verified.v1", url="https://other.example.com/")
    ada = await service.has()
    await service.work()
    sent = service.ports.webhooks.sent
    assert [(json.loads(m.body)["type"], m.url) for m in sent] == [
        ("account.registered.v1", URL),
        ("account.verified.v1", URL),
        ("account.verified.v1", "https://other.example.com/"),
    ]
    assert [m.secrets for m in sent] == [(every.secret,), (every.secret,), (some.secret,)]
    body = json.loads(sent[1].body)
    assert body["timestamp"] == service.clock().isoformat().replace("+00:00", "Z")
    assert body["data"] == {"actor_id": str(ada.id), "account_id": str(ada.id)}
    assert sent[1].id == sent[2].id != sent[0].id
    found = await deliveries(service, every)
    assert {(d.status, d.attempts, d.answered) for d in found} == {
        (DeliveryStatus.DELIVERED, 1, 204)
    }


async def test_with_no_endpoint_nothing_is_queued(service: Service) -> None:
    made = await an_endpoint(service, "session.created.v1")
    await service.has()
    assert not service.storage.queued
    await service.gatepost.webhooks.delete(
        actor=OPERATOR, endpoint_id=made.endpoint.id, client=CLIENT
    )
    await service.log_in()
    assert not service.storage.queued


async def test_a_known_address_costs_the_same_with_an_endpoint(service: Service) -> None:
    await an_endpoint(service)
    await service.has()
    await service.work()
    new = await service.cost_of(service.register("bob", "bob@example.com"))
    known = await service.cost_of(service.register("eve", "ada@example.com"))
    assert new == known
    before = len(service.ports.webhooks.sent)
    await service.work()
    assert len(service.ports.webhooks.sent) == before + 1


async def test_an_event_that_is_published_twice_is_delivered_once(service: Service) -> None:
    await an_endpoint(service)
    await service.register()
    [publish] = [j for j in await service.storage.drain() if j.name is JobName.PUBLISH_EVENT]
    for _ in range(2):
        await service.gatepost.jobs.run(publish)
    [job] = await service.storage.drain()
    for _ in range(2):
        await service.gatepost.jobs.run(job)
    assert len(service.ports.webhooks.sent) == 1


async def test_what_fails_is_tried_again_under_the_same_id(service: Service) -> None:
    made = await an_endpoint(service)
    job = await a_queued_delivery(service)
    service.ports.webhooks.outcomes = [DOWN, Outcome(9, status=500)]
    for _ in range(2):
        with pytest.raises(DeliveryFailed):
            await service.gatepost.jobs.run(job)
    [delivery] = await deliveries(service, made)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 2)
    assert (delivery.answered, delivery.fault, delivery.duration_ms) == (500, None, 9)
    await service.gatepost.jobs.run(job)
    [delivery] = await deliveries(service, made)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.DELIVERED, 3)
    assert len({message.id for message in service.ports.webhooks.sent}) == 1
    assert len({message.body for message in service.ports.webhooks.sent}) == 1


async def test_the_last_attempt_gives_up_and_an_operator_can_try_again(service: Service) -> None:
    made = await an_endpoint(service)
    job = await a_queued_delivery(service)
    service.ports.webhooks.outcomes = [DOWN] * MAX_ATTEMPTS
    for _ in range(MAX_ATTEMPTS - 1):
        with pytest.raises(DeliveryFailed):
            await service.gatepost.jobs.run(job)
    await service.gatepost.jobs.run(job)
    await service.gatepost.jobs.run(job)
    [delivery] = await deliveries(service, made)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.FAILED, MAX_ATTEMPTS)
    counts = service.ports.metrics.counts
    assert counts["webhook_sent", "retried"] == MAX_ATTEMPTS - 1
    assert counts["webhook_sent", "failed"] == 1
    await service.gatepost.webhooks.retry(delivery_id=delivery.id, **WHO)
    [entry] = service.audited(AuditType.WEBHOOK_RETRIED)
    assert (entry.subject, entry.user_agent) == (made.endpoint.id, CLIENT.user_agent)
    await service.work()
    [delivery] = await deliveries(service, made)
    assert delivery.status is DeliveryStatus.DELIVERED
    assert counts["webhook_sent", "delivered"] == 1


def test_a_delivery_is_tried_for_some_two_hours() -> None:
    policy, longest = RetryPolicy(), JobName.DELIVER_WEBHOOK.longest_wait
    waits = (policy.delay(failed, 0.5, longest) for failed in range(1, MAX_ATTEMPTS))
    assert timedelta(hours=1.5) < sum(waits, timedelta(0)) < timedelta(hours=2.5)
    assert policy.attempts > MAX_ATTEMPTS


async def test_two_secrets_sign_for_a_day(service: Service) -> None:
    first = await an_endpoint(service)
    second = await service.gatepost.webhooks.rotate(
        actor=OPERATOR, endpoint_id=first.endpoint.id, client=CLIENT
    )
    assert first.secret.startswith("whsec_")
    assert first.secret != second.secret
    await service.register()
    await service.work()
    service.clock.advance(DAY)
    await service.register("bob", "bob@example.com")
    await service.work()
    sent = service.ports.webhooks.sent
    assert [m.secrets for m in sent] == [(second.secret, first.secret), (second.secret,)]


def under(service: Service, *keys: bytes) -> None:
    """Start the service anew with other master keys."""
    service.ports = replace(service.ports, cipher=MemoryCipher(*keys))
    service.gatepost = assemble(service.ports, service.gatepost.policies)


async def reseal(service: Service) -> None:
    await service.gatepost.jobs.run(a_job(name=JobName.RESEAL_SECRETS))


async def test_a_new_master_key_takes_over_the_secrets_of_endpoints() -> None:
    service = Service()
    under(service, b"A")
    first = await an_endpoint(service)
    second = await service.gatepost.webhooks.rotate(
        actor=OPERATOR, endpoint_id=first.endpoint.id, client=CLIENT
    )
    for keys in ((b"A", b"B"), (b"B", b"A"), (b"B", b"A"), (b"B",)):
        under(service, *keys)
        await reseal(service)
    await service.register()
    await service.work()
    assert [m.secrets for m in service.ports.webhooks.sent] == [(second.secret, first.secret)]
    [entry] = service.audited(AuditType.WEBHOOK_SECRET_RESEALED)
    assert (entry.subject, entry.actor) == (first.endpoint.id, None)


async def test_an_endpoint_whose_secret_does_not_open_holds_up_no_other() -> None:
    service = Service()
    under(service, b"Z")
    lost = await an_endpoint(service)
    under(service, b"A")
    await an_endpoint(service)
    under(service, b"B", b"A")
    await reseal(service)
    assert len(service.audited(AuditType.WEBHOOK_SECRET_RESEALED)) == 1
    assert service.storage.committed.endpoints[lost.endpoint.id] == lost.endpoint


async def test_of_two_workers_one_seals_a_secret_again() -> None:
    service = Service()
    under(service, b"A")
    await an_endpoint(service)
    under(service, b"B", b"A")
    async with service.uow():
        # Both have to wait, and then look before either seals.
        workers = [asyncio.create_task(reseal(service)) for _ in range(2)]
        await asyncio.sleep(0)
    await asyncio.gather(*workers)
    assert len(service.audited(AuditType.WEBHOOK_SECRET_RESEALED)) == 1


async def test_no_secret_is_stored_readable_or_shown_by_chance(service: Service) -> None:
    made = await an_endpoint(service)
    await service.register()
    await service.work()
    kept = [made, service.storage.committed.endpoints, service.ports.webhooks.sent]
    assert made.secret not in repr(kept)
    stored = service.storage.committed.endpoints[made.endpoint.id]
    assert made.secret.encode() not in stored.sealed_secret


async def test_an_endpoint_that_fails_for_days_is_disabled_with_notice(service: Service) -> None:
    made = await an_endpoint(service, contact="ops@example.com")
    job = await a_queued_delivery(service)
    service.ports.webhooks.outcomes = [DOWN, DOWN]
    with pytest.raises(DeliveryFailed):
        await service.gatepost.jobs.run(job)
    service.clock.advance(FAILING_AT_MOST)
    with pytest.raises(EndpointDisabled):
        await service.gatepost.jobs.run(job)
    await service.gatepost.jobs.run(job)
    await service.work()
    endpoint = await service.gatepost.webhooks.show(actor=OPERATOR, endpoint_id=made.endpoint.id)
    assert not endpoint.is_enabled
    [delivery] = await deliveries(service, made)
    assert delivery.status is DeliveryStatus.HELD
    [entry] = service.audited(AuditType.WEBHOOK_DISABLED)
    assert (entry.subject, entry.reason) == (made.endpoint.id, "failing")
    mail = service.last_mail("ops@example.com")
    assert mail.about == f"hooks.example.com ({made.endpoint.id})"
    assert (mail.template.value, mail.link) == ("webhook_disabled", None)


async def test_one_success_ends_the_count_of_days(service: Service) -> None:
    made = await an_endpoint(service)
    job = await a_queued_delivery(service)
    service.ports.webhooks.outcomes = [DOWN]
    with pytest.raises(DeliveryFailed):
        await service.gatepost.jobs.run(job)
    assert service.storage.committed.endpoints[made.endpoint.id].failing_since
    await service.gatepost.jobs.run(job)
    assert service.storage.committed.endpoints[made.endpoint.id].failing_since is None


async def test_who_says_he_is_gone_is_disabled_at_once_without_a_contact_too(
    service: Service,
) -> None:
    await an_endpoint(service)
    job = await a_queued_delivery(service)
    service.ports.webhooks.outcomes = [Outcome(1, status=410)]
    with pytest.raises(EndpointDisabled):
        await service.gatepost.jobs.run(job)
    assert service.last_entry().reason == "gone"
    assert service.ports.metrics.counts[("webhook_disabled",)] == 1
    assert service.ports.metrics.counts["job_ended", "webhooks.deliver.v1", "failed"] == 1
    assert not service.storage.queued


async def test_a_disabled_endpoint_loses_nothing_for_thirty_days(service: Service) -> None:
    made = await an_endpoint(service)
    job = await a_queued_delivery(service)
    await service.gatepost.webhooks.disable(endpoint_id=made.endpoint.id, **WHO)
    await service.gatepost.jobs.run(job)
    await service.register("bob", "bob@example.com")
    await service.work()
    assert not service.ports.webhooks.sent
    found = await service.gatepost.webhooks.deliveries(
        actor=OPERATOR, endpoint_id=made.endpoint.id, status=DeliveryStatus.HELD
    )
    assert len(found) == 2
    service.clock.advance(DELIVERIES_KEPT)
    await service.purge()
    for _ in range(2):
        await service.gatepost.webhooks.enable(endpoint_id=made.endpoint.id, **WHO)
    await service.work()
    assert len(service.ports.webhooks.sent) == 2
    service.clock.advance(timedelta(microseconds=1))
    await service.purge()
    assert await deliveries(service, made) == []


async def test_more_than_one_batch_is_released(service: Service) -> None:
    made = await an_endpoint(service)
    job = await a_queued_delivery(service)
    await service.gatepost.webhooks.disable(endpoint_id=made.endpoint.id, **WHO)
    await service.gatepost.jobs.run(job)
    rows = service.storage.committed.deliveries
    [held] = rows.values()
    for _ in range(500):
        one = replace(held, id=DeliveryId(new_id()), event_id=new_id())
        rows[one.id] = one
    await service.gatepost.webhooks.enable(endpoint_id=made.endpoint.id, **WHO)
    assert len(service.storage.queued) == 501


async def test_an_endpoint_that_goes_while_it_is_told_ends_in_peace(service: Service) -> None:
    made = await an_endpoint(service)
    job = await a_queued_delivery(service)
    sender = service.ports.webhooks
    remove = service.gatepost.webhooks.delete
    sender.meanwhile = lambda: remove(actor=OPERATOR, endpoint_id=made.endpoint.id, client=CLIENT)
    sender.outcomes = [DOWN]
    await service.gatepost.jobs.run(job)
    await service.gatepost.jobs.run(job)
    assert not service.storage.committed.deliveries


async def test_an_endpoint_that_goes_just_before_is_not_told(service: Service) -> None:
    made = await an_endpoint(service)
    job = await a_queued_delivery(service)
    del service.storage.committed.endpoints[made.endpoint.id]
    await service.gatepost.jobs.run(job)
    assert not service.ports.webhooks.sent


async def test_one_that_is_disabled_or_enabled_meanwhile_is_treated_as_it_is_then(
    service: Service,
) -> None:
    made = await an_endpoint(service)
    job = await a_queued_delivery(service)
    sender, webhooks = service.ports.webhooks, service.gatepost.webhooks
    sender.meanwhile = lambda: webhooks.disable(endpoint_id=made.endpoint.id, **WHO)
    sender.outcomes = [Outcome(1, status=410)]
    with pytest.raises(DeliveryFailed):
        await service.gatepost.jobs.run(job)
    await service.gatepost.jobs.run(job)
    [delivery] = await deliveries(service, made)
    assert delivery.status is DeliveryStatus.HELD
    assert len(service.audited(AuditType.WEBHOOK_DISABLED)) == 1


async def test_a_delivery_that_arrives_while_another_try_fails_has_arrived(
    service: Service,
) -> None:
    made = await an_endpoint(service)
    job = await a_queued_delivery(service)
    sender = service.ports.webhooks

    async def deliver() -> None:
        await service.gatepost.jobs.run(job)
        sender.outcomes = [DOWN]

    sender.meanwhile = deliver
    await service.gatepost.jobs.run(job)
    [delivery] = await deliveries(service, made)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.DELIVERED, 1)
    assert not sender.outcomes


async def test_every_fault_of_a_new_endpoint_is_told_at_once(service: Service) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await an_endpoint(service, "unknown", url="https://127.0.0.1/", contact="nobody")
    assert [(fault.field, fault.code) for fault in refused.value.errors] == [
        ("url", "forbidden_address"),
        ("events", "unknown_event"),
        ("contact", "invalid_email"),
    ]
    assert not service.storage.committed.endpoints


async def test_it_takes_the_right_to_read_the_trail_and_to_handle_clients(
    service: Service,
) -> None:
    made = await an_endpoint(service)
    webhooks, one = service.gatepost.webhooks, made.endpoint.id

    def holding(*scopes: Scope) -> Principal:
        return Principal(account=None, session_id=None, scopes=frozenset(scopes))

    for poor in (holding(Scope.AUDIT_READ), holding(Scope.CLIENTS_WRITE)):
        for call in (
            webhooks.create(actor=poor, url=URL, client=CLIENT),
            webhooks.rotate(actor=poor, endpoint_id=one, client=CLIENT),
            webhooks.enable(actor=poor, endpoint_id=one, client=CLIENT),
            webhooks.disable(actor=poor, endpoint_id=one, client=CLIENT),
            webhooks.delete(actor=poor, endpoint_id=one, client=CLIENT),
            webhooks.retry(actor=poor, delivery_id=one, client=CLIENT),
        ):
            with pytest.raises(InsufficientScope):
                await call
    for read in (
        webhooks.list(actor=holding()),
        webhooks.show(actor=holding(), endpoint_id=one),
        webhooks.deliveries(actor=holding(), endpoint_id=one),
    ):
        with pytest.raises(InsufficientScope):
            await read
    assert await webhooks.list(actor=holding(Scope.AUDIT_READ)) == [made.endpoint]


async def test_what_is_not_there_is_not_found(service: Service) -> None:
    webhooks, nobody = service.gatepost.webhooks, new_id()
    for call in (
        webhooks.show(actor=OPERATOR, endpoint_id=nobody),
        webhooks.rotate(actor=OPERATOR, endpoint_id=nobody, client=CLIENT),
        webhooks.delete(actor=OPERATOR, endpoint_id=nobody, client=CLIENT),
        webhooks.deliveries(actor=OPERATOR, endpoint_id=nobody),
        webhooks.retry(actor=OPERATOR, delivery_id=nobody, client=CLIENT),
    ):
        with pytest.raises(NotFound):
            await call


async def test_what_is_done_to_an_endpoint_is_audited(service: Service) -> None:
    made = await an_endpoint(service)
    for call in ("rotate", "disable", "enable", "delete"):
        await getattr(service.gatepost.webhooks, call)(endpoint_id=made.endpoint.id, **WHO)
    told = [entry for entry in service.storage.audit_entries if entry.subject == made.endpoint.id]
    assert [entry.type.value for entry in told] == [
        "webhook.created",
        "webhook.secret_rotated",
        "webhook.disabled",
        "webhook.enabled",
        "webhook.deleted",
    ]
    assert {entry.user_agent for entry in told} == {CLIENT.user_agent}
