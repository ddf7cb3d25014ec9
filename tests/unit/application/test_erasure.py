from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from gatepost.application.ports.delivery import JobName
from gatepost.domain.accounts import AccountStatus
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.errors import (
    AccessTokenInvalid,
    InsufficientScope,
    InvalidCredentials,
    InvalidGrant,
    LastAdmin,
    TokenInvalid,
    UsernameTaken,
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


async def delete(service: Service, caller: Principal, password: str = PASSWORD) -> None:
    await service.gatepost.accounts.delete(actor=caller, password=password, client=CLIENT)


async def signed_in(service: Service, username: str = "ada", *roles: str) -> Principal:
    await service.has(username, f"{username}@example.com", bio="Counts.")
    service.put(replace(service.account(username), roles=roles))
    return await service.caller(await service.log_in(username))


async def test_az_07_what_is_stored_about_somebody_goes_at_once(service: Service) -> None:
    caller = await signed_in(service)
    await service.forget()
    await service.work()
    token = service.mailed_token()
    await delete(service, caller)
    left = service.account()
    assert (left.id, left.username.value, left.is_placeholder) == (
        caller.account_id,
        "ada",
        True,
    )
    assert (left.email.value, left.password_hash, left.bio, left.roles) == ("", None, None, ())
    assert not service.storage.committed.sessions
    assert not service.storage.committed.tokens
    with pytest.raises(TokenInvalid):
        await service.reset(token)


async def test_az_07_who_was_signed_in_is_not_any_more(service: Service) -> None:
    await service.has()
    session = await service.log_in()
    await delete(service, await service.caller(session))
    with pytest.raises(InvalidGrant):
        await service.refresh(session.refresh_token)
    with pytest.raises(AccessTokenInvalid):
        await service.caller(session)
    for login in ("ada", "ada@example.com"):
        with pytest.raises(InvalidCredentials):
            await service.log_in(login)


async def test_az_07_the_trail_keeps_ids_and_loses_where_they_came_from(service: Service) -> None:
    caller = await signed_in(service)
    other = await signed_in(service, "grace")
    await delete(service, caller)
    own = [
        entry
        for entry in service.storage.audit_entries
        if caller.account_id in (entry.subject, entry.actor)
    ]
    assert own[-1].type is AuditType.ACCOUNT_DELETED
    assert len(own) > 3
    assert {(entry.ip, entry.user_agent) for entry in own} == {(None, None)}
    others = [row for row in service.storage.audit_entries if row.subject == other.account_id]
    assert {entry.ip for entry in others} == {CLIENT.ip}


async def test_the_former_address_is_told_and_other_mail_to_it_dropped(service: Service) -> None:
    caller = await signed_in(service)
    await service.change_password(caller)
    caller = await service.caller(await service.log_in(password=OTHER_PASSWORD))
    await delete(service, caller, OTHER_PASSWORD)
    assert [job.name for job in service.storage.queued] == [JobName.SEND_MAIL]
    await service.work()
    assert service.mails_to() == ["welcome", "account_deleted"]
    assert service.last_mail().link is None


async def test_what_was_asked_for_an_erased_address_finds_nobody(service: Service) -> None:
    caller = await signed_in(service)
    await service.forget()
    await service.resend()
    await delete(service, caller)
    await service.work()
    assert service.mails_to() == ["welcome", "account_deleted"]


async def test_the_username_stays_taken_for_90_days_and_the_address_is_free(
    service: Service,
) -> None:
    await delete(service, await signed_in(service))
    with pytest.raises(UsernameTaken):
        await service.register("ada", "other@example.com")
    assert service.account().email.value == ""
    await service.has("grace", "ada@example.com")
    service.clock.advance(90 * DAY - SECOND)
    with pytest.raises(UsernameTaken):
        await service.register("ada", "other@example.com")
    service.clock.advance(SECOND)
    await service.has("ada", "other@example.com")


async def test_what_is_left_of_an_account_is_purged_after_90_days(service: Service) -> None:
    await delete(service, await signed_in(service))
    service.clock.advance(90 * DAY - SECOND)
    await service.purge()
    assert service.account()
    service.clock.advance(SECOND)
    await service.purge()
    assert not service.storage.committed.accounts


async def test_a_wrong_password_deletes_nothing_and_is_audited(service: Service) -> None:
    caller = await signed_in(service)
    with pytest.raises(WrongPassword):
        await delete(service, caller, OTHER_PASSWORD)
    assert service.account() == caller.own_account
    entry = service.last_entry()
    assert (entry.type, entry.result, entry.ip) == (
        AuditType.ACCOUNT_DELETED,
        AuditResult.FAILURE,
        CLIENT.ip,
    )


async def test_az_05_the_last_administrator_cannot_delete_himself(service: Service) -> None:
    caller = await signed_in(service, "ada", ADMIN)
    other = await signed_in(service, "grace", ADMIN)
    suspended = replace(service.account("grace"), status=AccountStatus.SUSPENDED)
    service.put(suspended)
    with pytest.raises(LastAdmin):
        await delete(service, caller)
    assert service.account() == caller.own_account
    service.put(replace(suspended, status=AccountStatus.ACTIVE))
    await delete(service, caller)
    with pytest.raises(LastAdmin):
        await delete(service, other)


async def test_a_token_without_the_scope_deletes_nothing(service: Service) -> None:
    account = await service.has()
    with pytest.raises(InsufficientScope):
        await delete(service, Principal(account=account, session_id=None, scopes=frozenset()))


async def remove(service: Service) -> None:
    service.remove(service.account())


async def change_the_password(service: Service) -> None:
    service.put(replace(service.account(), password_hash="another"))


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
        await delete(service, caller)
    assert not service.audited(AuditType.ACCOUNT_DELETED)


async def test_az_07_nothing_is_written_into_an_account_that_was_just_erased(
    service: Service,
) -> None:
    """A request that was let in a moment before."""
    caller = await signed_in(service)
    await delete(service, caller)
    with pytest.raises(AccessTokenInvalid):
        await service.gatepost.accounts.change(actor=caller, bio="Still here.", client=CLIENT)
    with pytest.raises(WrongPassword):
        await service.change_password(caller)
    with pytest.raises(WrongPassword):
        await service.gatepost.accounts.request_email_change(
            actor=caller, new_email="new@example.com", password=PASSWORD, client=CLIENT
        )
