from dataclasses import replace
from datetime import timedelta

import pytest

from gatepost import Policies, assemble
from gatepost.application.ports.sessions import ByTransaction
from gatepost.domain.accounts import AccountPolicy, AccountStatus
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.errors import (
    AccessTokenInvalid,
    EmailNotVerified,
    InsufficientScope,
    InvalidCredentials,
    InvalidGrant,
    NotFound,
    Overloaded,
    Unauthenticated,
    ValidationFailed,
)
from gatepost.domain.roles import ADMIN, Principal, Scope
from gatepost.testing.builders import new_id
from tests.unit.application.service import (
    CLIENT,
    DAY,
    OTHER_PASSWORD,
    PASSWORD,
    SECOND,
    Service,
)

GRACE = timedelta(seconds=10)


# Sign in


@pytest.mark.parametrize("login", ["ada", "ADA", "ada@example.com", "Ada@EXAMPLE.com"])
async def test_name_and_address_sign_in_in_any_case(service: Service, login: str) -> None:
    account = await service.has()
    signed_in = await service.log_in(login, device_name="Laptop")
    (session,) = service.storage.committed.sessions.values()
    assert (session.id, session.account_id) == (signed_in.session_id, account.id)
    assert (session.device_name, session.user_agent, session.ip) == (
        "Laptop",
        CLIENT.user_agent,
        CLIENT.ip,
    )
    assert signed_in.scope == "account:read account:write"
    assert signed_in.expires_in == timedelta(minutes=15)
    assert signed_in.refresh_expires_in == timedelta(days=30)


async def test_the_access_token_says_who_and_what(service: Service) -> None:
    account = await service.has()
    signed_in = await service.log_in()
    claims = service.ports.access_tokens.verify(signed_in.access_token)
    assert (claims.subject, claims.session_id) == (account.id, signed_in.session_id)
    assert (claims.client_id, claims.roles) == ("gatepost", ("user",))
    assert claims.scope == signed_in.scope


async def test_tokens_are_not_shown_when_printed(service: Service) -> None:
    await service.has()
    signed_in = await service.log_in()
    assert signed_in.access_token not in repr(signed_in)
    assert signed_in.refresh_token not in repr(signed_in)


async def test_az_09_a_sign_in_is_audited(service: Service) -> None:
    account = await service.has()
    signed_in = await service.log_in()
    entry = service.last_entry()
    assert (entry.type, entry.actor, entry.session_id) == (
        AuditType.SESSION_CREATED,
        account.id,
        signed_in.session_id,
    )


@pytest.mark.parametrize("domain", ["", "@example.com"])
async def test_en_01_unknown_and_wrong_are_refused_alike(service: Service, domain: str) -> None:
    await service.has()
    costs = []
    for name, password in (("ada", OTHER_PASSWORD), ("nobody", PASSWORD)):
        costs.append(await service.cost_of(service.log_in(name + domain, password)))
        assert isinstance(service.refusal, InvalidCredentials)
    assert costs[0] == costs[1]


async def test_en_01_a_wrong_guess_costs_the_same_whatever_is_known_of_an_address(
    service: Service,
) -> None:
    await service.has("proven", "proven@example.com")
    await service.register("pending", "pending@example.com")
    await service.has("both", "both@example.com")
    await service.register("rival1", "both@example.com")
    await service.register("rival2", "pending@example.com")
    costs = set()
    for name in ("proven", "pending", "both", "nobody"):
        costs.add(await service.cost_of(service.log_in(f"{name}@example.com", OTHER_PASSWORD)))
        assert isinstance(service.refusal, InvalidCredentials)
    assert costs == {(2, 2, 0)}


async def test_en_05_who_registers_an_address_learns_nothing_by_signing_in_with_it(
    service: Service,
) -> None:
    await service.has("proven", "proven@example.com")
    await service.register("pending", "pending@example.com")
    await service.register("first", "first@example.com", OTHER_PASSWORD)
    costs = set()
    for name in ("proven", "pending", "nobody"):
        service.clock.advance(SECOND)
        await service.register("first", f"{name}@example.com", OTHER_PASSWORD)
        costs.add(await service.cost_of(service.log_in(f"{name}@example.com", OTHER_PASSWORD)))
        assert isinstance(service.refusal, EmailNotVerified)
        costs.add(await service.cost_of(service.log_in(f"{name}@example.com", "wrong password")))
        assert isinstance(service.refusal, InvalidCredentials)
    assert costs == {(2, 2, 0)}


