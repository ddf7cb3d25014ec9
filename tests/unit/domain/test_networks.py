from ipaddress import ip_network

import pytest

from gatepost.domain.errors import ValidationFailed
from gatepost.domain.networks import Destinations, Target


def admits(allowed: Destinations, url: str, *addresses: str) -> bool:
    return bool(allowed.admit(allowed.parse(url), addresses))


def test_a_url_is_taken_apart() -> None:
    strict = Destinations()
    assert strict.parse("https://hooks.example.com") == Target(
        "https", "hooks.example.com", 443, "/"
    )
    found = strict.parse("https://[2606:4700::1111]:8443/in?key=1&x=%20")
    assert found == Target("https", "2606:4700::1111", 8443, "/in?key=1&x=%20")
    assert found.authority == "[2606:4700::1111]:8443"
    assert strict.parse("https://hooks.example.com:443/").authority == "hooks.example.com"
    local = Destinations(loopback=True).parse("http://localhost/")
    assert (local.port, local.authority) == (80, "localhost")


def test_no_refusal_repeats_the_url() -> None:
    with pytest.raises(ValidationFailed) as refused:
        Destinations().parse("https://user:word@hooks.example.com/")
    assert "word" not in repr(refused.value.errors)


def test_own_networks_are_allowed_where_they_are_named_and_only_by_https() -> None:
    own = Destinations(networks=(ip_network("10.1.0.0/16"), ip_network("fd12::/16")))
    assert admits(own, "https://hooks.corp/", "10.1.2.3", "fd12::1")
    assert admits(own, "https://hooks.corp/", "::ffff:10.1.2.3", "1.1.1.1")
    assert not admits(own, "https://hooks.corp/", "10.2.0.1")
    assert not admits(own, "https://hooks.corp/", "127.0.0.1")
    with pytest.raises(ValidationFailed):
        own.parse("http://hooks.corp/")


def test_in_development_this_machine_is_allowed_and_nothing_else_without_tls() -> None:
    local = Destinations(networks=(ip_network("10.0.0.0/8"),), loopback=True)
    assert admits(local, "http://localhost:9000/", "127.0.0.1", "::1")
    assert admits(local, "https://localhost:9000/", "127.0.0.1")
    assert not admits(local, "http://hooks.corp/", "10.0.0.1")
    assert not admits(local, "http://hooks.example.com/", "1.1.1.1")
    assert not admits(local, "http://hooks.example.com/", "127.0.0.1", "1.1.1.1")
