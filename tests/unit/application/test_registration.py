from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime

import pytest

from gatepost import Policies, assemble
from gatepost.adapters.memory.repositories import MemoryAccounts
from gatepost.adapters.memory.storage import MemoryTransaction
from gatepost.application.ports.storage import Transaction
from gatepost.application.registration import Registration, lock_owner
from gatepost.domain.accounts import Account, AccountPolicy, Username
from gatepost.domain.addresses import EmailAddress
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.credentials import PasswordPolicy
from gatepost.domain.errors import (
    EmailTaken,
    InvalidCredentials,
    Overloaded,
    RegistrationClosed,
    TokenInvalid,
    Unavailable,
    UsernameTaken,
    ValidationFailed,
)
from gatepost.domain.roles import Principal
from tests.unit.application.service import (
    CLIENT,
    DAY,
    HOUR,
    OTHER_PASSWORD,
    PASSWORD,
    SECOND,
    Service,
)


class FailingTransaction(MemoryTransaction):
    async def commit(self) -> None:
        raise Unavailable


class FailingContext(AbstractAsyncContextManager[Transaction]):
    def __init__(self, service: Service) -> None:
        self.transaction = FailingTransaction(service.storage)

    async def __aenter__(self) -> FailingTransaction:
        return self.transaction

    async def __aexit__(self, *_: object) -> None:
        self.transaction.close()


async def test_a_registration_makes_an_unproven_account_that_expires(service: Service) -> None:
    assert await service.register(bio="Counts.") is None
    account = service.account()
    assert (account.email.value, account.bio, account.locale) == (
        "ada@example.com",
        "Counts.",
        "en",
    )
    assert not account.email_verified
    assert not account.is_placeholder
    assert account.expires_at == service.clock() + 7 * DAY


async def test_pw_13_the_password_is_stored_as_a_hash_alone(service: Service) -> None:
    await service.register()
    assert PASSWORD not in (service.account().password_hash or "")
    assert service.hasher.work == 1


async def test_a_registration_is_welcomed_with_a_link(service: Service) -> None:
    await service.register()
    await service.work()
    assert service.mails_to() == ["welcome"]
    assert (service.last_mail().link or "").startswith("http://127.0.0.1:8000/verify-email#token=")


async def test_az_03_a_registration_gives_neither_roles_nor_a_proof(service: Service) -> None:
    await service.register()
    assert (service.account().roles, service.account().email_verified) == ((), False)


async def test_az_09_a_registration_is_audited(service: Service) -> None:
    await service.register()
    (entry,) = service.audited(AuditType.ACCOUNT_REGISTERED)
    assert (entry.subject, entry.result) == (service.account().id, AuditResult.SUCCESS)
    assert (entry.ip, entry.user_agent, entry.request_id) == (
        CLIENT.ip,
        CLIENT.user_agent,
        CLIENT.request_id,
    )


async def test_every_fault_is_named_at_once_and_nothing_is_hashed(service: Service) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await service.gatepost.accounts.register(
            username="a",
            email="nobody",
            password="short",
            bio="x" * 501,
            locale="not a tag",
            client=CLIENT,
        )
    assert [fault.field for fault in refused.value.errors] == [
        "username",
        "email",
        "password",
        "bio",
        "locale",
    ]
    assert service.hasher.work == 0


@pytest.mark.parametrize("password", ["ada.lovelace", "Ada.Lovelace@Example.com", "gateposts"])
async def test_the_own_name_and_address_are_no_passwords(service: Service, password: str) -> None:
    service.gatepost = assemble(
        service.ports, Policies(passwords=PasswordPolicy(service_name="Gateposts"))
    )
    with pytest.raises(ValidationFailed):
        await service.register("ada.lovelace", "ada.lovelace@example.com", password)


def test_a_registration_shows_no_password_when_printed() -> None:
    form = Registration.parse(
        PasswordPolicy(),
        username="ada",
        email="ada@example.com",
        password=PASSWORD,
        bio=None,
        locale="de-AT",
    )
    assert PASSWORD not in repr(form)
    assert form.locale == "de-AT"


