from dataclasses import replace
from datetime import timedelta

import pytest

from gatepost.application.clients import NewSecret
from gatepost.domain.audit import AuditResult, AuditType
from gatepost.domain.clients import Client, ClientStatus
from gatepost.domain.errors import (
    InsufficientScope,
    NotFound,
    PermissionDenied,
    ValidationFailed,
    VersionConflict,
)
from gatepost.domain.roles import Principal, Scope
from gatepost.testing.builders import new_id
from tests.unit.application.service import CLIENT, DAY, Service

OPERATOR = Principal.operator()
CLERK = replace(OPERATOR, scopes=frozenset({Scope.CLIENTS_READ, Scope.CLIENTS_WRITE}))


async def created(
    service: Service, *scopes: str, name: str = "robot", actor: Principal = OPERATOR
) -> Client:
    return await service.gatepost.clients.create(
        actor=actor, name=name, scopes=scopes, client=CLIENT
    )


async def secret_of(service: Service, client: Client, lives: timedelta | None = None) -> NewSecret:
    return await service.gatepost.clients.add_secret(
        actor=OPERATOR,
        client_id=client.id,
        expires_at=service.clock() + lives if lives else None,
        client=CLIENT,
    )


async def shown(service: Service, client: Client) -> Client:
    return await service.gatepost.clients.show(actor=OPERATOR, client_id=client.id)


async def test_a_client_begins_active_and_without_a_secret(service: Service) -> None:
    client = await created(service, "users:read", "audit:read", "users:read")
    assert client.scopes == ("audit:read", "users:read")
    assert (client.name, client.status, client.secrets) == ("robot", ClientStatus.ACTIVE, ())
    assert await shown(service, client) == client


async def test_every_fault_of_a_new_client_is_named(service: Service) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await created(service, "users:fly", name="")
    assert [error.code for error in refused.value.errors] == ["invalid_name", "unknown_scope"]
    with pytest.raises(ValidationFailed):
        await created(service, "account:read")
    client = await created(service)
    with pytest.raises(ValidationFailed) as refused:
        await service.gatepost.clients.change(
            actor=OPERATOR,
            client_id=client.id,
            versions=None,
            name="",
            scopes=["account:read"],
            client=CLIENT,
        )
    assert [error.code for error in refused.value.errors] == ["invalid_name", "not_for_clients"]


async def test_az_06_nobody_gives_a_client_what_he_does_not_hold(service: Service) -> None:
    with pytest.raises(PermissionDenied):
        await created(service, "users:read", actor=CLERK)
    entry = service.last_entry()
    assert (entry.type, entry.result) == (AuditType.CLIENT_CREATED, AuditResult.FAILURE)
    assert (await created(service, "clients:read", actor=CLERK)).scopes == ("clients:read",)
    assert len((await service.gatepost.clients.list(actor=OPERATOR)).items) == 1


async def test_az_06_nobody_touches_a_client_that_may_do_more(service: Service) -> None:
    clients = service.gatepost.clients
    client = await created(service, "users:read")
    secret = await secret_of(service, client)
    before = await shown(service, client)
    with pytest.raises(PermissionDenied):
        await clients.add_secret(actor=CLERK, client_id=client.id, client=CLIENT)
    with pytest.raises(PermissionDenied):
        await clients.delete_secret(
            actor=CLERK, client_id=client.id, secret_id=secret.stored.id, client=CLIENT
        )
    with pytest.raises(PermissionDenied):
        await clients.change(
            actor=CLERK, client_id=client.id, versions=None, scopes=(), client=CLIENT
        )
    with pytest.raises(PermissionDenied):
        await clients.delete(actor=CLERK, client_id=client.id, client=CLIENT)
    assert await shown(service, client) == before


async def test_az_06_a_change_cannot_add_what_the_caller_lacks(service: Service) -> None:
    client = await created(service, "clients:read")
    with pytest.raises(PermissionDenied):
        await service.gatepost.clients.change(
            actor=CLERK, client_id=client.id, versions=None, scopes=["users:read"], client=CLIENT
        )
    assert (await shown(service, client)).scopes == ("clients:read",)


async def test_fields_that_are_left_out_stay(service: Service) -> None:
    change = service.gatepost.clients.change
    client = await created(service, "users:read")
    first = await change(
        actor=OPERATOR, client_id=client.id, versions=None, name="drone", client=CLIENT
    )
    second = await change(
        actor=OPERATOR,
        client_id=client.id,
        versions=frozenset({first.updated_at}),
        scopes=["audit:read"],
        status=ClientStatus.DISABLED,
        client=CLIENT,
    )
    assert (second.name, second.scopes, second.status.value) == (
        "drone",
        ("audit:read",),
        "disabled",
    )
    assert await shown(service, client) == second


