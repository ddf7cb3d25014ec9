from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from gatepost.adapters.memory import PlainPasswordHasher
from gatepost.domain.accounts import Account, AccountStatus
from gatepost.domain.addresses import EmailAddress
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.errors import (
    AccessTokenInvalid,
    EmailTaken,
    InsufficientScope,
    InvalidCredentials,
    InvalidGrant,
    TokenInvalid,
    ValidationFailed,
    WrongPassword,
)
from gatepost.domain.roles import Principal
from gatepost.testing.builders import an_account
from tests.unit.application.service import CLIENT, DAY, OTHER_PASSWORD, PASSWORD, Service

OLD, NEW, NEWER = "ada@example.com", "Ada.L@example.org", "ada@example.net"


async def ask(
    service: Service, caller: Principal, new_email: str = NEW, password: str = PASSWORD
) -> None:
    await service.gatepost.accounts.request_email_change(
        actor=caller, new_email=new_email, password=password, client=CLIENT
    )


async def signed_in(service: Service) -> Principal:
    await service.has()
    return await service.caller(await service.log_in())


async def asked(service: Service, new_email: str = NEW) -> Principal:
    """Sign in and ask for a change; both mails are out."""
    caller = await signed_in(service)
    await ask(service, caller, new_email)
    await service.work()
    return caller


async def changed(service: Service) -> Principal:
    caller = await asked(service)
    await service.verify(NEW)
    return caller


async def undo(service: Service, token: str) -> None:
    await service.gatepost.accounts.undo_email_change(token=token, client=CLIENT)


async def remove(service: Service) -> None:
    service.remove(service.account())


async def change_the_password(service: Service) -> None:
    service.put(replace(service.account(), password_hash="another"))


async def take(service: Service, email: str) -> Account:
    """Give an address to somebody who proved it."""
    password_hash = await PlainPasswordHasher().hash(PASSWORD)
    rival = an_account(username="rival", email=email, password_hash=password_hash)
    service.put(rival)
    return rival


# Asked for


async def test_em_09_nothing_changes_until_the_new_address_is_proven(service: Service) -> None:
    caller = await asked(service)
    assert service.account() == caller.own_account
    assert service.mails_to(NEW) == ["confirm_email"]
    assert "/confirm-email#token=" in (service.last_mail(NEW).link or "")
    assert service.mails_to(OLD) == ["welcome", "email_change_requested"]
    assert "/undo-email#token=" in (service.last_mail(OLD).link or "")
    await service.log_in(OLD)
    with pytest.raises(InvalidCredentials):
        await service.log_in(NEW)


async def test_em_09_a_change_is_asked_for_with_the_password(service: Service) -> None:
    caller = await signed_in(service)
    with pytest.raises(WrongPassword):
        await ask(service, caller, password=OTHER_PASSWORD)
    await service.work()
    assert service.mails_to(NEW) == []
    entry = service.last_entry()
    assert (entry.type, entry.result, entry.reason) == (
        AuditType.EMAIL_CHANGE_REQUESTED,
        AuditResult.FAILURE,
        "wrong_password",
    )
    assert (entry.actor, entry.session_id) == (caller.account_id, caller.session_id)


async def test_em_09_a_taken_address_is_not_revealed(service: Service) -> None:
    caller = await signed_in(service)
    await take(service, NEW)
    costs = {await service.cost_of(ask(service, caller, email)) for email in (NEW, NEWER)}
    assert len(costs) == 1
    await service.work()
    assert service.mails_to(NEW) == []
    assert service.mails_to(NEWER) == ["confirm_email"]
    assert service.mails_to(OLD)[-2:] == ["email_change_requested"] * 2


async def test_asking_for_a_change_is_audited(service: Service) -> None:
    caller = await asked(service)
    (entry,) = service.audited(AuditType.EMAIL_CHANGE_REQUESTED)
    assert (entry.actor, entry.subject, entry.session_id) == (
        caller.account_id,
        caller.account_id,
        caller.session_id,
    )


async def test_a_new_address_must_be_one(service: Service) -> None:
    caller = await signed_in(service)
    cost = await service.cost_of(ask(service, caller, "ada@localhost"))
    assert isinstance(service.refusal, ValidationFailed)
    assert service.refusal.errors[0].field == "new_email"
    assert cost == (0, 0, 0)


async def test_a_token_without_the_scope_asks_for_no_change(service: Service) -> None:
    account = await service.has()
    with pytest.raises(InsufficientScope):
        await ask(service, Principal(account=account, session_id=None, scopes=frozenset()))


@pytest.mark.parametrize(
    ("happening", "refusal"), [(remove, AccessTokenInvalid), (change_the_password, WrongPassword)]
)
async def test_what_happens_while_the_password_is_checked_counts(
    service: Service,
    happening: Callable[[Service], Awaitable[None]],
    refusal: type[Exception],
) -> None:
    caller = await signed_in(service)
    service.hasher.meanwhile = lambda: happening(service)
    with pytest.raises(refusal):
        await ask(service, caller)
    assert not service.storage.queued


