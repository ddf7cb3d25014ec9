from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from gatepost.domain.accounts import Account, AccountStatus
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.errors import (
    AccessTokenInvalid,
    EmailTaken,
    GatepostError,
    InsufficientScope,
    InvalidCredentials,
    InvalidGrant,
    LastAdmin,
    NotFound,
    PasswordChangeRequired,
    PermissionDenied,
    TokenInvalid,
    UsernameTaken,
    ValidationFailed,
    VersionConflict,
)
from gatepost.domain.roles import ADMIN, USER, Principal, Scope
from gatepost.testing.builders import new_id
from tests.unit.application.service import CLIENT, DAY, OTHER_PASSWORD, PASSWORD, Service
from tests.unit.application.staff import (
    OPERATOR,
    clerk,
    creates,
    has_admin,
    puts_role,
    sets_roles,
    suspends,
)

CLERK = clerk(Scope.USERS_READ, Scope.USERS_WRITE, Scope.SESSIONS_READ, Scope.SESSIONS_WRITE)
GRANTER = clerk(Scope.USERS_WRITE, Scope.ROLES_WRITE, Scope.USERS_READ)

Act = Callable[[Service, UUID, Principal], Awaitable[object]]


def amends(
    service: Service, account_id: UUID, actor: Principal, **more: Any
) -> Awaitable[Account]:
    return service.gatepost.administration.amend(
        actor=actor,
        account_id=account_id,
        versions=None,
        client=CLIENT,
        **more,
    )


ACTS: dict[str, Act] = {
    "change": amends,
    "suspend": lambda s, id_, who: s.gatepost.administration.suspend(
        actor=who, account_id=id_, client=CLIENT
    ),
    "reactivate": lambda s, id_, who: s.gatepost.administration.reactivate(
        actor=who, account_id=id_, client=CLIENT
    ),
    "delete": lambda s, id_, who: s.gatepost.administration.delete(
        actor=who, account_id=id_, versions=None, client=CLIENT
    ),
    "reset": lambda s, id_, who: s.gatepost.administration.send_reset(
        actor=who, account_id=id_, client=CLIENT
    ),
    "set roles": lambda s, id_, who: s.gatepost.administration.set_roles(
        actor=who, account_id=id_, roles=(), client=CLIENT
    ),
    "end sessions": lambda s, id_, who: s.gatepost.administration.end_sessions(
        actor=who, account_id=id_, client=CLIENT
    ),
}
EVERY_ACT = pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())


# Creation


async def test_without_a_password_the_owner_is_mailed_a_link_to_set_his_first(
    service: Service,
) -> None:
    account = await creates(service, bio="Counts.", locale="de", actor=CLERK)
    assert account == service.account("eve")
    assert (account.email_verified, account.expires_at, account.password_hash) == (
        False,
        None,
        None,
    )
    await service.work()
    assert service.mails_to("eve@example.com") == ["set_password"]
    assert service.last_mail("eve@example.com").locale == "de"
    await service.reset(service.mailed_token("eve@example.com"), PASSWORD)
    assert await service.log_in("eve")
    assert service.account("eve").bio == "Counts."


async def test_pw_15_an_initial_password_signs_nobody_in(service: Service) -> None:
    account = await creates(service, password=PASSWORD)
    assert account.password_expires_at == service.clock() + timedelta(days=7)
    with pytest.raises(PasswordChangeRequired):
        await service.log_in("eve")
    await service.work()
    assert service.mails_to("eve@example.com") == ["verify_email"]


async def test_faults_of_a_new_account_are_told_at_once(service: Service) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await creates(service, username="a", email="no", password="short", locale="!")
    assert {fault.field for fault in refused.value.errors} == {
        "username",
        "email",
        "password",
        "locale",
    }


async def test_a_new_account_takes_no_name_or_address_of_another(service: Service) -> None:
    await service.has()
    with pytest.raises(UsernameTaken):
        await creates(service, "ADA", email="new@example.com")
    with pytest.raises(EmailTaken):
        await creates(service, "new", email="ADA@example.com")