async def test_closed_is_closed(service: Service) -> None:
    policies = Policies(accounts=AccountPolicy(registration_open=False))
    service.gatepost = assemble(service.ports, policies)
    assert await service.cost_of(service.register()) == (0, 0, 0)
    assert isinstance(service.refusal, RegistrationClosed)


async def test_a_full_queue_refuses_and_leaves_nothing(service: Service) -> None:
    service.hasher.is_full = True
    with pytest.raises(Overloaded):
        await service.register()
    assert not service.storage.committed.accounts


async def test_a_taken_username_is_refused_in_any_case_and_leaves_a_trace(
    service: Service,
) -> None:
    owner = await service.has()
    with pytest.raises(UsernameTaken):
        await service.register("ADA", "eve@example.com")
    entry = service.last_entry()
    assert (entry.type, entry.subject) == (AuditType.ACCOUNT_REGISTERED, owner.id)
    assert (entry.result, entry.reason) == (AuditResult.FAILURE, "username_taken")


async def test_ob_06_a_registration_that_is_rolled_back_mails_nobody(service: Service) -> None:
    service.uow.inner = lambda: FailingContext(service)
    with pytest.raises(Unavailable):
        await service.register()
    assert not service.storage.committed.accounts
    assert not service.storage.queued


# What a taken address may show


async def test_en_05_a_taken_address_is_answered_like_a_free_one(service: Service) -> None:
    await service.has()
    taken = await service.cost_of(service.register("eve", "Ada@EXAMPLE.com"))
    assert service.refusal is None
    free = await service.cost_of(service.register("bob", "bob@example.com"))
    assert service.refusal is None
    assert taken == free
    assert (taken[0], taken[2]) == (1, 1)


async def test_en_05_the_owner_is_told_and_no_account_gets_the_address(service: Service) -> None:
    owner = await service.has()
    await service.register("eve")
    await service.work()
    assert service.mails_to() == ["welcome", "registration_attempt"]
    assert service.last_mail().username == "ada"
    assert service.last_mail().link is None
    placeholder = service.account("eve")
    assert placeholder.is_placeholder
    assert await service.gatepost.administration.show(
        actor=Principal.operator(), login="ada@example.com"
    ) == replace(owner, notified_at=service.clock())


async def test_en_05_the_username_is_then_refused_as_after_a_registration(
    service: Service,
) -> None:
    await service.has()
    await service.register("eve", "ada@example.com")
    await service.register("bob", "bob@example.com")
    for name in ("eve", "bob"):
        cost = await service.cost_of(service.register(name, "new@example.com", OTHER_PASSWORD))
        assert isinstance(service.refusal, UsernameTaken)
        assert cost == (1, 2, 0)


async def test_en_05_the_username_is_kept_as_long_as_a_registration_would(
    service: Service,
) -> None:
    await service.has()
    await service.register("eve", "ada@example.com")
    await service.register("bob", "bob@example.com")
    service.clock.advance(7 * DAY - SECOND)
    for name in ("eve", "bob"):
        with pytest.raises(UsernameTaken):
            await service.register(name, f"{name}2@example.com", OTHER_PASSWORD)
    service.clock.advance(SECOND)
    for name in ("eve", "bob"):
        await service.register(name, f"{name}2@example.com", OTHER_PASSWORD)
        assert service.account(name).email.value == f"{name}2@example.com"


async def test_en_05_a_placeholder_cannot_be_told_from_a_registration_by_correcting_it(
    service: Service,
) -> None:
    await service.has()
    await service.register("eve", "ada@example.com")
    await service.register("bob", "bob@example.com")
    for address in ("{}2@example.com", "ada@example.com"):
        costs = []
        for name in ("eve", "bob"):
            costs.append(await service.cost_of(service.register(name, address.format(name))))
            assert service.refusal is None
        assert costs[0] == costs[1]