async def test_ob_08_a_mail_for_a_change_that_was_cancelled_is_not_sent(service: Service) -> None:
    caller = await signed_in(service)
    await ask(service, caller)
    await service.change_password(caller)
    await service.work()
    assert service.mails_to(NEW) == []


async def test_the_spelling_of_the_own_address_can_be_changed(service: Service) -> None:
    await asked(service, "ADA@example.com")
    await service.verify("ADA@example.com")
    assert service.account().email.value == "ADA@example.com"


# Confirmed


async def test_em_09_the_change_happens_at_its_confirmation(service: Service) -> None:
    caller = await asked(service)
    account = await service.verify(NEW)
    assert (account.email.value, account.email_verified) == (NEW, True)
    assert account == service.account()
    entry = service.last_entry()
    assert (entry.type, entry.subject) == (AuditType.EMAIL_CHANGED, caller.account_id)
    await service.work()
    assert service.mails_to(OLD)[-1] == "email_changed"
    await service.log_in(NEW)
    with pytest.raises(InvalidCredentials):
        await service.log_in(OLD)


async def test_sessions_outlast_a_change_of_address(service: Service) -> None:
    await service.has()
    session = await service.log_in()
    await ask(service, await service.caller(session))
    await service.work()
    await service.verify(NEW)
    await service.refresh(session.refresh_token)


async def test_em_07_a_change_is_confirmed_once(service: Service) -> None:
    await asked(service)
    token = service.mailed_token(NEW)
    await service.verify(NEW)
    with pytest.raises(TokenInvalid):
        await service.gatepost.accounts.verify_email(token=token, password=PASSWORD, client=CLIENT)


async def test_em_07_of_two_who_confirm_at_once_one_succeeds(service: Service) -> None:
    await asked(service)
    service.hasher.meanwhile = lambda: service.verify(NEW)
    with pytest.raises(TokenInvalid):
        await service.verify(NEW)
    assert len(service.audited(AuditType.EMAIL_CHANGED)) == 1


async def test_em_07_the_link_to_the_new_address_lives_a_day(service: Service) -> None:
    await asked(service)
    service.clock.advance(DAY)
    with pytest.raises(TokenInvalid):
        await service.verify(NEW)


async def test_em_08_a_newer_change_retires_the_older(service: Service) -> None:
    caller = await asked(service)
    await ask(service, caller, NEWER)
    await service.work()
    with pytest.raises(TokenInvalid):
        await service.verify(NEW)
    await service.verify(NEWER)


async def test_em_08_reset_links_to_the_old_address_die_with_the_change(service: Service) -> None:
    await asked(service)
    await service.forget()
    await service.work()
    token = service.mailed_token(OLD)
    await service.verify(NEW)
    with pytest.raises(TokenInvalid):
        await service.reset(token)


async def test_a_wrong_password_leaves_the_link_good(service: Service) -> None:
    await asked(service)
    with pytest.raises(WrongPassword):
        await service.verify(NEW, OTHER_PASSWORD)
    entry = service.last_entry()
    assert (entry.type, entry.result) == (AuditType.EMAIL_CHANGED, AuditResult.FAILURE)
    await service.verify(NEW)


async def test_an_address_taken_meanwhile_is_refused_and_the_link_stays_good(
    service: Service,
) -> None:
    await asked(service)
    rival = await take(service, NEW)
    with pytest.raises(EmailTaken):
        await service.verify(NEW)
    assert service.account().email.value == OLD
    service.remove(rival)
    await service.verify(NEW)


async def test_an_account_suspended_meanwhile_changes_nothing(service: Service) -> None:
    await asked(service)
    service.put(replace(service.account(), status=AccountStatus.SUSPENDED))
    with pytest.raises(TokenInvalid):
        await service.verify(NEW)
    assert service.account().email.value == OLD


@pytest.mark.parametrize("by", ["change", "reset"])
async def test_a_change_of_password_cancels_a_pending_change(service: Service, by: str) -> None:
    caller = await asked(service)
    if by == "change":
        await service.change_password(caller)
    else:
        await service.forget()
        await service.work()
        await service.reset(service.mailed_token(OLD))
    with pytest.raises(TokenInvalid):
        await service.verify(NEW, OTHER_PASSWORD)


# Undone


async def test_a_pending_change_is_cancelled_by_the_old_address(service: Service) -> None:
    await asked(service)
    await undo(service, service.mailed_token(OLD))
    with pytest.raises(TokenInvalid):
        await service.verify(NEW)
    assert service.account().email.value == OLD


