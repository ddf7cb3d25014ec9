from dataclasses import replace
from datetime import timedelta

import pytest

from gatepost.application.oauth import Introspected, TokenNotRevocable
from gatepost.application.tokens import Granted, SignedIn
from gatepost.domain.accounts import AccountStatus
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.clients import Client, ClientStatus
from gatepost.domain.errors import (
    AccessTokenInvalid,
    InsufficientScope,
    InvalidClient,
    InvalidGrant,
    InvalidScope,
    Unauthenticated,
)
from gatepost.domain.roles import Principal, Scope
from gatepost.domain.sessions import EndReason
from gatepost.testing.builders import new_id
from tests.unit.application.service import CLIENT, DAY, PASSWORD, SECOND, Service

OPERATOR = Principal.operator()
HOUR = timedelta(hours=1)
SCOPES = ("audit:read", "tokens:introspect", "users:read")


async def robot(service: Service) -> tuple[Client, str]:
    clients = service.gatepost.clients
    made = await clients.create(actor=OPERATOR, name="robot", scopes=SCOPES, client=CLIENT)
    secret = await clients.add_secret(actor=OPERATOR, client_id=made.id, client=CLIENT)
    return made, secret.client_secret


async def authenticated(service: Service, client_id: str, secret: str) -> Client:
    return await service.gatepost.oauth.authenticate_client(
        client_id=client_id, secret=secret, client=CLIENT
    )


async def granted(service: Service, scope: str | None = None) -> tuple[Client, Granted]:
    made, secret = await robot(service)
    client = await authenticated(service, str(made.id), secret)
    return client, service.gatepost.oauth.grant_to_client(client=client, scope=scope)


async def caller(service: Service, token: str) -> Principal:
    return await service.gatepost.sessions.authenticate(access_token=token)


async def change(service: Service, client: Client, **fields: object) -> None:
    await service.gatepost.clients.change(
        actor=OPERATOR,
        client_id=client.id,
        versions=None,
        client=CLIENT,
        **fields,  # type: ignore[arg-type]
    )


async def revoke(service: Service, token: str, presented_by: Client | None = None) -> None:
    await service.gatepost.oauth.revoke(token=token, presented_by=presented_by, client=CLIENT)


async def introspected(service: Service, token: str) -> Introspected | None:
    return await service.gatepost.oauth.introspect(actor=OPERATOR, token=token)


async def member(service: Service) -> SignedIn:
    await service.has()
    return await service.log_in()


async def test_a_client_proves_itself_with_its_secret(service: Service) -> None:
    made, secret = await robot(service)
    assert (await authenticated(service, str(made.id), secret)).id == made.id


async def test_oa_10_every_refusal_of_a_client_is_one_and_audited(service: Service) -> None:
    made, secret = await robot(service)
    stranger = str(new_id())
    tries = [
        (str(made.id), "wrong", made.id),
        (str(made.id), "", made.id),
        (str(made.id).upper(), secret, None),
        (stranger, secret, None),
        ("gatepost", secret, None),
        ("\0", secret, None),
    ]
    for client_id, shown, subject in tries:
        with pytest.raises(InvalidClient):
            await authenticated(service, client_id, shown)
        entry = service.last_entry()
        assert (entry.type, entry.result) == (AuditType.CLIENT_REFUSED, AuditResult.FAILURE)
        assert entry.subject == subject or client_id == stranger
        assert secret not in repr(entry)
    await change(service, made, status=ClientStatus.DISABLED)
    with pytest.raises(InvalidClient):
        await authenticated(service, str(made.id), secret)


async def test_the_use_of_a_secret_is_written_once_an_hour(service: Service) -> None:
    made, secret = await robot(service)

    async def last_used() -> object:
        await authenticated(service, str(made.id), secret)
        found = await service.gatepost.clients.show(actor=OPERATOR, client_id=made.id)
        return found.secrets[0].last_used_at

    first = service.clock()
    assert await last_used() == first
    service.clock.advance(HOUR - SECOND)
    assert await last_used() == first
    service.clock.advance(SECOND)
    assert await last_used() == service.clock()


async def test_jw_20_a_clients_token_names_the_client_and_no_session(service: Service) -> None:
    client, answer = await granted(service)
    claims = service.ports.access_tokens.verify(answer.access_token)
    assert (claims.subject, claims.client_id) == (client.id, str(client.id))
    assert (claims.session_id, claims.roles) == (None, ())
    assert claims.scope == answer.scope == " ".join(SCOPES)
    assert claims.issuer == claims.audience == service.gatepost.policies.tokens.issuer
    assert claims.expires_at - claims.issued_at == answer.expires_in == timedelta(minutes=15)
    assert answer.access_token not in repr(answer)