async def test_az_06_roles_at_creation_need_the_scope_for_roles(service: Service) -> None:
    assert (await creates(service, "bob", roles=[USER], actor=CLERK)).roles == ()
    with pytest.raises(PermissionDenied):
        await creates(service, roles=[ADMIN], actor=CLERK)
    entry = service.last_entry()
    assert (entry.type, entry.result, entry.reason) == (
        AuditType.ACCOUNT_CREATED,
        AuditResult.FAILURE,
        "permission_denied",
    )


async def test_az_06_nobody_creates_an_account_above_himself(service: Service) -> None:
    await puts_role(service, "reader", "users:read")
    with pytest.raises(PermissionDenied):
        await creates(service, roles=[ADMIN], actor=GRANTER, password=PASSWORD)
    assert service.hasher.work == 0
    made = await creates(service, roles=["reader", "user", "reader"], actor=GRANTER)
    assert made.roles == ("reader",)


async def test_a_role_deleted_while_the_password_was_hashed_is_not_given(
    service: Service,
) -> None:
    await puts_role(service, "reader", "users:read")

    async def delete() -> None:
        await service.gatepost.roles.delete(actor=OPERATOR, name="reader", client=CLIENT)

    service.hasher.meanwhile = delete
    with pytest.raises(ValidationFailed) as refused:
        await creates(service, roles=["reader"], password=PASSWORD)
    assert refused.value.errors[0].code == "unknown_role"


# Rules that hold for every act


@EVERY_ACT
async def test_az_06_nobody_acts_on_an_account_that_may_do_more(
    service: Service, act: Act
) -> None:
    admin = await has_admin(service)
    await has_admin(service, "second")
    almost = replace(OPERATOR, scopes=OPERATOR.scopes - {Scope.TOKENS_INTROSPECT})
    with pytest.raises(PermissionDenied):
        await act(service, admin.id, almost)
    assert service.account("root") == admin
    assert not service.queued_payloads()
    entry = service.last_entry()
    assert (entry.subject, entry.result, entry.reason) == (
        admin.id,
        AuditResult.FAILURE,
        "permission_denied",
    )


@EVERY_ACT
async def test_az_06_scopes_of_own_roles_count_too(service: Service, act: Act) -> None:
    account = await service.has()
    await puts_role(service, "auditor", "audit:read")
    await sets_roles(service, account, "auditor")
    almost = replace(OPERATOR, scopes=OPERATOR.scopes - {Scope.AUDIT_READ})
    with pytest.raises(PermissionDenied):
        await act(service, account.id, almost)
    await act(service, account.id, OPERATOR)


@EVERY_ACT
async def test_az_01_every_act_needs_its_scope(service: Service, act: Act) -> None:
    account = await service.has()
    with pytest.raises(InsufficientScope):
        await act(service, account.id, clerk(Scope.USERS_READ, Scope.SESSIONS_READ))


@EVERY_ACT
async def test_nobody_acts_on_what_is_not_there(service: Service, act: Act) -> None:
    await service.has()
    await service.register("eve", "ada@example.com")
    for account_id in (new_id(), service.account("eve").id):
        with pytest.raises(NotFound):
            await act(service, account_id, OPERATOR)


async def test_a_narrowed_token_still_acts_on_ordinary_people(service: Service) -> None:
    account = await service.has()
    narrow = Principal(account=None, session_id=None, scopes=frozenset({"users:write"}))
    assert (await suspends(service, account.id, narrow)).status is AccountStatus.SUSPENDED