async def test_a_change_is_taken_back_and_whoever_made_it_is_out(service: Service) -> None:
    await service.has()
    session = await service.log_in()
    await ask(service, await service.caller(session))
    await service.work()
    token = service.mailed_token(OLD)
    await service.verify(NEW)
    await undo(service, token)
    account = service.account()
    assert (account.email.value, account.email_verified, account.password_hash) == (
        OLD,
        True,
        None,
    )
    with pytest.raises(InvalidGrant):
        await service.refresh(session.refresh_token)
    for login in (OLD, NEW, "ada"):
        with pytest.raises(InvalidCredentials):
            await service.log_in(login)
    entry = service.last_entry()
    assert service.audited(AuditType.EMAIL_CHANGE_UNDONE)[-1].result is AuditResult.SUCCESS
    assert entry.subject == account.id


async def test_the_owner_sets_a_new_password_after_an_undo(service: Service) -> None:
    await changed(service)
    await undo(service, service.mailed_token(OLD))
    await service.work()
    assert service.mails_to(OLD)[-2:] == ["email_change_undone", "reset_password"]
    await service.reset(service.mailed_token(OLD))
    await service.log_in(OLD, OTHER_PASSWORD)


async def test_the_stored_spelling_comes_back(service: Service) -> None:
    await service.has(email="Ada@example.com")
    caller = await service.caller(await service.log_in())
    await ask(service, caller)
    await service.work()
    token = service.mailed_token("Ada@example.com")
    await service.verify(NEW)
    await undo(service, token)
    assert service.account().email.value == "Ada@example.com"


async def test_a_link_to_undo_works_once_and_for_three_days(service: Service) -> None:
    await changed(service)
    token = service.mailed_token(OLD)
    service.clock.advance(3 * DAY)
    with pytest.raises(TokenInvalid):
        await undo(service, token)
    service.clock.now -= DAY
    await undo(service, token)
    for spent in (token, "unknown"):
        with pytest.raises(TokenInvalid):
            await undo(service, spent)


@pytest.mark.parametrize("by", ["change", "reset"])
async def test_whoever_stole_the_account_cannot_cost_its_owner_the_way_back(
    service: Service, by: str
) -> None:
    """He confirms, sets another password, and moves on to one more address."""
    caller = await asked(service)
    token = service.mailed_token(OLD)
    await service.verify(NEW)
    if by == "change":
        await service.change_password(await service.caller(await service.log_in()))
    else:
        await service.forget(NEW)
        await service.work()
        await service.reset(service.mailed_token(NEW))
    service.clock.advance(DAY)
    caller = await service.caller(await service.log_in(password=OTHER_PASSWORD))
    await ask(service, caller, NEWER, OTHER_PASSWORD)
    await service.work()
    later = service.mailed_token(NEW)
    await service.verify(NEWER, OTHER_PASSWORD)
    await undo(service, token)
    assert service.account().email.value == OLD
    with pytest.raises(TokenInvalid):
        await undo(service, later)


async def test_a_later_undo_leaves_the_earlier_one_good(service: Service) -> None:
    caller = await changed(service)
    first = service.mailed_token(OLD)
    service.clock.advance(DAY)
    caller = await service.caller(await service.log_in())
    await ask(service, caller, NEWER)
    await service.work()
    await undo(service, service.mailed_token(NEW))
    assert service.account().email.value == NEW
    await undo(service, first)
    assert service.account().email.value == OLD


async def test_who_registered_with_the_old_address_and_never_proved_it_gives_way(
    service: Service,
) -> None:
    await changed(service)
    token = service.mailed_token(OLD)
    await service.register("mallory", OLD, OTHER_PASSWORD)
    await service.work()
    mallorys = service.mailed_token(OLD)
    await undo(service, token)
    assert service.account().email.value == OLD
    assert service.account("mallory").is_placeholder
    with pytest.raises(TokenInvalid):
        await service.gatepost.accounts.verify_email(
            token=mallorys, password=OTHER_PASSWORD, client=CLIENT
        )


async def test_an_old_address_that_another_account_proved_leaves_this_one_locked(
    service: Service,
) -> None:
    """Its present address may be the thief's: he must not mail himself a reset link."""
    await changed(service)
    rival = await take(service, OLD)
    with pytest.raises(EmailTaken):
        await undo(service, service.mailed_token(OLD))
    account = service.account()
    assert (account.email.value, account.status, account.password_hash) == (
        NEW,
        AccountStatus.SUSPENDED,
        None,
    )
    assert service.account("rival") == rival
    entry = service.audited(AuditType.EMAIL_CHANGE_UNDONE)[-1]
    assert (entry.result, entry.reason) == (AuditResult.FAILURE, "email_taken")
    assert not service.storage.committed.tokens


async def test_a_change_that_is_undone_during_its_confirmation_does_not_happen(
    service: Service,
) -> None:
    await asked(service)
    service.hasher.meanwhile = lambda: undo(service, service.mailed_token(OLD))
    with pytest.raises(TokenInvalid):
        await service.verify(NEW)
    assert service.account().email == EmailAddress(OLD)


async def test_an_account_removed_meanwhile_has_nothing_to_undo(service: Service) -> None:
    await changed(service)
    token = service.mailed_token(OLD)
    await remove(service)
    with pytest.raises(TokenInvalid):
        await undo(service, token)
