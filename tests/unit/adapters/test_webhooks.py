"""The guard of the HTTP sender, without a network: names lead where the test says."""

import socket

import pytest

from gatepost.adapters.memory import MemoryWebhooks
from gatepost.adapters.webhooks import HttpWebhooks
from gatepost.domain.errors import ValidationFailed
from gatepost.domain.networks import Destinations
from gatepost.domain.webhooks import Fault
from gatepost.testing.contracts.webhooks import WebhookSenderContract, a_message

URL = "https://hooks.example.com/in"


class TestHttp(WebhookSenderContract):
    @pytest.fixture
    def sender(self) -> HttpWebhooks:
        return HttpWebhooks(Destinations())


class TestMemory(WebhookSenderContract):
    @pytest.fixture
    def sender(self) -> MemoryWebhooks:
        return MemoryWebhooks()


def a_sender(*addresses: str) -> HttpWebhooks:
    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("hooks.example.com", 443)
        return list(addresses)

    return HttpWebhooks(Destinations(), resolve=resolve)


async def test_a_name_that_leads_inside_is_refused_also_beside_a_public_address() -> None:
    for addresses in ([], ["10.0.0.1"], ["1.1.1.1", "::1"], ["fe80::1%eth0"], ["127.0.0.1"]):
        sender = a_sender(*addresses)
        with pytest.raises(ValidationFailed) as refused:
            await sender.check(URL)
        assert refused.value.errors[0].code == "forbidden_address"
        assert (await sender.send(a_message(URL))).fault is Fault.FORBIDDEN
    await a_sender("1.1.1.1", "2606:4700::1111").check(URL)


async def test_a_name_that_leads_nowhere_is_told_as_that() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "secret.example.com")

    sender = HttpWebhooks(Destinations(), resolve=resolve)
    with pytest.raises(ValidationFailed) as refused:
        await sender.check(URL)
    assert [fault.code for fault in refused.value.errors] == ["unknown_host"]
    assert (await sender.send(a_message(URL))).fault is Fault.UNRESOLVED


async def test_memory_sends_what_it_may_and_answers_as_told() -> None:
    sender = MemoryWebhooks()
    assert (await sender.send(a_message(URL))).status == 204
    assert [message.url for message in sender.sent] == [URL]