async def test_oa_12_a_client_gets_no_more_than_it_holds(service: Service) -> None:
    client, answer = await granted(service, "users:read")
    assert answer.scope == "users:read"
    for wider in ("users:write", "users:read users:write", "account:read"):
        with pytest.raises(InvalidScope):
            service.gatepost.oauth.grant_to_client(client=client, scope=wider)


async def test_a_clients_token_makes_a_caller_without_an_account(service: Service) -> None:
    client, answer = await granted(service)
    found = await caller(service, answer.access_token)
    assert (found.account, found.session_id, found.client_id) == (None, None, client.id)
    assert (found.actor_id, found.account_id) == (client.id, None)
    assert found.scopes == set(SCOPES)
    with pytest.raises(InsufficientScope):
        await service.gatepost.accounts.read(actor=found)
    with pytest.raises(Unauthenticated):
        _ = found.own_account


async def test_what_a_client_does_is_audited_as_its_own(service: Service) -> None:
    client, _ = await granted(service)
    scopes = frozenset({Scope.CLIENTS_WRITE, Scope.USERS_READ})
    actor = Principal(account=None, session_id=None, client_id=client.id, scopes=scopes)
    where = replace(CLIENT, client_id=str(client.id))
    await service.gatepost.clients.create(actor=actor, name="other", scopes=(), client=where)
    entry = service.last_entry()
    assert (entry.actor, entry.client_id) == (client.id, str(client.id))


async def test_a_clients_token_is_refused_as_soon_as_the_client_is(service: Service) -> None:
    client, answer = await granted(service)
    await change(service, client, status=ClientStatus.DISABLED)
    with pytest.raises(AccessTokenInvalid):
        await caller(service, answer.access_token)
    assert await introspected(service, answer.access_token) is None
    await change(service, client, status=ClientStatus.ACTIVE)
    await caller(service, answer.access_token)
    await change(service, client, scopes=["users:read"])
    with pytest.raises(AccessTokenInvalid):
        await caller(service, answer.access_token)
    await change(service, client, scopes=SCOPES)
    await service.gatepost.clients.delete(actor=OPERATOR, client_id=client.id, client=CLIENT)
    with pytest.raises(AccessTokenInvalid):
        await caller(service, answer.access_token)


async def test_a_login_may_ask_for_less(service: Service) -> None:
    await service.has()
    log_in = service.gatepost.sessions.log_in
    less = await log_in(login="ada", password=PASSWORD, scope="account:read", client=CLIENT)
    assert less.scope == "account:read"
    assert (await service.caller(less)).scopes == {"account:read"}
    with pytest.raises(InvalidScope):
        await log_in(login="ada", password=PASSWORD, scope="users:read", client=CLIENT)
    # The refusal left no session behind; the narrow one refreshes to all that is held.
    assert (await service.refresh(less.refresh_token)).scope == "account:read account:write"
    rows = service.storage.committed.sessions.values()
    assert [row.id for row in rows] == [less.session_id]


async def test_oa_12_a_wider_refresh_is_refused_and_leaves_the_token_unspent(
    service: Service,
) -> None:
    signed_in = await member(service)
    refresh = service.gatepost.sessions.refresh
    token = signed_in.refresh_token
    with pytest.raises(InvalidScope):
        await refresh(refresh_token=token, scope="account:read users:read", client=CLIENT)
    service.clock.advance(HOUR)
    less = await refresh(refresh_token=token, scope="account:read", client=CLIENT)
    assert less.scope == "account:read"
    assert (await service.refresh(less.refresh_token)).scope == signed_in.scope


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
async def test_oa_16_revoking_either_token_ends_its_session_alone(
    service: Service, kind: str
) -> None:
    signed_in = await member(service)
    other = await service.log_in()
    await revoke(service, getattr(signed_in, kind))
    entry = service.last_entry()
    assert (entry.type, entry.reason) == (AuditType.SESSION_ENDED, EndReason.REVOKED)
    with pytest.raises(AccessTokenInvalid):
        await service.caller(signed_in)
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.refresh_token)
    await service.caller(other)
    await revoke(service, getattr(signed_in, kind))
    assert service.last_entry() == entry


async def test_an_expired_access_token_still_revokes(service: Service) -> None:
    signed_in = await member(service)
    service.clock.advance(DAY)
    await revoke(service, signed_in.access_token)
    with pytest.raises(InvalidGrant):
        await service.refresh(signed_in.refresh_token)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "gpr_", "\0"])
async def test_revoking_what_is_no_token_is_no_error(service: Service, token: str) -> None:
    await revoke(service, token)
    assert service.audited(AuditType.SESSION_ENDED) == []