async def test_an_owner_signs_in_beside_a_placeholder_with_the_same_password(
    service: Service,
) -> None:
    account = await service.has()
    await service.register("ada2")
    signed_in = await service.log_in("ada@example.com")
    assert (await service.caller(signed_in)).account_id == account.id


@pytest.mark.parametrize("login", ["ada", "ada@example.com"])
async def test_em_05_an_unproven_address_is_told_only_after_the_right_password(
    service: Service, login: str
) -> None:
    await service.register()
    with pytest.raises(EmailNotVerified):
        await service.log_in(login)
    entry = service.last_entry()
    assert (entry.type, entry.subject) == (AuditType.SESSION_REFUSED, service.account().id)
    assert entry.reason == "email_not_verified"
    with pytest.raises(InvalidCredentials):
        await service.log_in(login, OTHER_PASSWORD)
    assert not service.storage.committed.sessions


async def test_without_proof_an_unproven_address_signs_in(open_service: Service) -> None:
    await open_service.register()
    await open_service.log_in("ada")
    await open_service.log_in("ada@example.com")


async def test_a_placeholder_never_signs_in(service: Service) -> None:
    await service.has()
    await service.register("eve", password=OTHER_PASSWORD)
    policies = Policies(accounts=AccountPolicy(require_verified_email=False))
    service.gatepost = assemble(service.ports, policies)
    for login in ("eve", "ada@example.com"):
        with pytest.raises(EmailNotVerified):
            await service.log_in(login, OTHER_PASSWORD)


@pytest.mark.parametrize("login", ["ada", "ada@example.com"])
async def test_se_13_a_suspended_account_is_refused_like_a_wrong_password(
    service: Service, login: str
) -> None:
    await service.has()
    wrong = await service.cost_of(service.log_in(login, OTHER_PASSWORD))
    service.put(replace(service.account(), status=AccountStatus.SUSPENDED))
    assert await service.cost_of(service.log_in(login)) == wrong
    assert isinstance(service.refusal, InvalidCredentials)


async def test_an_expired_registration_is_refused_like_a_wrong_password(
    service: Service,
) -> None:
    await service.register()
    service.clock.advance(7 * DAY)
    for login in ("ada", "ada@example.com"):
        with pytest.raises(InvalidCredentials):
            await service.log_in(login)


# The last one kept the standard library's punycode busy for a minute.
@pytest.mark.parametrize(
    "login",
    [
        "",
        "x",
        "no body",
        "a@b@c",
        "@",
        "x" * 60_000,
        "\ud800@x.de",
        "a@" + "".join(map(chr, range(0x4E00, 0x9000))) + ".de",
    ],
    ids=lambda login: ascii(login[:8]),
)
async def test_what_can_be_no_login_is_refused_like_an_unknown_one(
    service: Service, login: str
) -> None:
    with pytest.raises(InvalidCredentials):
        await service.log_in(login)
    assert service.hasher.work == 1
    assert service.last_entry().subject is None


async def test_a_refused_sign_in_is_audited_without_the_login_as_typed(service: Service) -> None:
    account = await service.has()
    with pytest.raises(InvalidCredentials):
        await service.log_in("ada", OTHER_PASSWORD)
    entry = service.last_entry()
    assert (entry.type, entry.result) == (AuditType.SESSION_REFUSED, AuditResult.FAILURE)
    assert (entry.actor, entry.subject) == (None, account.id)
    assert (entry.reason, entry.ip) == ("invalid_credentials", CLIENT.ip)
    with pytest.raises(InvalidCredentials):
        await service.log_in("my-password-by-mistake", PASSWORD)
    assert "my-password-by-mistake" not in repr(service.last_entry())


async def test_pw_10_a_password_that_is_too_long_is_refused_before_any_work(
    service: Service,
) -> None:
    assert await service.cost_of(service.log_in("ada", "x" * 1025)) == (0, 0, 0)
    assert isinstance(service.refusal, ValidationFailed)


async def test_pw_13_an_old_hash_is_upgraded_at_the_next_sign_in(service: Service) -> None:
    await service.has()
    service.hasher.params = "2"
    await service.log_in()
    assert (service.account().password_hash or "").startswith("plain$2$")
    await service.log_in()


async def test_pw_13_a_full_queue_only_puts_the_upgrade_off(service: Service) -> None:
    await service.has()
    service.hasher.params, service.hasher.is_full = "2", True
    await service.log_in()
    assert (service.account().password_hash or "").startswith("plain$1$")


async def test_two_sign_ins_that_upgrade_the_hash_at_once_both_succeed(service: Service) -> None:
    await service.has()
    service.hasher.params, service.hasher.meanwhile = "2", service.log_in
    await service.log_in()
    assert len(service.storage.committed.sessions) == 2