@pytest.mark.parametrize("act", [ACTS["suspend"], ACTS["delete"], ACTS["set roles"]])
async def test_az_05_the_last_active_administrator_stays(service: Service, act: Act) -> None:
    admin = await has_admin(service)
    other = await has_admin(service, "second")
    await suspends(service, other.id)
    with pytest.raises(LastAdmin):
        await act(service, admin.id, OPERATOR)
    assert service.account("root") == admin
    assert (service.last_entry().subject, service.last_entry().reason) == (admin.id, "last_admin")
    await ACTS["reactivate"](service, other.id, OPERATOR)
    await act(service, admin.id, OPERATOR)


# Changes


async def test_an_account_is_changed_and_its_version_grows(service: Service) -> None:
    account = await service.has()
    before = account.updated_at
    amend = service.gatepost.administration.amend
    changed = await amend(
        actor=CLERK,
        account_id=account.id,
        versions=frozenset({before}),
        username="ada.l",
        bio="Counts.",
        locale="de",
        client=CLIENT,
    )
    assert (changed.username.value, changed.bio, changed.locale) == ("ada.l", "Counts.", "de")
    assert changed.email_verified
    assert changed.updated_at > before
    with pytest.raises(VersionConflict):
        await amend(
            actor=CLERK,
            account_id=account.id,
            versions=frozenset({before}),
            bio=None,
            client=CLIENT,
        )
    assert service.last_entry().type is AuditType.ACCOUNT_CHANGED


async def test_a_new_address_is_unproven_and_both_are_told(service: Service) -> None:
    account = await service.has()
    await service.forget()
    await service.work()
    reset = service.mailed_token()
    changed = await amends(service, account.id, CLERK, email="ada@example.org")
    assert (changed.email.value, changed.email_verified) == ("ada@example.org", False)
    assert service.last_entry().type is AuditType.EMAIL_CHANGED
    await service.work()
    assert service.mails_to()[-1] == "email_changed"
    assert service.last_mail().link is None
    assert service.mails_to("ada@example.org") == ["verify_email"]
    with pytest.raises(TokenInvalid):
        await service.reset(reset)
    assert (await service.verify("ada@example.org")).email_verified


async def test_a_new_address_of_who_has_no_password_gets_the_link_to_set_one(
    service: Service,
) -> None:
    account = await creates(service)
    await amends(service, account.id, CLERK, email="eve@example.org")
    await service.work()
    assert service.mails_to("eve@example.org") == ["set_password"]
    with pytest.raises(TokenInvalid):
        await service.reset(service.mailed_token("eve@example.com"))
    await service.reset(service.mailed_token("eve@example.org"), PASSWORD)
    assert await service.log_in("eve@example.org")


async def test_the_same_address_again_changes_nothing(service: Service) -> None:
    account = await service.has()
    changed = await amends(service, account.id, CLERK, email="ada@EXAMPLE.com")
    assert changed.email_verified
    assert not service.queued_payloads()


async def test_bad_and_taken_values_change_nothing(service: Service) -> None:
    account = await service.has()
    await service.has("bob", "bob@example.com")
    with pytest.raises(ValidationFailed) as refused:
        await amends(
            service, account.id, CLERK, username="?", email="?", bio="x" * 501, locale="?"
        )
    assert len(refused.value.errors) == 4
    with pytest.raises(UsernameTaken):
        await amends(service, account.id, CLERK, username="bob")
    with pytest.raises(EmailTaken):
        await amends(service, account.id, CLERK, email="bob@example.com")
    assert service.account() == account


# Suspension


async def test_se_13_a_suspended_account_is_out_at_once(service: Service) -> None:
    account = await service.has()
    signed_in = await service.log_in()
    await suspends(service, account.id, CLERK)
    with pytest.raises(AccessTokenInvalid):
        await service.caller(signed_in)
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.refresh_token)
    with pytest.raises(InvalidCredentials):
        await service.log_in()
    await ACTS["reactivate"](service, account.id, CLERK)
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.refresh_token)
    assert await service.log_in()


