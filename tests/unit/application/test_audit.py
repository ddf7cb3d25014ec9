from gatepost.application.audit import Auditor
from gatepost.application.events import Outbox
from gatepost.domain.audit import AuditResult, AuditType, ClientContext
from gatepost.testing.builders import new_id
from tests.unit.application.service import CLIENT, OTHER_PASSWORD, PASSWORD, Service


def an_auditor(service: Service) -> Auditor:
    ports = service.ports
    outbox = Outbox(ports.cipher, has_subscribers=False)
    return Auditor(ports.uow, ports.secrets, ports.now, ports.metrics, outbox)


async def test_a_refusal_is_committed_by_itself(service: Service) -> None:
    auditor = an_auditor(service)
    subject, actor, session_id = new_id(), new_id(), new_id()
    await auditor.refused(
        AuditType.SESSION_REFUSED,
        CLIENT,
        actor=actor,
        subject=subject,
        session_id=session_id,
        failure="wrong",
    )
    entry = service.last_entry()
    assert (entry.result, entry.reason) == (AuditResult.FAILURE, "wrong")
    assert (entry.actor, entry.subject, entry.session_id) == (actor, subject, session_id)
    assert entry.created_at == service.clock()


async def test_a_note_comes_and_goes_with_its_transaction(service: Service) -> None:
    auditor = an_auditor(service)
    before = len(service.storage.audit_entries)
    async with service.ports.uow() as tx:
        await auditor.note(tx, AuditType.KEY_CREATED, service.clock(), ClientContext())
    assert len(service.storage.audit_entries) == before


async def test_a_reason_is_no_failure(service: Service) -> None:
    auditor = an_auditor(service)
    async with service.ports.uow() as tx:
        now = service.clock()
        await auditor.note(tx, AuditType.SESSION_ENDED, now, CLIENT, reason="logged_out")
        await tx.commit()
    entry = service.last_entry()
    assert (entry.result, entry.reason) == (AuditResult.SUCCESS, "logged_out")


async def test_az_09_no_secret_and_no_address_stands_in_the_trail(service: Service) -> None:
    await service.has()
    signed_in = await service.log_in()
    await service.forget()
    await service.work()
    token = service.mailed_token()
    await service.reset(token)
    trail = repr(service.storage.audit_entries)
    for secret in (
        PASSWORD,
        OTHER_PASSWORD,
        token,
        signed_in.access_token,
        signed_in.refresh_token,
        service.account().password_hash or "",
        "ada@example.com",
    ):
        assert secret not in trail


async def test_az_09_a_life_is_told_in_order(service: Service) -> None:
    await service.has()
    signed_in = await service.log_in()
    await service.gatepost.sessions.log_out(access_token=signed_in.access_token, client=CLIENT)
    await service.forget()
    await service.work()
    await service.reset(service.mailed_token())
    assert [entry.type.value for entry in service.storage.audit_entries] == [
        "key.created",
        "account.registered",
        "account.email_verified",
        "session.created",
        "session.ended",
        "account.password_reset_requested",
        "account.password_reset",
    ]