async def test_a_full_queue_refuses_a_sign_in(service: Service) -> None:
    async def refuse() -> None:
        raise Overloaded

    await service.has()
    service.hasher.meanwhile = refuse
    with pytest.raises(Overloaded):
        await service.log_in()


async def test_se_21_no_session_is_made_with_a_password_that_changed_meanwhile(
    service: Service,
) -> None:
    await service.has()
    caller = await service.caller(await service.log_in())
    service.hasher.meanwhile = lambda: service.change_password(caller)
    with pytest.raises(InvalidCredentials):
        await service.log_in()
    assert [row.id for row in service.storage.committed.sessions.values()] == [caller.session_id]
    assert service.last_entry().type is AuditType.SESSION_REFUSED


@pytest.mark.parametrize("change", ["suspended", "removed", "unproven"])
async def test_an_account_that_changed_during_the_sign_in_starts_no_session(
    service: Service, change: str
) -> None:
    account = await service.has()
    changed = {
        "suspended": replace(account, status=AccountStatus.SUSPENDED),
        "unproven": replace(account, email_verified=False),
    }

    async def meanwhile() -> None:
        service.put(changed[change]) if change in changed else service.remove(account)

    service.hasher.meanwhile = meanwhile
    with pytest.raises((InvalidCredentials, EmailNotVerified)):
        await service.log_in()
    assert not service.storage.committed.sessions


# Refresh


async def test_se_01_a_refresh_rotates_the_token(service: Service) -> None:
    await service.has()
    first = await service.log_in()
    service.clock.advance(DAY)
    second = await service.refresh(first.refresh_token)
    assert second.session_id == first.session_id
    assert second.refresh_token != first.refresh_token
    assert second.access_token != first.access_token
    assert second.refresh_expires_in == timedelta(days=30)
    assert (await service.refresh(second.refresh_token)).session_id == first.session_id


async def test_se_01_the_predecessor_gives_the_same_successor_within_the_grace(
    service: Service,
) -> None:
    await service.has()
    first = await service.log_in()
    second = await service.refresh(first.refresh_token)
    service.clock.advance(GRACE)
    again = await service.refresh(first.refresh_token)
    assert again.refresh_token == second.refresh_token
    assert not service.audited(AuditType.REFRESH_REUSED)


async def test_se_02_the_predecessor_after_the_grace_ends_the_session(service: Service) -> None:
    account = await service.has()
    first, elsewhere = await service.log_in(), await service.log_in()
    second = await service.refresh(first.refresh_token)
    service.clock.advance(GRACE + SECOND)
    for token in (first.refresh_token, second.refresh_token):
        with pytest.raises(InvalidGrant):
            await service.refresh(token)
    with pytest.raises(AccessTokenInvalid):
        await service.caller(second)
    await service.refresh(elsewhere.refresh_token)
    (entry,) = service.audited(AuditType.REFRESH_REUSED)
    assert (entry.result, entry.reason) == (AuditResult.FAILURE, "late_parent")
    assert (entry.subject, entry.session_id) == (account.id, first.session_id)


async def test_re_08_a_clock_that_jumps_throws_nobody_out_and_lets_nobody_in(
    service: Service,
) -> None:
    await service.has()
    spent, ended, kept = [await service.log_in() for _ in range(3)]
    await service.refresh(spent.refresh_token)
    await service.gatepost.sessions.log_out(access_token=ended.access_token, client=CLIENT)
    for jump in (3600 * SECOND, -4200 * SECOND):
        service.clock.advance(jump)
        kept = await service.refresh(kept.refresh_token)
        assert await service.caller(kept)
        with pytest.raises(InvalidGrant):
            await service.refresh(ended.refresh_token)
    # Not within the grace, though its moment has not come yet.
    with pytest.raises(InvalidGrant):
        await service.refresh(spent.refresh_token)


async def test_se_02_a_token_two_generations_old_ends_the_session_at_once(
    service: Service,
) -> None:
    await service.has()
    first = await service.log_in()
    second = await service.refresh(first.refresh_token)
    third = await service.refresh(second.refresh_token)
    for token in (first.refresh_token, third.refresh_token):
        with pytest.raises(InvalidGrant):
            await service.refresh(token)
    (entry,) = service.audited(AuditType.REFRESH_REUSED)
    assert entry.reason == "stale"