async def test_en_05_a_repeated_registration_costs_the_same_for_a_placeholder(
    service: Service,
) -> None:
    await service.has()
    for _ in range(2):
        taken = await service.cost_of(service.register("eve", "ada@example.com"))
        free = await service.cost_of(service.register("bob", "bob@example.com"))
        assert taken == free
    service.clock.advance(HOUR)
    taken = await service.cost_of(service.register("eve", "ada@example.com"))
    assert taken == await service.cost_of(service.register("bob", "bob@example.com"))
    assert taken[2] == 1


async def test_the_owner_is_told_once_an_hour(service: Service) -> None:
    await service.has()
    for number in range(3):
        await service.register(f"eve{number}")
        await service.work()
    assert service.mails_to().count("registration_attempt") == 1
    service.clock.advance(HOUR)
    await service.register("eve9")
    await service.work()
    assert service.mails_to().count("registration_attempt") == 2


async def test_em_01_twenty_registrations_of_one_address_make_one_account_and_one_link(
    service: Service,
) -> None:
    spellings = ["ada@example.com", "Ada@Example.COM"] * 10
    for number, email in enumerate(spellings):
        await service.register(f"ada{number}", email)
    await service.work()
    accounts = service.storage.committed.accounts.values()
    assert [row.is_placeholder for row in accounts] == [False] + [True] * 19
    assert service.mails_to() == ["welcome"]


async def test_an_owner_who_proved_nothing_gets_a_fresh_link_after_an_hour(
    service: Service,
) -> None:
    await service.register()
    await service.work()
    service.clock.advance(HOUR)
    await service.register("eve")
    await service.work()
    assert service.mails_to() == ["welcome", "verify_email"]
    await service.verify()


async def test_an_owner_who_expired_or_left_meanwhile_is_told_nothing(service: Service) -> None:
    await service.register()
    await service.work()
    await service.register("eve")
    service.clock.advance(7 * DAY)
    await service.work()
    assert service.mails_to() == ["welcome"]
    service.clock.advance(-HOUR)
    await service.register("eva")
    service.remove(service.account())
    await service.work()
    assert service.mails_to() == ["welcome"]


# Correcting a mistyped address


async def test_a_mistyped_address_is_corrected_with_the_same_password(service: Service) -> None:
    await service.register(email="ad@example.com")
    mistyped = service.account()
    await service.work()
    assert await service.register() is None
    await service.work()
    assert service.account().id == mistyped.id
    assert service.account().email.value == "ada@example.com"
    assert service.mails_to() == ["welcome"]
    assert service.last_entry().type is AuditType.EMAIL_CORRECTED
    await service.verify()


async def test_em_08_the_link_to_the_mistyped_address_dies(service: Service) -> None:
    await service.register(email="ad@example.com")
    await service.work()
    await service.register()
    with pytest.raises(TokenInvalid):
        await service.verify("ad@example.com")


async def test_a_correction_leaves_the_expiry_alone(service: Service) -> None:
    await service.register(email="ad@example.com")
    expires_at: datetime | None = service.account().expires_at
    service.clock.advance(DAY)
    await service.register()
    assert service.account().expires_at == expires_at


async def test_a_correction_to_a_taken_address_keeps_only_the_username(service: Service) -> None:
    await service.has()
    await service.register("eve", "eve@example.com")
    await service.register("eve", "ada@example.com")
    await service.work()
    assert service.account("eve").is_placeholder
    assert service.mails_to() == ["welcome", "registration_attempt"]
    entry = service.audited(AuditType.EMAIL_CORRECTED)[-1]
    assert (entry.result, entry.reason) == (AuditResult.FAILURE, "email_taken")


async def test_a_placeholder_becomes_an_account_with_an_address_of_its_own(
    service: Service,
) -> None:
    await service.has()
    await service.register("eve", "ada@example.com")
    await service.register("eve", "eve@example.com")
    await service.work()
    assert not service.account("eve").is_placeholder
    assert (await service.verify("eve@example.com")).username.value == "eve"


