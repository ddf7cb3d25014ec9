"""What storage must do for webhooks, and what a sender must refuse.

`WebhookContract` asks for `uow`, an empty UnitOfWork; `WebhookSenderContract` for `sender`, a
WebhookSender with the strictest Destinations.
"""

from dataclasses import replace
from datetime import timedelta

import pytest

from ...application.ports.storage import UnitOfWork
from ...application.ports.webhooks import Message, WebhookSender
from ...domain.errors import ValidationFailed
from ...domain.webhooks import (
    Delivery,
    DeliveryStatus,
    Endpoint,
    EndpointStatus,
    Fault,
    Outcome,
    secret_from,
)
from ..builders import DAY, NOW, SECOND, a_delivery, an_endpoint, an_entry, new_id

TICK = timedelta(microseconds=1)
A_SECRET = secret_from("A" * 43)
# Each an address that is not for strangers, in one of its spellings.
FORBIDDEN = (
    *("127.0.0.1", "127.9.9.9", "0.0.0.9", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
    *("192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16"),
    *("192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("240.0.0.1", "255.255.255.255", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a00:1]"),
    *("[::127.0.0.1]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[fec0::1]"),
    *("[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2001::1]"),
    *("[2001:db8::1]", "[100::1]"),
)
MISSHAPEN = (
    *("", "hooks.example.com", "//hooks.example.com/", "http://hooks.example.com/"),
    *("ftp://hooks.example.com/", "file:///etc/passwd", "https://", "https:///path"),
    *("https://user:word@hooks.example.com/", "https://user@hooks.example.com/"),
    *("https://hooks.example.com/#part", "https://hooks.example.com:0/"),
    *("https://hooks.example.com:99999/", "https://hooks.example.com:x/", "https://[::1/"),
    *(
        "https://[fe80::1%25eth0]/",
        "https://[v1.a]/",
        "https://[g::1]/",
        "https://[::1]x/",
        "https://x[::1]/",
        "https://a.example:/",
        "https://hooks.example.com\\@evil.test/",
    ),
    *(
        "https://hooks .example.com/",
        "https://hooks.example.com/\n",
        "https://hooks.ex\u00e4mple/",
    ),
    *("https://-hooks.example.com/", "https://hooks..example.com/", "https://" + "a" * 64 + ".x/"),
    *("https://" + "a." * 130 + "example/", "https://hooks.example.com/" + "a" * 2000),
)


async def stored(uow: UnitOfWork, *rows: Endpoint | Delivery) -> None:
    async with uow() as tx:
        for row in rows:
            if isinstance(row, Endpoint):
                await tx.webhooks.add(row)
            else:
                assert await tx.webhooks.add_delivery(row)
        await tx.commit()


class WebhookContract:
    async def test_every_field_of_an_endpoint_comes_back(self, uow: UnitOfWork) -> None:
        plain = an_endpoint()
        full = replace(
            an_endpoint(events=("account.deleted.v1", "session.created.v1")),
            contact="ops@example.com",
            status=EndpointStatus.DISABLED,
            sealed_former_secret=b"\x01former",
            former_until=NOW + DAY + TICK,
            failing_since=NOW - TICK,
            updated_at=NOW + SECOND,
        )
        await stored(uow, plain, full)
        async with uow() as tx:
            assert await tx.webhooks.get(plain.id) == plain
            assert await tx.webhooks.get(full.id, lock=True) == full
            assert list(await tx.webhooks.list_all()) == [plain, full]
            await tx.webhooks.save(replace(full, id=plain.id))
            await tx.commit()
        async with uow() as tx:
            assert await tx.webhooks.get(plain.id) == replace(full, id=plain.id)

    async def test_an_id_is_taken_once(self, uow: UnitOfWork) -> None:
        endpoint = an_endpoint()
        await stored(uow, endpoint)
        # ValueError in memory, the driver's IntegrityError in a database.
        with pytest.raises(Exception, match=r"(?i)stored already|unique|duplicate"):
            await stored(uow, endpoint)

    async def test_every_field_of_a_delivery_comes_back(self, uow: UnitOfWork) -> None:
        endpoint = an_endpoint()
        delivery = a_delivery(endpoint)
        await stored(uow, endpoint, delivery)
        tried = delivery.after(Outcome(3000, status=503), NOW + TICK)
        lost = replace(tried, answered=None, fault=Fault.TIMED_OUT).hold()
        for after in (tried, lost):
            async with uow() as tx:
                await tx.webhooks.save_delivery(after)
                await tx.commit()
            async with uow() as tx:
                assert await tx.webhooks.get_delivery(delivery.id, lock=True) == after

    async def test_an_endpoint_gets_an_event_once(self, uow: UnitOfWork) -> None:
        one, other = an_endpoint(), an_endpoint()
        delivery = a_delivery(one)
        await stored(uow, one, other, delivery)
        async with uow() as tx:
            event_id = delivery.event_id
            assert not await tx.webhooks.add_delivery(a_delivery(one, event_id=event_id))
            assert await tx.webhooks.add_delivery(a_delivery(other, event_id=event_id))

    async def test_no_delivery_is_without_its_endpoint(self, uow: UnitOfWork) -> None:
        with pytest.raises(Exception, match=r"(?i)no endpoint|foreign key"):
            await stored(uow, a_delivery(an_endpoint()))

    async def test_an_endpoint_goes_with_its_deliveries(self, uow: UnitOfWork) -> None:
        one, other = an_endpoint(), an_endpoint()
        gone, kept = a_delivery(one), a_delivery(other)
        await stored(uow, one, other, gone, kept)
        async with uow() as tx:
            assert await tx.webhooks.remove(one.id)
            assert not await tx.webhooks.remove(one.id)
            await tx.commit()
        async with uow() as tx:
            assert await tx.webhooks.get(one.id) is None
            assert await tx.webhooks.get_delivery(gone.id) is None
            assert await tx.webhooks.get_delivery(kept.id) == kept
            await tx.webhooks.save(one)
            await tx.webhooks.save_delivery(gone)
            assert await tx.webhooks.get(one.id) is None
            assert await tx.webhooks.get_delivery(gone.id) is None

    async def test_deliveries_are_listed_newest_first(self, uow: UnitOfWork) -> None:
        one, other = an_endpoint(), an_endpoint()
        failed = DeliveryStatus.FAILED
        first, second = a_delivery(one, status=failed), a_delivery(one)
        third = a_delivery(one, status=failed)
        await stored(uow, one, other, first, second, third, a_delivery(other))
        async with uow() as tx:
            assert list(await tx.webhooks.list_deliveries(one.id, limit=2)) == [third, second]
            listed = await tx.webhooks.list_deliveries(one.id, status=failed, limit=9)
        assert list(listed) == [third, first]

    async def test_what_is_held_is_released_in_batches(self, uow: UnitOfWork) -> None:
        one, other = an_endpoint(), an_endpoint()
        held = [replace(a_delivery(one, status=DeliveryStatus.HELD), attempts=7) for _ in range(3)]
        others = [a_delivery(other, status=DeliveryStatus.HELD), a_delivery(one)]
        await stored(uow, one, other, *held, *others)
        released: list[object] = []
        for expected in (2, 1, 0):
            async with uow() as tx:
                found = await tx.webhooks.release_held(one.id, 2)
                await tx.commit()
            assert len(found) == expected
            released += found
        assert set(released) == {row.id for row in held}
        async with uow() as tx:
            assert await tx.webhooks.get_delivery(held[0].id) == held[0].again()
            assert await tx.webhooks.get_delivery(others[0].id) == others[0]

    async def test_old_ones_are_removed_in_batches(self, uow: UnitOfWork) -> None:
        endpoint = an_endpoint()
        old = [a_delivery(endpoint, status=status, now=NOW - TICK) for status in DeliveryStatus]
        new = a_delivery(endpoint)
        await stored(uow, endpoint, *old, new)
        removed = []
        for _ in range(3):
            async with uow() as tx:
                removed.append(await tx.webhooks.remove_deliveries(NOW, 3))
                await tx.commit()
        assert removed == [3, 1, 0]
        async with uow() as tx:
            assert await tx.webhooks.get_delivery(new.id) == new

    async def test_the_trail_knows_which_events_an_endpoint_wants(self, uow: UnitOfWork) -> None:
        async def is_wanted(name: str | None) -> bool:
            async with uow() as tx:
                return await tx.audit.append(an_entry(), announces=name)

        assert not await is_wanted("account.deleted.v1")
        some = an_endpoint(events=("account.created.v1", "account.deleted.v1"))
        await stored(uow, replace(some, status=EndpointStatus.DISABLED))
        assert await is_wanted("account.deleted.v1")
        assert not await is_wanted("session.created.v1")
        assert not await is_wanted(None)
        await stored(uow, an_endpoint())
        assert await is_wanted("session.created.v1")
        assert not await is_wanted(None)


def a_message(url: str) -> Message:
    return Message(id=new_id(), url=url, body="{}", secrets=(A_SECRET,), sent_at=NOW)


class WebhookSenderContract:
    async def test_no_address_of_ours_is_written_to(self, sender: WebhookSender) -> None:
        for host in FORBIDDEN:
            for port in ("", ":8443"):
                url = f"https://{host}{port}/hook"
                with pytest.raises(ValidationFailed) as refused:
                    await sender.check(url)
                assert [fault.code for fault in refused.value.errors] == ["forbidden_address"], url
                assert (await sender.send(a_message(url))).fault is Fault.FORBIDDEN, url

    async def test_no_other_shape_of_url_is_written_to(self, sender: WebhookSender) -> None:
        for url in MISSHAPEN:
            with pytest.raises(ValidationFailed) as refused:
                await sender.check(url)
            assert [fault.code for fault in refused.value.errors] == ["invalid_url"], url
            outcome = await sender.send(a_message(url))
            assert (outcome.fault, outcome.status) == (Fault.FORBIDDEN, None), url

    async def test_an_address_of_everybody_is_fine(self, sender: WebhookSender) -> None:
        for host in ("1.1.1.1", "[2606:4700::1111]", "[::ffff:1.1.1.1]", "[64:ff9b::101:101]"):
            await sender.check(f"https://{host}:8443/hook?key=1")