@pytest.mark.parametrize("token", ["", "nonsense", "gpr_00", "gpr_" + "0" * 160])
async def test_an_unknown_token_is_refused_without_a_trace(service: Service, token: str) -> None:
    await service.has()
    await service.log_in()
    before = len(service.storage.audit_entries)
    with pytest.raises(InvalidGrant):
        await service.refresh(token)
    assert len(service.storage.audit_entries) == before


async def test_a_session_ends_when_it_is_not_used_and_at_last(service: Service) -> None:
    await service.has()
    idle = await service.log_in()
    service.clock.advance(timedelta(days=30))
    with pytest.raises(InvalidGrant):
        await service.refresh(idle.refresh_token)
    signed_in = await service.log_in()
    for _ in range(4):
        service.clock.advance(timedelta(days=20))
        signed_in = await service.refresh(signed_in.refresh_token)
    assert signed_in.refresh_expires_in == timedelta(days=10)
    service.clock.advance(timedelta(days=10))
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.refresh_token)


async def test_se_14_roles_reach_the_token_at_the_next_refresh(service: Service) -> None:
    account = await service.has()
    service.put(replace(account, roles=(ADMIN,)))
    signed_in = await service.log_in()
    assert "users:write" in signed_in.scope
    service.put(replace(account, roles=()))
    refreshed = await service.refresh(signed_in.refresh_token)
    assert refreshed.scope == "account:read account:write"


async def test_se_13_a_suspended_account_refreshes_nothing_and_calls_nothing(
    service: Service,
) -> None:
    account = await service.has()
    signed_in = await service.log_in()
    service.put(replace(account, status=AccountStatus.SUSPENDED))
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.refresh_token)
    with pytest.raises(AccessTokenInvalid):
        await service.caller(signed_in)


# Who is asking


async def test_se_11_neither_token_serves_as_the_other(service: Service) -> None:
    await service.has()
    signed_in = await service.log_in()
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.access_token)
    with pytest.raises(AccessTokenInvalid):
        await service.gatepost.sessions.authenticate(access_token=signed_in.refresh_token)


async def test_an_access_token_expires(service: Service) -> None:
    await service.has()
    signed_in = await service.log_in()
    service.clock.advance(timedelta(minutes=15))
    with pytest.raises(AccessTokenInvalid):
        await service.caller(signed_in)


async def test_a_caller_is_his_account_his_session_and_the_scopes_of_his_token(
    service: Service,
) -> None:
    account = await service.has()
    signed_in = await service.log_in()
    service.put(replace(account, roles=(ADMIN,)))
    caller = await service.caller(signed_in)
    assert caller.account == service.account()
    assert caller.session_id == signed_in.session_id
    assert caller.scopes == {"account:read", "account:write"}


async def test_a_token_that_names_anothers_session_is_refused(service: Service) -> None:
    await service.has()
    await service.has("bob", "bob@example.com")
    signed_in, bob = await service.log_in(), await service.log_in("bob")
    claims = service.ports.access_tokens.verify(signed_in.access_token)
    forged = service.ports.access_tokens.sign(replace(claims, session_id=bob.session_id))
    with pytest.raises(AccessTokenInvalid):
        await service.gatepost.sessions.authenticate(access_token=forged)


# Sign out


async def test_se_08_a_session_is_dead_after_logging_out(service: Service) -> None:
    account = await service.has()
    signed_in = await service.log_in()
    log_out = service.gatepost.sessions.log_out
    await log_out(access_token=signed_in.access_token, client=CLIENT)
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.refresh_token)
    with pytest.raises(AccessTokenInvalid):
        await service.caller(signed_in)
    (entry,) = service.audited(AuditType.SESSION_ENDED)
    assert (entry.actor, entry.session_id, entry.reason, entry.result) == (
        account.id,
        signed_in.session_id,
        "logged_out",
        AuditResult.SUCCESS,
    )
    await log_out(access_token=signed_in.access_token, client=CLIENT)
    assert len(service.audited(AuditType.SESSION_ENDED)) == 1


async def test_se_08_an_expired_access_token_still_logs_out(service: Service) -> None:
    await service.has()
    signed_in = await service.log_in()
    service.clock.advance(DAY)
    await service.gatepost.sessions.log_out(access_token=signed_in.access_token, client=CLIENT)
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.refresh_token)


async def test_se_08_a_refresh_token_logs_out_too(service: Service) -> None:
    await service.has()
    signed_in, other = await service.log_in(), await service.log_in()
    log_out = service.gatepost.sessions.log_out.by_refresh_token
    for token in ("nonsense", signed_in.refresh_token, signed_in.refresh_token):
        await log_out(refresh_token=token, client=CLIENT)
    assert len(service.audited(AuditType.SESSION_ENDED)) == 1
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.refresh_token)
    await service.refresh(other.refresh_token)


