import sys

import pytest

from gatepost.domain.errors import Unavailable, ValidationFailed
from gatepost.domain.webhooks import Fault
from gatepost.entrypoints.settings import load
from gatepost.entrypoints.webhooks import LateWebhooks
from gatepost.testing.contracts.webhooks import a_message

KEY = "YSBrZXkgdGhhdCBpcyBmb3IgdGhlc2UgdGVzdHMgMzI"


def test_where_webhooks_may_go_follows_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEPOST_WEBHOOKS__NETWORKS", "10.1.0.0/16")
    local = LateWebhooks(load()).destinations
    assert local.loopback
    assert local.admit(local.parse("https://hooks.corp/"), ["10.1.0.1"])
    monkeypatch.setenv("GATEPOST_ENVIRONMENT", "production")
    monkeypatch.setenv("GATEPOST_PUBLIC_URL", "https://accounts.example.com")
    monkeypatch.setenv("GATEPOST_SECRETS__KEYS", KEY)
    monkeypatch.setenv("GATEPOST_MAIL__URL", "console:")
    monkeypatch.setenv("DATABASE_URL", "postgres://db/gatepost")
    strict = LateWebhooks(load()).destinations
    assert not strict.loopback
    with pytest.raises(ValidationFailed):
        strict.parse("http://127.0.0.1/")


async def test_it_sends_and_checks_as_the_sender_does() -> None:
    sender = LateWebhooks(load())
    with pytest.raises(ValidationFailed):
        await sender.check("https://10.0.0.1/")
    assert (await sender.send(a_message("https://10.0.0.1/"))).fault is Fault.FORBIDDEN


async def test_without_the_extra_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gatepost.adapters.webhooks", None)
    with pytest.raises(Unavailable, match=r"gatepost\[webhooks\]"):
        await LateWebhooks(load()).check("https://hooks.example.com/")