async def test_suspending_and_reactivating_again_is_no_error_and_no_news(
    service: Service,
) -> None:
    account = await service.has()
    for act, type_ in (
        (ACTS["suspend"], AuditType.ACCOUNT_SUSPENDED),
        (ACTS["reactivate"], AuditType.ACCOUNT_REACTIVATED),
    ):
        await act(service, account.id, CLERK)
        await act(service, account.id, CLERK)
        assert len(service.audited(type_)) == 1


async def test_az_11_a_suspended_administrator_is_refused(service: Service) -> None:
    await has_admin(service)
    second = await has_admin(service, "second")
    signed_in = await service.log_in("second")
    await suspends(service, second.id)
    with pytest.raises(AccessTokenInvalid):
        await service.caller(signed_in)


# Deletion, resets, roles, sessions


async def test_a_deleted_account_is_gone_and_it_is_kept_who_did_it(service: Service) -> None:
    account = await service.has()
    signed_in = await service.log_in()
    admin = await has_admin(service)
    caller = await service.caller(await service.log_in("root"))
    await ACTS["delete"](service, account.id, caller)
    with pytest.raises(AccessTokenInvalid):
        await service.caller(signed_in)
    with pytest.raises(NotFound):
        await service.gatepost.administration.show.by_id(actor=OPERATOR, account_id=account.id)
    entry = service.last_entry()
    assert (entry.type, entry.actor, entry.subject, entry.ip) == (
        AuditType.ACCOUNT_DELETED,
        admin.id,
        account.id,
        CLIENT.ip,
    )


async def test_a_deletion_needs_the_version_that_is_there(service: Service) -> None:
    account = await service.has()
    with pytest.raises(VersionConflict):
        await service.gatepost.administration.delete(
            actor=CLERK,
            account_id=account.id,
            versions=frozenset({account.updated_at + DAY}),
            client=CLIENT,
        )
    assert service.account() == account


async def test_pw_15_a_reset_mails_the_owner_a_link(service: Service) -> None:
    account = await service.has()
    await ACTS["reset"](service, account.id, CLERK)
    assert service.account() == account
    await service.work()
    assert service.mails_to()[-1] == "reset_password"
    await service.reset(service.mailed_token())
    assert await service.log_in(password=OTHER_PASSWORD)


async def test_roles_are_replaced_all_together(service: Service) -> None:
    account = await service.has()
    await puts_role(service, "reader", "users:read")
    await puts_role(service, "writer", "users:write")
    await sets_roles(service, account, "reader", actor=GRANTER)
    changed = await sets_roles(service, account, "writer", "user", actor=GRANTER)
    assert changed.roles == ("writer",)
    before = len(service.audited(AuditType.ROLES_CHANGED))
    await sets_roles(service, account, "user", "writer", actor=GRANTER)
    assert len(service.audited(AuditType.ROLES_CHANGED)) == before


@pytest.mark.parametrize(
    ("roles", "refusal"), [([ADMIN], PermissionDenied), (["unknown"], ValidationFailed)]
)
async def test_az_05_nobody_promotes_himself(
    service: Service, roles: list[str], refusal: type[GatepostError]
) -> None:
    account = await service.has()
    actor = replace(GRANTER, account=account)
    with pytest.raises(refusal):
        await sets_roles(service, account, *roles, actor=actor)
    assert service.account().roles == ()


async def test_sessions_of_another_are_listed_and_ended(service: Service) -> None:
    account = await service.has()
    signed_in = await service.log_in(device_name="telephone")
    listing = service.gatepost.administration.list_sessions
    found = await listing(actor=CLERK, account_id=account.id)
    assert [session.device_name for session in found] == ["telephone"]
    await ACTS["end sessions"](service, account.id, CLERK)
    assert service.last_entry().reason == "ended_by_administrator"
    assert list(await listing(actor=CLERK, account_id=account.id)) == []
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.refresh_token)
    with pytest.raises(NotFound):
        await listing(actor=CLERK, account_id=new_id())
    with pytest.raises(InsufficientScope):
        await listing(actor=clerk(), account_id=account.id)
