from dataclasses import replace
from datetime import timedelta

import pytest

from gatepost.application.accounts import UNSET
from gatepost.domain.accounts import AccountStatus
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.errors import (
    AccessTokenInvalid,
    InsufficientScope,
    InvalidGrant,
    TokenInvalid,
    UsernameTaken,
    ValidationFailed,
    WrongPassword,
)
from gatepost.domain.roles import Principal, Scope
from tests.unit.application.service import (
    CLIENT,
    DAY,
    HOUR,
    OTHER_PASSWORD,
    PASSWORD,
    SECOND,
    Service,
)

# Proof of the address


async def test_link_and_password_prove_the_address(service: Service) -> None:
    await service.register()
    await service.work()
    account = await service.verify()
    assert account == service.account()
    assert account.email_verified
    assert account.expires_at is None
    entry = service.last_entry()
    assert (entry.type, entry.actor, entry.subject) == (
        AuditType.EMAIL_VERIFIED,
        account.id,
        account.id,
    )


async def test_em_07_a_link_works_once(service: Service) -> None:
    await service.has()
    with pytest.raises(TokenInvalid):
        await service.verify()


async def test_em_07_of_two_who_use_a_link_at_once_one_succeeds(service: Service) -> None:
    await service.register()
    await service.work()
    service.hasher.meanwhile = service.verify
    with pytest.raises(TokenInvalid):
        await service.verify()
    assert len(service.audited(AuditType.EMAIL_VERIFIED)) == 1


async def test_em_07_a_link_expires_after_a_day(service: Service) -> None:
    await service.register()
    await service.work()
    service.clock.advance(DAY)
    with pytest.raises(TokenInvalid):
        await service.verify()


@pytest.mark.parametrize("token", ["", "nonsense", "\ud800", "x" * 5000])
async def test_em_07_an_unknown_link_is_refused_without_a_hash(
    service: Service, token: str
) -> None:
    await service.register()
    verify = service.gatepost.accounts.verify_email
    cost = await service.cost_of(verify(token=token, password=PASSWORD, client=CLIENT))
    assert isinstance(service.refusal, TokenInvalid)
    assert cost[0] == 0


async def test_em_08_a_newer_link_retires_the_older(service: Service) -> None:
    await service.register()
    await service.work()
    older = service.mailed_token()
    await service.resend()
    await service.work()
    with pytest.raises(TokenInvalid):
        await service.gatepost.accounts.verify_email(token=older, password=PASSWORD, client=CLIENT)
    assert (await service.verify()).email_verified


async def test_em_08_a_link_to_an_address_that_changed_meanwhile_is_refused(
    service: Service,
) -> None:
    await service.register()
    await service.work()
    service.put(replace(service.account(), email=replace(service.account().email, value="b@x.de")))
    with pytest.raises(TokenInvalid):
        await service.verify()


async def test_a_link_of_another_kind_proves_nothing_here(service: Service) -> None:
    await service.register()
    await service.forget()
    await service.work()
    reset = service.mailed_token()
    with pytest.raises(TokenInvalid):
        await service.gatepost.accounts.verify_email(token=reset, password=PASSWORD, client=CLIENT)


async def test_a_wrong_password_is_audited_and_leaves_the_link_good(service: Service) -> None:
    await service.register()
    await service.work()
    with pytest.raises(WrongPassword):
        await service.verify(password=OTHER_PASSWORD)
    assert not service.account().email_verified
    entry = service.last_entry()
    assert (entry.type, entry.result) == (AuditType.EMAIL_VERIFIED, AuditResult.FAILURE)
    assert (entry.subject, entry.reason) == (service.account().id, "wrong_password")
    assert (await service.verify()).email_verified


async def test_a_password_that_changed_during_the_proof_proves_nothing(service: Service) -> None:
    await service.register()
    await service.work()

    async def change() -> None:
        service.put(replace(service.account(), password_hash="another"))

    service.hasher.meanwhile = change
    with pytest.raises(TokenInvalid):
        await service.verify()
    assert not service.account().email_verified


async def test_an_expired_registration_is_not_proven_by_a_link_that_lives(
    service: Service,
) -> None:
    await service.register()
    service.clock.advance(7 * DAY - HOUR)
    await service.resend()
    await service.work()
    service.clock.advance(HOUR)
    with pytest.raises(TokenInvalid):
        await service.verify()


async def test_sessions_older_than_the_proof_end(open_service: Service) -> None:
    await open_service.register()
    await open_service.work()
    signed_in = await open_service.log_in()
    await open_service.verify()
    with pytest.raises(InvalidGrant):
        await open_service.refresh(signed_in.refresh_token)


async def test_a_stranger_may_be_reported_right_after_the_proof(service: Service) -> None:
    await service.has()
    assert service.account().notified_at is None


