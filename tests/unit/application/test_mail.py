from datetime import timedelta

import pytest

from gatepost import Policies, assemble
from gatepost.application.mail import MailPolicy
from gatepost.application.ports.delivery import JobName, Mail, Mailer, MailTemplate
from gatepost.application.sealed_jobs import sealed_job
from gatepost.domain.audit import AuditType
from gatepost.domain.credentials import digest
from gatepost.domain.errors import Unavailable
from tests.builders import new_id
from tests.unit.application.service import CLIENT, DAY, PASSWORD, SECOND, Service


@pytest.mark.parametrize(
    ("template", "page"),
    [
        (MailTemplate.WELCOME, "verify-email"),
        (MailTemplate.VERIFY_EMAIL, "verify-email"),
        (MailTemplate.RESET_PASSWORD, "reset-password"),
    ],
)
def test_a_link_opens_a_page_of_the_frontend_with_the_token_in_the_fragment(
    template: MailTemplate, page: str
) -> None:
    policy = MailPolicy(frontend_url="https://app.example.com")
    assert policy.link(template, "abc") == f"https://app.example.com/{page}#token=abc"
    assert policy.link(template, None) is None


async def test_rs_07_links_are_built_from_configuration_alone(service: Service) -> None:
    policies = Policies(mail=MailPolicy(frontend_url="https://app.example.com"))
    service.gatepost = assemble(service.ports, policies)
    await service.has()
    await service.forget()
    await service.work()
    assert (service.last_mail().link or "").startswith("https://app.example.com/reset-password#")


async def test_ob_08_a_mail_whose_token_has_expired_is_dropped(service: Service) -> None:
    await service.register()
    service.clock.advance(DAY)
    await service.work()
    assert service.mails_to() == []


async def test_ob_08_a_mail_is_sent_until_its_token_expires(service: Service) -> None:
    await service.register()
    service.clock.advance(DAY - SECOND)
    await service.work()
    assert service.mails_to() == ["welcome"]


async def test_a_notice_outlives_an_outage_of_three_days(service: Service) -> None:
    await service.has()
    await service.change_password(await service.caller(await service.log_in()))
    service.clock.advance(timedelta(days=3) - SECOND)
    await service.work()
    assert service.mails_to()[-1] == "password_changed"


async def test_a_mail_that_is_sent_twice_has_the_same_id(service: Service) -> None:
    await service.register()
    (job,) = service.storage.queued
    await service.gatepost.jobs.run(job)
    await service.gatepost.jobs.run(job)
    first, second = service.mailer.sent
    assert first == second
    assert first.id == job.id


async def test_the_token_is_stored_as_its_hash_and_not_shown(service: Service) -> None:
    await service.register()
    await service.work()
    token = service.mailed_token()
    (stored,) = service.storage.committed.tokens.values()
    assert stored.digest == digest(token)
    assert token not in repr(service.storage.committed)
    assert token not in repr(service.last_mail())


async def test_a_mail_speaks_the_language_of_its_account(service: Service) -> None:
    await service.gatepost.accounts.register(
        username="ada",
        email="ada@example.com",
        password=PASSWORD,
        locale="de-AT",
        client=CLIENT,
    )
    await service.work()
    assert (service.last_mail().locale, service.last_mail().username) == ("de-AT", "ada")


async def test_an_address_that_is_refused_for_good_is_noted_and_not_tried_again(
    service: Service,
) -> None:
    await service.register()
    service.mailer.refused.add("ada@example.com")
    await service.work()
    assert service.mails_to() == []
    assert service.storage.queued == []
    (account,) = service.storage.committed.accounts.values()
    entry = service.storage.committed.audit[-1]
    assert (entry.type, entry.subject, entry.reason) == (
        AuditType.MAIL_UNDELIVERABLE,
        account.id,
        "address_refused",
    )
    assert (await service.gatepost.backlog.read()).undeliverable == 1


async def test_ob_07_a_recipient_that_was_never_stored_so_gets_nothing(service: Service) -> None:
    for to in ("ada@EXAMPLE.com", "ada@example.com\r\nBcc: eve@example.com"):
        values = {
            "template": "account_deleted",
            "to": to,
            "locale": "en",
            "username": "ada",
            "token": None,
            "expires_at": (service.clock() + DAY).isoformat(),
        }
        job = sealed_job(service.ports.cipher, new_id(), JobName.SEND_MAIL, {**values})
        await service.gatepost.jobs.run(job)
    assert service.mailer.sent == []
    noted = [entry.type for entry in service.storage.committed.audit[-2:]]
    assert noted == [AuditType.MAIL_UNDELIVERABLE] * 2


async def test_ob_01_a_mail_server_that_is_down_delays_mail_and_nothing_else(
    service: Service,
) -> None:
    service.mailer.is_down = True
    await service.register()
    (job,) = service.storage.queued
    with pytest.raises(Unavailable):
        await service.gatepost.jobs.run(job)
    service.mailer.is_down = False
    await service.gatepost.jobs.run(job)
    assert service.mails_to() == ["welcome"]


async def test_a_mailer_that_holds_nothing_is_healthy_and_closed_as_it_is() -> None:
    class Bare(Mailer):
        async def send(self, mail: Mail) -> None:
            raise NotImplementedError

    mailer = Bare()
    await mailer.check()
    await mailer.close()
