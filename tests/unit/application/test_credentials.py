from dataclasses import replace
from datetime import timedelta

import pytest

from gatepost.domain.accounts import AccountStatus
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.errors import (
    AccessTokenInvalid,
    InsufficientScope,
    InvalidCredentials,
    InvalidGrant,
    Overloaded,
    TokenInvalid,
    ValidationFailed,
    WrongPassword,
)
from gatepost.domain.roles import ADMIN, Principal
from tests.unit.application.service import (
    CLIENT,
    DAY,
    OTHER_PASSWORD,
    PASSWORD,
    SECOND,
    Service,
)

THIRD_PASSWORD = "quiet otters fold maps"


async def forgotten(service: Service, email: str = "ada@example.com") -> str:
    await service.forget(email)
    await service.work()
    return service.mailed_token(email)


# Forgotten


async def test_en_03_a_reset_is_asked_for_alike_by_everybody(service: Service) -> None:
    await service.has()
    costs = {
        await service.cost_of(service.forget(email))
        for email in ("ada@example.com", "nobody@example.com")
    }
    assert costs == {(0, 1, 1)}
    await service.work()
    assert service.mails_to() == ["welcome", "reset_password"]
    assert service.mails_to("nobody@example.com") == []


async def test_asking_for_a_reset_is_audited_with_where_it_came_from(service: Service) -> None:
    account = await service.has()
    await forgotten(service)
    (entry,) = service.audited(AuditType.PASSWORD_RESET_REQUESTED)
    assert (entry.subject, entry.actor) == (account.id, None)
    assert (entry.ip, entry.user_agent, entry.request_id) == (
        CLIENT.ip,
        CLIENT.user_agent,
        CLIENT.request_id,
    )


async def test_mail_goes_to_the_stored_spelling(service: Service) -> None:
    await service.has()
    await service.forget("ADA@example.com")
    await service.work()
    assert service.mails_to() == ["welcome", "reset_password"]
    assert service.mails_to("ADA@example.com") == []


async def test_an_expired_registration_gets_no_reset(service: Service) -> None:
    await service.register()
    service.clock.advance(7 * DAY)
    await service.forget()
    await service.work()
    assert service.mails_to() == []


# Reset


async def test_rs_01_a_reset_link_works_once(service: Service) -> None:
    await service.has()
    token = await forgotten(service)
    await service.reset(token)
    with pytest.raises(TokenInvalid):
        await service.reset(token, THIRD_PASSWORD)
    await service.log_in(password=OTHER_PASSWORD)


async def test_rs_01_of_two_who_use_a_link_at_once_one_succeeds(service: Service) -> None:
    await service.has()
    token = await forgotten(service)
    service.hasher.meanwhile = lambda: service.reset(token, THIRD_PASSWORD)
    with pytest.raises(TokenInvalid):
        await service.reset(token)
    await service.log_in(password=THIRD_PASSWORD)


async def test_rs_02_a_reset_link_expires_after_half_an_hour(service: Service) -> None:
    await service.has()
    token = await forgotten(service)
    service.clock.advance(timedelta(minutes=30))
    with pytest.raises(TokenInvalid):
        await service.reset(token)


async def test_a_newer_reset_link_retires_the_older(service: Service) -> None:
    await service.has()
    older = await forgotten(service)
    newer = await forgotten(service)
    with pytest.raises(TokenInvalid):
        await service.reset(older)
    await service.reset(newer)


async def test_rs_04_every_session_ends_with_a_reset(service: Service) -> None:
    await service.has()
    signed_in = [await service.log_in(), await service.log_in()]
    await service.reset(await forgotten(service))
    for session in signed_in:
        with pytest.raises(InvalidGrant):
            await service.refresh(session.refresh_token)
        with pytest.raises(AccessTokenInvalid):
            await service.caller(session)


async def test_rs_12_the_owner_is_told_of_a_reset(service: Service) -> None:
    account = await service.has()
    await service.reset(await forgotten(service))
    await service.work()
    assert service.mails_to()[-1] == "password_changed"
    assert service.last_mail().link is None
    (entry,) = service.audited(AuditType.PASSWORD_RESET)
    assert (entry.actor, entry.subject) == (account.id, account.id)


async def test_the_old_password_is_dead_after_a_reset(service: Service) -> None:
    await service.has()
    await service.reset(await forgotten(service))
    with pytest.raises(InvalidCredentials):
        await service.log_in()


async def test_a_reset_proves_the_mailbox_and_drops_what_a_stranger_set(
    service: Service,
) -> None:
    await service.register(email="victim@example.com", bio="Waiting.")
    service.put(replace(service.account(), roles=(ADMIN,)))
    await service.work()
    verification = service.mailed_token("victim@example.com")
    await service.reset(await forgotten(service, "victim@example.com"))
    account = service.account()
    assert (account.email_verified, account.bio, account.roles) == (True, None, ())
    with pytest.raises(InvalidCredentials):
        await service.log_in()
    with pytest.raises(TokenInvalid):
        await service.gatepost.accounts.verify_email(
            token=verification, password=PASSWORD, client=CLIENT
        )


async def test_a_reset_leaves_what_the_proven_owner_set(service: Service) -> None:
    await service.has(bio="Counts.")
    await service.reset(await forgotten(service))
    assert service.account().bio == "Counts."


