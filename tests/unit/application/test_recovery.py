import pytest

from gatepost.domain.accounts import Account, AccountStatus
from gatepost.domain.audit import AuditType
from gatepost.domain.errors import (
    AccessTokenInvalid,
    EmailTaken,
    InsufficientScope,
    InvalidCredentials,
    InvalidGrant,
    TokenInvalid,
    ValidationFailed,
)
from gatepost.domain.roles import Principal, Scope
from tests.unit.application.service import CLIENT, OTHER_PASSWORD, PASSWORD, Service
from tests.unit.application.staff import OPERATOR, clerk, suspends

MINE, THIEFS = "ada@example.com", "thief@example.com"


async def recovers(
    service: Service, account: Account, email: str | None = None, actor: Principal = OPERATOR
) -> Account:
    return await service.gatepost.administration.recover(
        actor=actor, account_id=account.id, email=email, client=CLIENT
    )


async def taken_over(service: Service) -> Account:
    """Let a thief who knows the password give the account another address."""
    account = await service.has()
    thief = await service.caller(await service.log_in())
    await service.gatepost.accounts.request_email_change(
        actor=thief, new_email=THIEFS, password=PASSWORD, client=CLIENT
    )
    await service.work()
    await service.verify(THIEFS)
    await service.log_in()
    return account


async def test_nothing_opens_a_recovered_account_but_the_mailed_link(service: Service) -> None:
    account = await service.has()
    signed_in = await service.log_in()
    await service.forget()
    await service.work()
    asked_before = service.mailed_token(MINE)

    await recovers(service, account)
    await service.work()

    with pytest.raises(InvalidCredentials):
        await service.log_in()
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.refresh_token)
    with pytest.raises(AccessTokenInvalid):
        await service.caller(signed_in)
    with pytest.raises(TokenInvalid):
        await service.reset(asked_before)
    await service.reset(service.mailed_token(MINE))
    await service.log_in(password=OTHER_PASSWORD)


async def test_the_owner_gets_the_address_back_and_the_thief_no_word(service: Service) -> None:
    account = await taken_over(service)
    told = len(service.mailer.sent_to(THIEFS))

    recovered = await recovers(service, account, MINE)
    await service.work()

    assert (recovered.email.value, recovered.email_verified) == (MINE, False)
    assert len(service.mailer.sent_to(THIEFS)) == told
    await service.reset(service.mailed_token(MINE))
    await service.log_in(password=OTHER_PASSWORD)
    assert service.account().email_verified
    by_operator = {entry.type for entry in service.storage.audit_entries if entry.actor is None}
    assert {AuditType.ACCOUNT_RECOVERED, AuditType.EMAIL_CHANGED} <= by_operator


async def test_a_suspended_account_is_active_again(service: Service) -> None:
    account = await service.has()
    await suspends(service, account.id)
    assert (await recovers(service, account, MINE)).status is AccountStatus.ACTIVE


async def test_an_address_that_is_anothers_or_none_changes_nothing(service: Service) -> None:
    account = await service.has()
    await service.has("bob", "bob@example.com")
    for address, refusal in (("bob@example.com", EmailTaken), ("no address", ValidationFailed)):
        with pytest.raises(refusal):
            await recovers(service, account, address)
    await service.log_in()


async def test_everybody_is_signed_out_at_once_and_can_come_back(service: Service) -> None:
    await service.has()
    await service.has("bob", "bob@example.com")
    signed_in = [await service.log_in(), await service.log_in(), await service.log_in("bob")]

    ended = await service.gatepost.administration.end_every_session(actor=OPERATOR, client=CLIENT)

    assert ended == 3
    for one in signed_in:
        with pytest.raises(InvalidGrant):
            await service.refresh(one.refresh_token)
    await service.caller(await service.log_in())
    about_all = [one.type for one in service.storage.audit_entries if one.subject is None]
    assert AuditType.SESSIONS_ENDED in about_all


async def test_who_lacks_a_scope_cannot_sign_everybody_out(service: Service) -> None:
    with pytest.raises(InsufficientScope):
        await service.gatepost.administration.end_every_session(
            actor=clerk(Scope.SESSIONS_WRITE), client=CLIENT
        )


async def test_only_who_may_change_accounts_recovers_them(service: Service) -> None:
    account = await service.has()
    with pytest.raises(InsufficientScope):
        await recovers(service, account, actor=clerk(Scope.USERS_READ))