async def test_a_token_that_is_not_ours_logs_nobody_out(service: Service) -> None:
    with pytest.raises(AccessTokenInvalid):
        await service.gatepost.sessions.log_out(access_token="x.y.z", client=CLIENT)


async def test_se_09_the_own_live_sessions_are_listed_newest_first(service: Service) -> None:
    await service.has()
    await service.has("bob", "bob@example.com")
    await service.log_in("bob")
    ended, older = await service.log_in(), await service.log_in()
    service.clock.advance(SECOND)
    newer = await service.log_in()
    await service.gatepost.sessions.log_out(access_token=ended.access_token, client=CLIENT)
    listed = await service.gatepost.sessions.list_own(actor=await service.caller(newer))
    assert [session.id for session in listed] == [newer.session_id, older.session_id]


async def test_se_09_only_an_own_session_can_be_ended(service: Service) -> None:
    await service.has()
    await service.has("bob", "bob@example.com")
    present, other, bobs = (
        await service.log_in(),
        await service.log_in(),
        await service.log_in("bob"),
    )
    caller = await service.caller(present)
    end = service.gatepost.sessions.end
    await end(actor=caller, session_id=other.session_id, client=CLIENT)
    assert service.last_entry().reason == "ended_by_owner"
    with pytest.raises(InvalidGrant):
        await service.refresh(other.refresh_token)
    for session_id in (other.session_id, bobs.session_id, new_id()):
        with pytest.raises(NotFound):
            await end(actor=caller, session_id=session_id, client=CLIENT)
    await service.refresh(bobs.refresh_token)


async def test_se_09_all_the_other_sessions_end(service: Service) -> None:
    account = await service.has()
    present, other = await service.log_in(), await service.log_in()
    await service.gatepost.sessions.end_others(actor=await service.caller(present), client=CLIENT)
    with pytest.raises(InvalidGrant):
        await service.refresh(other.refresh_token)
    await service.refresh(present.refresh_token)
    entry = service.last_entry()
    assert (entry.type, entry.actor, entry.session_id) == (
        AuditType.SESSIONS_ENDED,
        account.id,
        present.session_id,
    )


async def test_sessions_need_their_scopes_and_an_account(service: Service) -> None:
    account = await service.has()
    sessions = service.gatepost.sessions
    nobody = Principal(account=account, session_id=None, scopes=frozenset())
    with pytest.raises(InsufficientScope) as refused:
        await sessions.list_own(actor=nobody)
    assert refused.value.scope == Scope.ACCOUNT_READ
    with pytest.raises(InsufficientScope):
        await sessions.end(actor=nobody, session_id=new_id(), client=CLIENT)
    with pytest.raises(InsufficientScope):
        await sessions.end_others(actor=nobody, client=CLIENT)
    with pytest.raises(Unauthenticated):
        await sessions.list_own(actor=Principal.operator())


async def test_every_outcome_of_a_refresh_is_counted_by_its_name(service: Service) -> None:
    await service.has()
    first = await service.log_in()
    second = await service.refresh(first.refresh_token)
    service.clock.advance(SECOND)
    await service.refresh(first.refresh_token)
    third = await service.refresh(second.refresh_token)
    for token in (first.refresh_token, third.refresh_token, "gpr_no-such-token"):
        with pytest.raises(InvalidGrant):
            await service.refresh(token)
    counts = service.ports.metrics.counts
    refreshed = {key[1]: count for key, count in counts.items() if key[0] == "refreshed"}
    assert refreshed == {
        "rotated": 2,
        "grace": 1,
        "reuse_detected": 1,
        "expired_or_unknown": 1,
        "unreadable": 1,
    }
    assert counts["issued", "password"] == 1
    assert counts["issued", "refresh_token"] == 3
    assert counts["noted", "session.created", ""] == 1


async def test_a_refused_sign_in_is_counted_with_its_reason(service: Service) -> None:
    with pytest.raises(InvalidCredentials):
        await service.log_in("nobody")
    assert service.ports.metrics.counts["noted", "session.refused", "invalid_credentials"] == 1


async def test_a_storage_without_statements_of_its_own_signs_in_and_refreshes() -> None:
    service, whole = Service(), ByTransaction()
    ports = replace(service.ports, rotations=whole, sign_ins=whole)
    service.gatepost = assemble(ports, Policies())
    await service.install_keys()
    await service.has()
    first = await service.log_in()
    second = await service.gatepost.sessions.refresh(
        refresh_token=first.refresh_token, client=CLIENT
    )
    assert second.session_id == first.session_id