# A fresh link


async def test_en_08_a_fresh_link_is_asked_for_alike_by_everybody(service: Service) -> None:
    await service.has("bob", "bob@example.com")
    await service.register()
    costs = {
        await service.cost_of(service.resend(email))
        for email in ("ada@example.com", "bob@example.com", "nobody@example.com")
    }
    assert costs == {(0, 1, 1)}
    await service.work()
    assert service.mails_to("bob@example.com") == ["welcome"]
    assert service.mails_to("nobody@example.com") == []
    assert service.mails_to() == ["welcome", "verify_email"]


async def test_a_suspended_or_expired_account_gets_no_fresh_link(service: Service) -> None:
    await service.register()
    service.put(replace(service.account(), status=AccountStatus.SUSPENDED))
    await service.resend()
    await service.work()
    service.put(replace(service.account(), status=AccountStatus.ACTIVE))
    service.clock.advance(7 * DAY)
    await service.resend()
    await service.work()
    assert service.mails_to() == ["welcome"]


async def test_a_strangers_registration_does_not_retire_a_link_just_mailed(
    service: Service,
) -> None:
    await service.register()
    service.clock.advance(HOUR)
    await service.resend()
    await service.work()
    await service.register("eve")
    await service.work()
    assert service.mails_to() == ["welcome", "verify_email"]


async def test_what_is_no_address_is_refused_at_once(service: Service) -> None:
    with pytest.raises(ValidationFailed):
        await service.resend("nobody")


# The caller's own account


async def test_the_own_account_is_read_as_it_is(service: Service) -> None:
    await service.has()
    caller = await service.caller(await service.log_in())
    assert await service.gatepost.accounts.read(actor=caller) == service.account()


async def test_username_bio_and_locale_are_changed_and_audited(service: Service) -> None:
    await service.has()
    caller = await service.caller(await service.log_in())
    service.clock.advance(SECOND)
    changed = await service.gatepost.accounts.change(
        actor=caller, username="Countess", bio="Counts.", locale="de-AT", client=CLIENT
    )
    assert changed == service.account("countess")
    assert (changed.username.value, changed.bio, changed.locale) == (
        "Countess",
        "Counts.",
        "de-AT",
    )
    assert changed.updated_at == service.clock()
    assert service.last_entry().type is AuditType.ACCOUNT_CHANGED
    assert service.last_entry().actor == changed.id


async def test_what_is_left_out_stays_and_null_empties_the_bio(service: Service) -> None:
    await service.has(bio="Counts.")
    caller = await service.caller(await service.log_in())
    change = service.gatepost.accounts.change
    assert (await change(actor=caller, bio=UNSET, client=CLIENT)).bio == "Counts."
    emptied = await change(actor=caller, bio=None, client=CLIENT)
    assert (emptied.username.value, emptied.bio, emptied.locale) == ("ada", None, "en")


async def test_every_faulty_field_of_a_change_is_named_and_nothing_changes(
    service: Service,
) -> None:
    await service.has()
    caller = await service.caller(await service.log_in())
    with pytest.raises(ValidationFailed) as refused:
        await service.gatepost.accounts.change(
            actor=caller, username="a", bio="x" * 501, locale="?", client=CLIENT
        )
    assert [fault.field for fault in refused.value.errors] == ["username", "bio", "locale"]
    assert service.account().locale == "en"


async def test_a_username_that_somebody_has_is_refused(service: Service) -> None:
    await service.has()
    await service.register("bob", "bob@example.com")
    caller = await service.caller(await service.log_in())
    with pytest.raises(UsernameTaken):
        await service.gatepost.accounts.change(actor=caller, username="BOB", client=CLIENT)


async def test_an_account_that_is_gone_changes_nothing(service: Service) -> None:
    account = await service.has()
    caller = await service.caller(await service.log_in())
    service.remove(account)
    with pytest.raises(AccessTokenInvalid):
        await service.gatepost.accounts.change(actor=caller, bio="x", client=CLIENT)


async def test_reading_and_changing_need_their_scopes(service: Service) -> None:
    account = await service.has()
    reader = Principal(
        account=account, session_id=None, scopes=frozenset({Scope.ACCOUNT_READ.value})
    )
    with pytest.raises(InsufficientScope):
        await service.gatepost.accounts.change(actor=reader, bio="x", client=CLIENT)
    with pytest.raises(InsufficientScope):
        await service.gatepost.accounts.read(actor=replace(reader, scopes=frozenset()))


async def test_a_link_lives_a_day_from_when_it_was_made(service: Service) -> None:
    await service.register()
    await service.work()
    service.clock.advance(DAY - timedelta(seconds=1))
    assert (await service.verify()).email_verified