async def test_a_change_of_another_version_is_refused(service: Service) -> None:
    clients = service.gatepost.clients
    client = await created(service)
    await secret_of(service, client)
    stale = frozenset({client.updated_at})
    with pytest.raises(VersionConflict):
        await clients.change(
            actor=OPERATOR, client_id=client.id, versions=stale, name="drone", client=CLIENT
        )
    with pytest.raises(VersionConflict):
        await clients.delete(actor=OPERATOR, client_id=client.id, versions=stale, client=CLIENT)
    assert (await shown(service, client)).name == "robot"


async def test_what_is_not_there_is_not_found(service: Service) -> None:
    clients = service.gatepost.clients
    client = await created(service)
    await clients.delete(actor=OPERATOR, client_id=client.id, client=CLIENT)
    with pytest.raises(NotFound):
        await shown(service, client)
    with pytest.raises(NotFound):
        await secret_of(service, client)
    with pytest.raises(NotFound):
        await clients.delete_secret(
            actor=OPERATOR,
            client_id=(await created(service)).id,
            secret_id=new_id(),
            client=CLIENT,
        )


async def test_a_secret_is_shown_once_and_stored_hashed(service: Service) -> None:
    client = await created(service)
    made = await secret_of(service, client, DAY)
    assert made.client_secret.startswith("gpc_")
    assert len(made.client_secret) == len("gpc_") + 43
    assert made.client_secret not in repr(made)
    assert made.client_secret not in repr(service.storage.committed)
    assert (await shown(service, client)).secrets == (made.stored,)
    assert made.stored.expires_at == service.clock() + DAY


async def test_a_third_secret_needs_room(service: Service) -> None:
    client = await created(service)
    first = await secret_of(service, client)
    await secret_of(service, client)
    with pytest.raises(ValidationFailed):
        await secret_of(service, client)
    await service.gatepost.clients.delete_secret(
        actor=OPERATOR, client_id=client.id, secret_id=first.stored.id, client=CLIENT
    )
    third = await secret_of(service, client)
    assert (await shown(service, client)).secrets[-1] == third.stored


async def test_clients_are_listed_in_pages(service: Service) -> None:
    listing = service.gatepost.clients.list
    made = [await created(service, name=f"robot {number}") for number in range(3)]
    first = await listing(actor=OPERATOR, limit=2)
    assert list(first.items) == [made[2], made[1]]
    second = await listing(actor=OPERATOR, limit=2, cursor=first.next_cursor)
    assert (list(second.items), second.next_cursor) == ([made[0]], None)
    with pytest.raises(ValidationFailed):
        await listing(actor=OPERATOR, cursor="nonsense")


async def test_clients_need_their_scopes(service: Service) -> None:
    clients = service.gatepost.clients
    client = await created(service)
    reader = replace(OPERATOR, scopes=frozenset({Scope.CLIENTS_READ}))
    nobody = replace(OPERATOR, scopes=OPERATOR.scopes - {Scope.CLIENTS_READ})
    with pytest.raises(InsufficientScope):
        await clients.list(actor=nobody)
    with pytest.raises(InsufficientScope):
        await clients.show(actor=nobody, client_id=client.id)
    with pytest.raises(InsufficientScope):
        await created(service, actor=reader)
    with pytest.raises(InsufficientScope):
        await clients.delete(actor=reader, client_id=client.id, client=CLIENT)


async def test_az_09_every_change_of_a_client_is_audited(service: Service) -> None:
    clients = service.gatepost.clients
    client = await created(service)
    secret = await secret_of(service, client)
    await clients.change(
        actor=OPERATOR, client_id=client.id, versions=None, name="drone", client=CLIENT
    )
    await clients.delete_secret(
        actor=OPERATOR, client_id=client.id, secret_id=secret.stored.id, client=CLIENT
    )
    await clients.delete(actor=OPERATOR, client_id=client.id, client=CLIENT)
    entries = [entry for entry in service.storage.audit_entries if entry.subject == client.id]
    assert [entry.type.value for entry in entries] == [
        "client.created",
        "client.secret_created",
        "client.changed",
        "client.secret_deleted",
        "client.deleted",
    ]
    assert all(entry.ip == CLIENT.ip for entry in entries)
