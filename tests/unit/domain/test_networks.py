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


def test_an_address_in_disguise_is_what_it_leads_to() -> None:
    url = "https://hooks.example.com/"
    for inside in (
        *("127.0.0.1", "0.0.0.1", "169.254.169.254", "100.100.100.200", "168.63.129.16"),
        *("::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2001:0:7f00:1::", "fd00:ec2::254", "fe80::1%eth0", "ff02::1"),
    ):
        assert not admits(Destinations(), url, inside), inside
        assert not admits(Destinations(), url, "1.1.1.1", inside), inside
    assert admits(Destinations(), url, "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101")
    assert not admits(Destinations(), url)


def test_a_url_that_two_readers_could_read_differently_is_refused() -> None:
    for odd in (
        *("https://user@hooks.example.com/", "https://hooks.example.com\\@127.0.0.1/"),
        *("https://hooks.example.com:0/", "https://hooks.example.com:/", "https://a:99999/"),
        *("https://hooks.example.com#@127.0.0.1/", "https://hooks.example.com./", "https:///in"),
        *("https://[::1/", "https://127.0.0.1%00.example.com/", "https://h\u00f6oks.example/"),
        *("https://hooks.example.com/\r\nX: y", "//hooks.example.com/", "ftp://a/", "https://_a/"),
        f"https://hooks.example.com/{'a' * 2000}",
    ):
        with pytest.raises(ValidationFailed):
            Destinations().parse(odd)
