"""What every storage of machine clients must do."""

from dataclasses import replace
from datetime import timedelta

from ...application.ports.sessions import CallerReader
from ...application.ports.storage import UnitOfWork
from ...domain.clients import Client, ClientId, ClientStatus
from ...domain.sessions import EndReason
from ..builders import DAY, NOW, SECOND, a_client, a_client_secret, a_session, an_account, new_id
from .session_storage import signed_in

TICK = timedelta(microseconds=1)


async def store(uow: UnitOfWork, *clients: Client) -> None:
    async with uow() as tx:
        for client in clients:
            await tx.clients.add(client)
        await tx.commit()


async def save(uow: UnitOfWork, client: Client) -> None:
    async with uow() as tx:
        await tx.clients.save(client)
        await tx.commit()


async def stored(uow: UnitOfWork, client: Client) -> Client | None:
    async with uow() as tx:
        return await tx.clients.get(client.id)


class ClientContract:
    async def test_every_field_comes_back(self, uow: UnitOfWork) -> None:
        first = replace(a_client_secret(), expires_at=NOW + DAY, last_used_at=NOW + TICK)
        full = replace(
            a_client(scopes=("audit:read", "users:read")),
            name="Zoë's robot",
            status=ClientStatus.DISABLED,
            secrets=(first, a_client_secret(now=NOW + SECOND)),
            updated_at=NOW + TICK,
        )
        empty = a_client(scopes=())
        await store(uow, full, empty)
        assert await stored(uow, full) == full
        assert await stored(uow, empty) == empty
        async with uow() as tx:
            assert await tx.clients.get(full.id, lock=True) == full
            assert await tx.clients.get(ClientId(new_id())) is None

    async def test_saving_replaces_fields_and_secrets(self, uow: UnitOfWork) -> None:
        old, kept, new = (a_client_secret(now=NOW + number * SECOND) for number in range(3))
        client = replace(a_client(), secrets=(old, kept))
        other = replace(a_client(), secrets=(a_client_secret(),))
        await store(uow, client, other)
        changed = replace(
            client,
            name="other",
            scopes=("audit:read",),
            status=ClientStatus.DISABLED,
            secrets=(kept, new),
            updated_at=NOW + SECOND,
        )
        await save(uow, changed)
        assert await stored(uow, client) == changed
        assert await stored(uow, other) == other
        await save(uow, replace(changed, secrets=()))
        assert await stored(uow, client) == replace(changed, secrets=())

    async def test_a_use_is_noted_on_its_secret_and_survives_a_save(self, uow: UnitOfWork) -> None:
        used, idle = a_client_secret(), a_client_secret(now=NOW + SECOND)
        client = replace(a_client(), secrets=(used, idle))
        await store(uow, client)
        async with uow() as tx:
            await tx.clients.note_use(used.id, NOW + DAY)
            await tx.clients.note_use(new_id(), NOW + DAY)
            await tx.commit()
        expected = replace(client, secrets=(replace(used, last_used_at=NOW + DAY), idle))
        assert await stored(uow, client) == expected
        # Whoever read before the use must not undo it.
        await save(uow, client)
        assert await stored(uow, client) == expected

    async def test_clients_are_listed_newest_first_in_pages(self, uow: UnitOfWork) -> None:
        clients = [replace(a_client(), secrets=(a_client_secret(),)) for _ in range(3)]
        oldest, middle, newest = sorted(clients, key=lambda one: one.id)
        await store(uow, *clients)
        async with uow() as tx:
            assert list(await tx.clients.list_page(limit=2)) == [newest, middle]
            assert list(await tx.clients.list_page(after=middle.id, limit=2)) == [oldest]
            assert list(await tx.clients.list_page(after=oldest.id, limit=2)) == []

    async def test_a_removed_client_is_gone_with_its_secrets(self, uow: UnitOfWork) -> None:
        client = replace(a_client(), secrets=(a_client_secret(),))
        await store(uow, client)
        async with uow() as tx:
            assert await tx.clients.remove(client.id)
            assert not await tx.clients.remove(client.id)
            await tx.commit()
        assert await stored(uow, client) is None
        # Its secret's id is free again, so the row went too.
        await store(uow, client)

    async def test_a_client_is_read_with_its_secrets_by_itself(
        self, uow: UnitOfWork, callers: CallerReader
    ) -> None:
        secrets = tuple(a_client_secret(now=NOW + number * SECOND) for number in range(2))
        full = replace(a_client(), secrets=secrets, status=ClientStatus.DISABLED)
        empty = a_client(scopes=())
        await store(uow, full, empty)
        assert await callers.client(full.id) == full
        assert await callers.client(empty.id) == empty
        assert await callers.client(ClientId(new_id())) is None

    async def test_a_client_and_who_calls_are_read_at_once(
        self, uow: UnitOfWork, callers: CallerReader
    ) -> None:
        account = an_account(roles=("admin",), bio="a bio")
        session, other = a_session(account), a_session(account)
        ended = replace(other, revoked_at=NOW, revoked_reason=EndReason.LOGGED_OUT)
        await signed_in(uow, account, session, ended)
        secrets = tuple(a_client_secret(now=NOW + number * SECOND) for number in range(2))
        full, empty = replace(a_client(), secrets=secrets), a_client(scopes=())
        await store(uow, full, empty)
        assert await callers.client_and_caller(full.id, session.id, NOW) == (full, account)
        assert await callers.client_and_caller(empty.id, session.id, NOW) == (empty, account)
        assert await callers.client_and_caller(full.id, ended.id, NOW) == (full, None)
        late = session.idle_until
        assert await callers.client_and_caller(full.id, session.id, late) == (full, None)
        nobody = ClientId(new_id())
        assert await callers.client_and_caller(nobody, session.id, NOW) == (None, None)

    async def test_the_scopes_of_an_active_client_are_read_by_themselves(
        self, uow: UnitOfWork, callers: CallerReader
    ) -> None:
        client = a_client(scopes=("audit:read", "users:read"))
        await store(uow, client)
        assert await callers.client_scopes(client.id) == frozenset(client.scopes)
        assert await callers.client_scopes(ClientId(new_id())) is None
        await save(uow, replace(client, status=ClientStatus.DISABLED))
        assert await callers.client_scopes(client.id) is None
