import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.domain.addresses import EmailAddress
from gatepost.domain.errors import ValidationFailed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a@example.com", "a@example.com"),
        ("A.b+tag@EXAMPLE.com", "A.b+tag@example.com"),
        ("o'hara!#$%&*/=?^_`{|}~-@example.com", "o'hara!#$%&*/=?^_`{|}~-@example.com"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("a@bu\N{COMBINING DIAERESIS}cher.example", "a@xn--bcher-kva.example"),
        ("a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example"),
        ("a@例え.テスト", "a@xn--r8jz45g.xn--zckzah"),
        ("x" * 64 + "@example.com", "x" * 64 + "@example.com"),
        ("a@" + "b" * 63 + ".com", "a@" + "b" * 63 + ".com"),
    ],
)
def test_an_address_has_one_spelling_to_deliver_to(text: str, value: str) -> None:
    assert EmailAddress.parse(text).value == value
    assert EmailAddress.parse(value).value == value


def test_em_01_addresses_that_differ_in_case_have_one_key() -> None:
    assert EmailAddress.parse("A@example.com").key == EmailAddress.parse("a@EXAMPLE.COM").key


def test_dots_and_tags_are_part_of_the_key() -> None:
    keys = {EmailAddress.parse(f"{local}@example.com").key for local in ("ab", "a.b", "ab+c")}
    assert len(keys) == 3


def test_the_local_part_is_what_stands_before_the_domain() -> None:
    assert EmailAddress.parse("Carla.b@example.com").local_part == "Carla.b"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "@",
        "a@",
        "@example.com",
        "example.com",
        "a@localhost",
        "a@example..com",
        "a@.example.com",
        "a@example.com.",
        "a@-example.com",
        "a@example-.com",
        "a@exa_mple.com",
        "a@127.0.0.1",
        "a@[127.0.0.1]",
        "a b@example.com",
        ".a@example.com",
        "a.@example.com",
        "a..b@example.com",
        "a@b@example.com",
        '"a b"@example.com',
        "a(comment)@example.com",
        "Carla <a@example.com>",
        "a@example.com,b@example.com",
        "zoë@example.com",
        "x" * 65 + "@example.com",
        "a@" + "b" * 64 + ".com",
        "a@" + ".".join(["b" * 60] * 4),
        "a@xn--\N{LATIN SMALL LETTER E WITH ACUTE}.com",
        "a@xn--a.com",
        "\ud800@example.com",
        "a@\ud800.com",
    ],
)
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        EmailAddress.parse(text, "address")
    [error] = refused.value.errors
    assert (error.field, error.code) == ("address", "invalid_email")


@pytest.mark.parametrize("control", ["\r", "\n", "\r\nBcc: b@example.com", "\0", "\t", "\x7f"])
def test_em_03_no_control_character_gets_in(control: str) -> None:
    for place in ("a{}b@example.com", "a@exam{}ple.com", "{}a@b.com", "a@b.com{}"):
        with pytest.raises(ValidationFailed):
            EmailAddress.parse(place.format(control))


@pytest.mark.parametrize(
    "domain",
    [
        "stra\N{LATIN SMALL LETTER SHARP S}e.example",
        "\N{FULLWIDTH LATIN SMALL LETTER E}xample.com",
        "example\N{FULLWIDTH FULL STOP}com",
        "exa\N{ZERO WIDTH NON-JOINER}mple.com",
        "exa\N{SOFT HYPHEN}mple.com",
        "\N{LATIN SMALL LETTER LONG S}ite.com",
        "\N{GREEK SMALL LETTER ALPHA}\N{GREEK SMALL LETTER FINAL SIGMA}.example",
    ],
)
def test_a_domain_that_readers_of_idna_disagree_about_is_refused(domain: str) -> None:
    with pytest.raises(ValidationFailed):
        EmailAddress.parse(f"a@{domain}")


@given(st.text(max_size=30), st.text(max_size=40))
def test_whatever_is_accepted_is_plain_and_stays_as_it_is(local: str, domain: str) -> None:
    try:
        address = EmailAddress.parse(f"{local}@{domain}.com")
    except ValidationFailed:
        return
    assert address.value.isascii()
    assert address.value.isprintable()
    assert " " not in address.value
    assert EmailAddress.parse(address.value) == address