async def test_a_reset_gives_a_suspended_account_nothing(service: Service) -> None:
    await service.has()
    token = await forgotten(service)
    service.put(replace(service.account(), status=AccountStatus.SUSPENDED))
    await service.reset(token)
    with pytest.raises(InvalidCredentials):
        await service.log_in(password=OTHER_PASSWORD)


@pytest.mark.parametrize("password", ["short", "ADA@example.com", "x" * 1025])
async def test_a_refused_password_leaves_the_link_good(service: Service, password: str) -> None:
    await service.has()
    token = await forgotten(service)
    with pytest.raises(ValidationFailed) as refused:
        await service.reset(token, password)
    assert {fault.field for fault in refused.value.errors} == {"new_password"}
    await service.reset(token)


async def test_a_full_queue_leaves_the_link_good(service: Service) -> None:
    await service.has()
    token = await forgotten(service)
    service.hasher.is_full = True
    with pytest.raises(Overloaded):
        await service.reset(token)
    service.hasher.is_full = False
    await service.reset(token)


async def test_a_reset_link_to_an_address_that_changed_meanwhile_is_refused(
    service: Service,
) -> None:
    account = await service.has()
    token = await forgotten(service)
    service.put(replace(account, email=replace(account.email, value="new@example.com")))
    with pytest.raises(TokenInvalid):
        await service.reset(token)


async def test_an_expired_registration_is_not_revived_by_a_reset(service: Service) -> None:
    await service.register()
    service.clock.advance(7 * DAY - SECOND)
    token = await forgotten(service)
    service.clock.advance(SECOND)
    with pytest.raises(TokenInvalid):
        await service.reset(token)


async def test_an_account_removed_during_a_reset_is_not_reset(service: Service) -> None:
    account = await service.has()
    token = await forgotten(service)

    async def remove() -> None:
        service.remove(account)

    service.hasher.meanwhile = remove
    with pytest.raises(TokenInvalid):
        await service.reset(token)


# Change


async def test_pw_12_a_wrong_current_password_is_refused_and_audited(service: Service) -> None:
    account = await service.has()
    caller = await service.caller(await service.log_in())
    with pytest.raises(WrongPassword):
        await service.change_password(caller, current=THIRD_PASSWORD)
    entry = service.last_entry()
    assert (entry.type, entry.result) == (AuditType.PASSWORD_CHANGED, AuditResult.FAILURE)
    assert (entry.actor, entry.subject, entry.session_id, entry.reason) == (
        account.id,
        account.id,
        caller.session_id,
        "wrong_password",
    )
    await service.log_in()


async def test_pw_12_the_present_session_goes_on_and_the_others_end(service: Service) -> None:
    await service.has()
    present, other = await service.log_in(), await service.log_in()
    await service.change_password(await service.caller(present))
    await service.refresh(present.refresh_token)
    with pytest.raises(InvalidGrant):
        await service.refresh(other.refresh_token)
    await service.log_in(password=OTHER_PASSWORD)
    with pytest.raises(InvalidCredentials):
        await service.log_in()


async def test_pw_12_the_owner_is_told_and_the_change_is_audited(service: Service) -> None:
    account = await service.has()
    caller = await service.caller(await service.log_in())
    await service.change_password(caller)
    await service.work()
    assert service.mails_to()[-1] == "password_changed"
    entry = service.last_entry()
    assert (entry.type, entry.result) == (AuditType.PASSWORD_CHANGED, AuditResult.SUCCESS)
    assert (entry.actor, entry.session_id) == (account.id, caller.session_id)


async def test_a_change_of_password_kills_reset_links(service: Service) -> None:
    await service.has()
    token = await forgotten(service)
    await service.change_password(await service.caller(await service.log_in()))
    with pytest.raises(TokenInvalid):
        await service.reset(token, THIRD_PASSWORD)


async def test_a_reset_during_a_change_of_password_wins(service: Service) -> None:
    await service.has()
    caller = await service.caller(await service.log_in())
    token = await forgotten(service)
    service.hasher.meanwhile = lambda: service.reset(token, THIRD_PASSWORD)
    with pytest.raises(WrongPassword):
        await service.change_password(caller)
    await service.log_in(password=THIRD_PASSWORD)


async def test_an_account_removed_during_a_change_of_password_is_gone(service: Service) -> None:
    account = await service.has()
    caller = await service.caller(await service.log_in())

    async def remove() -> None:
        service.remove(account)

    service.hasher.meanwhile = remove
    with pytest.raises(AccessTokenInvalid):
        await service.change_password(caller)


async def test_a_new_password_must_pass_the_policy_before_anything_is_hashed(
    service: Service,
) -> None:
    await service.has()
    caller = await service.caller(await service.log_in())
    cost = await service.cost_of(service.change_password(caller, new="password"))
    assert isinstance(service.refusal, ValidationFailed)
    assert cost == (0, 0, 0)


async def test_a_token_without_the_scope_changes_no_password(service: Service) -> None:
    account = await service.has()
    with pytest.raises(InsufficientScope):
        await service.change_password(
            Principal(account=account, session_id=None, scopes=frozenset())
        )
