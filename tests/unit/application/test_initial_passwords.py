"""Passwords that an administrator chose, and links with which an owner sets his first."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gatepost.application.mail import Postbox
from gatepost.application.ports.delivery import MailTemplate
from gatepost.domain.accounts import Account
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.credentials import Purpose
from gatepost.domain.errors import (
    EmailNotVerified,
    InvalidCredentials,
    PasswordChangeRequired,
    TokenInvalid,
    ValidationFailed,
    WrongPassword,
)
from gatepost.testing.builders import an_account
from tests.unit.application.service import (
    DAY,
    OTHER_PASSWORD,
    PASSWORD,
    SECOND,
    Service,
)

INITIAL = "chosen by somebody else"


async def given(service: Service, *, email_verified: bool = False) -> Account:
    """Store what an administrator makes: an account with an initial password."""
    account = an_account(
        username="ada",
        email_verified=email_verified,
        password_hash=await service.hasher.hash(INITIAL),
        bio="From the personnel file.",
        roles=("auditor",),
    )
    account.password_expires_at = service.clock() + 7 * DAY
    service.put(account)
    return account


async def invited(service: Service) -> str:
    """Mail the owner of an account without a password a link to set one."""
    account = an_account(
        username="ada", email_verified=False, password_hash=None, bio="Kept.", roles=("auditor",)
    )
    service.put(account)
    postbox, template = Postbox(service.ports.secrets, service.ports.cipher), "SET_PASSWORD"
    async with service.uow() as tx:
        await postbox.send_token(
            tx, account, MailTemplate[template], Purpose[template], service.clock()
        )
        await tx.commit()
    await service.work()
    return service.mailed_token()


async def demanded(service: Service, login: str = "ada") -> str:
    with pytest.raises(PasswordChangeRequired) as refused:
        await service.log_in(login, INITIAL)
    return refused.value.password_change_token


@pytest.mark.parametrize("login", ["ada", "ada@example.com"])
@pytest.mark.parametrize("email_verified", [True, False])
async def test_pw_15_an_initial_password_opens_no_session_but_can_be_changed(
    service: Service, login: str, email_verified: bool
) -> None:
    account = await given(service, email_verified=email_verified)
    token = await demanded(service, login)
    assert not service.storage.committed.sessions
    entry = service.last_entry()
    assert (entry.type, entry.result, entry.subject, entry.reason) == (
        AuditType.SESSION_REFUSED,
        AuditResult.FAILURE,
        account.id,
        "password_change_required",
    )
    await service.reset(token)
    assert service.account().password_expires_at is None
    entry = service.last_entry()
    assert (entry.type, entry.actor) == (AuditType.PASSWORD_CHANGED, account.id)


async def test_pw_15_the_change_of_an_initial_password_proves_no_mailbox(
    service: Service,
) -> None:
    await given(service)
    await service.reset(await demanded(service))
    account = service.account()
    assert (account.email_verified, account.bio, account.roles) == (
        False,
        "From the personnel file.",
        ("auditor",),
    )
    with pytest.raises(EmailNotVerified):
        await service.log_in(password=OTHER_PASSWORD)
    await service.work()
    assert service.mails_to() == ["password_changed"]


async def test_pw_15_the_initial_password_is_not_kept(service: Service) -> None:
    await given(service)
    token = await demanded(service)
    with pytest.raises(ValidationFailed) as refused:
        await service.reset(token, INITIAL)
    assert [(each.field, each.code) for each in refused.value.errors] == [
        ("new_password", "too_obvious")
    ]
    await service.reset(token)


async def test_pw_15_an_expired_initial_password_is_a_wrong_one(service: Service) -> None:
    await given(service, email_verified=True)
    wrong = await service.cost_of(service.log_in(password=PASSWORD))
    service.clock.advance(7 * DAY - SECOND)
    await demanded(service)
    service.clock.advance(SECOND)
    cost = await service.cost_of(service.log_in(password=INITIAL))
    assert isinstance(service.refusal, InvalidCredentials)
    assert cost == wrong


async def test_rs_01_a_password_change_token_works_once(service: Service) -> None:
    await given(service)
    token = await demanded(service)
    await service.reset(token)
    with pytest.raises(TokenInvalid):
        await service.reset(token, PASSWORD)


async def test_rs_02_a_password_change_token_lives_ten_minutes(service: Service) -> None:
    await given(service)
    token = await demanded(service)
    service.clock.advance(timedelta(minutes=10))
    with pytest.raises(TokenInvalid):
        await service.reset(token)


async def test_a_newer_password_change_token_retires_the_older(service: Service) -> None:
    await given(service)
    older, newer = await demanded(service), await demanded(service)
    with pytest.raises(TokenInvalid):
        await service.reset(older)
    await service.reset(newer)


async def test_a_password_change_token_dies_with_a_reset(service: Service) -> None:
    await given(service)
    token = await demanded(service)
    await service.forget()
    await service.work()
    await service.reset(service.mailed_token())
    with pytest.raises(TokenInvalid):
        await service.reset(token, PASSWORD)
    await service.log_in(password=OTHER_PASSWORD)


async def test_a_password_changed_during_the_sign_in_makes_the_initial_one_wrong(
    service: Service,
) -> None:
    account = await given(service)

    async def change() -> None:
        service.put(replace(account, password_hash="another"))

    service.hasher.meanwhile = change
    with pytest.raises(InvalidCredentials):
        await service.log_in(password=INITIAL)
    assert not service.storage.committed.tokens


async def test_an_expired_initial_password_proves_no_address(service: Service) -> None:
    account = await given(service)
    service.clock.advance(7 * DAY - SECOND)
    await service.resend()
    await service.work()
    service.clock.advance(SECOND)
    with pytest.raises(WrongPassword):
        await service.verify(account.email.value, INITIAL)


async def test_rs_01_a_link_to_set_the_first_password_works_once_and_proves_the_mailbox(
    service: Service,
) -> None:
    token = await invited(service)
    assert service.last_mail().link == f"http://127.0.0.1:8000/reset-password#token={token}"
    await service.reset(token)
    account = service.account()
    # An administrator set these, no stranger.
    assert (account.email_verified, account.bio, account.roles) == (True, "Kept.", ("auditor",))
    with pytest.raises(TokenInvalid):
        await service.reset(token, PASSWORD)
    await service.log_in(password=OTHER_PASSWORD)


async def test_rs_02_a_link_to_set_the_first_password_lives_a_day(service: Service) -> None:
    token = await invited(service)
    service.clock.advance(DAY)
    with pytest.raises(TokenInvalid):
        await service.reset(token)


async def test_nobody_signs_in_to_an_account_without_a_password(service: Service) -> None:
    await invited(service)
    with pytest.raises(InvalidCredentials):
        await service.log_in()