async def test_oa_16_a_client_cannot_revoke_anothers_token(service: Service) -> None:
    signed_in = await member(service)
    client, answer = await granted(service)
    for token in (signed_in.refresh_token, signed_in.access_token):
        with pytest.raises(InvalidGrant):
            await revoke(service, token, client)
    await service.caller(signed_in)
    for presenter in (client, None):
        with pytest.raises(TokenNotRevocable):
            await revoke(service, answer.access_token, presenter)
    await caller(service, answer.access_token)


async def test_logging_out_with_a_clients_token_does_nothing(service: Service) -> None:
    _, answer = await granted(service)
    before = service.storage.audit_entries
    await service.gatepost.sessions.log_out(access_token=answer.access_token, client=CLIENT)
    assert service.storage.audit_entries == before


async def test_introspection_tells_what_an_access_token_is_worth(service: Service) -> None:
    signed_in = await member(service)
    found = await introspected(service, signed_in.access_token)
    assert found
    assert (found.subject, found.username) == (service.account().id, "ada")
    assert (found.client_id, found.scope) == ("gatepost", signed_in.scope)
    assert found.session_id == signed_in.session_id
    assert found.token_id
    client, answer = await granted(service)
    found = await introspected(service, answer.access_token)
    assert found
    assert (found.subject, found.client_id) == (client.id, str(client.id))
    assert (found.username, found.session_id) == (None, None)


async def test_introspection_tells_what_a_refresh_token_is_worth(service: Service) -> None:
    signed_in = await member(service)
    await service.log_in()
    found = await introspected(service, signed_in.refresh_token)
    assert found
    assert (found.subject, found.scope) == (service.account().id, signed_in.scope)
    assert found.expires_at == service.clock() + signed_in.refresh_expires_in
    assert found.token_id is None
    successor = await service.refresh(signed_in.refresh_token)
    assert await introspected(service, signed_in.refresh_token) is None
    assert await introspected(service, successor.refresh_token)


async def asked_by(
    service: Service, client_id: str, secret: str, token: str
) -> Introspected | None:
    return await service.gatepost.oauth.introspect_as_client(
        client_id=client_id, secret=secret, token=token, client=CLIENT
    )


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
async def test_a_machine_client_is_told_what_others_are(service: Service, kind: str) -> None:
    made, secret = await robot(service)
    token = getattr(await member(service), kind)
    account = service.account()
    told = await asked_by(service, str(made.id), secret, token)
    assert told
    assert told == await introspected(service, token)
    service.put(replace(account, status=AccountStatus.SUSPENDED))
    assert await asked_by(service, str(made.id), secret, token) is None
    service.put(account)
    assert await asked_by(service, str(made.id), secret, token)
    service.clock.advance(31 * DAY)
    assert await asked_by(service, str(made.id), secret, token) is None
    assert await asked_by(service, str(made.id), secret, "rubbish") is None


async def test_a_machine_client_may_ask_about_its_own_token(service: Service) -> None:
    made, secret = await robot(service)
    client = await authenticated(service, str(made.id), secret)
    token = service.gatepost.oauth.grant_to_client(client=client).access_token
    told = await asked_by(service, str(made.id), secret, token)
    assert told
    assert told == await introspected(service, token)


@pytest.mark.parametrize("kind", ["refresh_token", "access_token", "rubbish"])
async def test_oa_14_a_machine_client_proves_itself_and_its_scope_before_it_is_told(
    service: Service, kind: str
) -> None:
    made, secret = await robot(service)
    token = getattr(await member(service), kind, kind)
    for client_id, shown in (
        (str(made.id), "wrong"),
        (str(made.id).upper(), secret),
        (str(new_id()), secret),
        ("robot", secret),
    ):
        with pytest.raises(InvalidClient):
            await asked_by(service, client_id, shown, token)
    assert service.storage.audit_entries[-1].type is AuditType.CLIENT_REFUSED
    await change(service, made, scopes=("users:read",))
    with pytest.raises(InsufficientScope):
        await asked_by(service, str(made.id), secret, token)


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
async def test_oa_14_what_has_ended_is_inactive(service: Service, kind: str) -> None:
    signed_in = await member(service)
    token = getattr(signed_in, kind)
    account = service.account()
    service.put(replace(account, status=AccountStatus.SUSPENDED))
    assert await introspected(service, token) is None
    service.put(account)
    assert await introspected(service, token)
    service.clock.advance(31 * DAY)
    assert await introspected(service, token) is None


async def test_oa_14_rubbish_is_inactive_and_nobody_asks_without_the_scope(
    service: Service,
) -> None:
    assert await introspected(service, "rubbish") is None
    nobody = replace(OPERATOR, scopes=OPERATOR.scopes - {Scope.TOKENS_INTROSPECT})
    with pytest.raises(InsufficientScope):
        await service.gatepost.oauth.introspect(actor=nobody, token="rubbish")