async def test_another_password_corrects_nothing(service: Service) -> None:
    await service.register(email="ad@example.com")
    with pytest.raises(UsernameTaken):
        await service.register(password=OTHER_PASSWORD)
    assert service.account().email.value == "ad@example.com"
    assert service.last_entry().reason == "username_taken"


async def test_a_proven_address_is_not_replaced_by_registering_again(service: Service) -> None:
    await service.has()
    with pytest.raises(UsernameTaken):
        await service.register(email="eve@example.com")
    assert service.account().email.value == "ada@example.com"


async def test_registering_the_same_again_mails_again_once_an_hour(service: Service) -> None:
    await service.register()
    await service.register()
    await service.work()
    assert service.mails_to() == ["welcome"]
    service.clock.advance(HOUR)
    await service.register()
    await service.work()
    assert service.mails_to() == ["welcome", "welcome"]
    assert not service.audited(AuditType.EMAIL_CORRECTED)
    await service.verify()


# Races


async def test_a_second_click_during_the_first_makes_one_account_and_one_mail(
    service: Service,
) -> None:
    service.hasher.meanwhile = service.register
    assert await service.register() is None
    await service.work()
    assert len(service.storage.committed.accounts) == 1
    assert service.mails_to() == ["welcome"]


async def test_of_two_people_who_want_a_username_the_slower_is_refused(service: Service) -> None:
    service.hasher.meanwhile = lambda: service.register("ada", "b@example.com", OTHER_PASSWORD)
    with pytest.raises(UsernameTaken):
        await service.register()
    assert service.account().email.value == "b@example.com"


async def test_an_address_proven_during_a_correction_stays(service: Service) -> None:
    await service.register()
    await service.work()
    service.hasher.meanwhile = service.verify
    with pytest.raises(UsernameTaken):
        await service.register(email="other@example.com")
    assert service.account().email.value == "ada@example.com"
    assert service.account().email_verified


async def test_an_account_removed_during_a_correction_is_not_corrected(service: Service) -> None:
    await service.register()
    account = service.account()

    async def remove() -> None:
        service.remove(account)

    service.hasher.meanwhile = remove
    with pytest.raises(UsernameTaken):
        await service.register(email="other@example.com")


class OutdatedAccounts(MemoryAccounts):
    """Finds, as a read without a lock may, who owned the address a moment ago."""

    async def find_by_email(self, email: EmailAddress) -> Account | None:
        return await self.find_by_username(Username("ada"))


class OutdatedTransaction(MemoryTransaction):
    @property
    def accounts(self) -> OutdatedAccounts:
        return OutdatedAccounts(self._tables)


async def test_who_gave_an_address_up_meanwhile_is_not_taken_for_its_owner(
    service: Service,
) -> None:
    account = await service.has()
    address = EmailAddress("ada@example.com")
    transaction = OutdatedTransaction(service.storage)
    assert await lock_owner(transaction, address) == account
    assert await lock_owner(transaction, EmailAddress("old@example.com")) is None
    service.put(replace(account, is_placeholder=True))
    assert await lock_owner(OutdatedTransaction(service.storage), address) is None


# Where addresses need no proof


async def test_without_proof_the_account_is_returned_and_stays(open_service: Service) -> None:
    account = await open_service.register()
    assert account == open_service.account()
    assert account.expires_at is None
    await open_service.work()
    assert open_service.mails_to() == ["welcome"]


async def test_without_proof_a_taken_address_is_refused(open_service: Service) -> None:
    await open_service.register()
    with pytest.raises(EmailTaken):
        await open_service.register("eve")
    with pytest.raises(InvalidCredentials):
        await open_service.log_in("eve")


async def test_without_proof_no_address_is_replaced_by_registering_again(
    service: Service,
) -> None:
    await service.register()
    policies = Policies(accounts=AccountPolicy(require_verified_email=False))
    service.gatepost = assemble(service.ports, policies)
    with pytest.raises(UsernameTaken):
        await service.register(email="other@example.com")
