import base64
import hashlib
import hmac
import json
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
)

from gatepost.adapters.jose import JwtAccessTokens
from gatepost.adapters.memory import ManualClock
from gatepost.application.ports.security import KeyPair, SigningKeysInvalid
from gatepost.domain.errors import AccessTokenInvalid
from gatepost.domain.tokens import TokenPolicy
from gatepost.testing.contracts.security import AccessTokensContract as TestAccessTokens
from gatepost.testing.contracts.security import some_claims, with_new_key

__all__ = ["TestAccessTokens"]

ALGORITHMS = ["ES256", "RS256", "EdDSA"]
Forge = Callable[..., str]


@pytest.fixture(scope="module")
def keys() -> dict[str, KeyPair]:
    """One key an algorithm for all tests: making one for RSA takes long."""
    policy = TokenPolicy(issuer="x", audience="x")
    return {name: JwtAccessTokens(policy, name, ManualClock()).new_key() for name in ALGORITHMS}


@pytest.fixture
def token_policy() -> TokenPolicy:
    return TokenPolicy(issuer="https://id.example.com", audience="https://api.example.com")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def access_tokens(token_policy: TokenPolicy, clock: ManualClock) -> JwtAccessTokens:
    return JwtAccessTokens(token_policy, "ES256", clock)


@pytest.fixture
def tokens(access_tokens: JwtAccessTokens, keys: dict[str, KeyPair]) -> JwtAccessTokens:
    access_tokens.install([keys["ES256"]], keys["ES256"].kid)
    return access_tokens


@pytest.fixture
def members(token_policy: TokenPolicy, clock: ManualClock) -> dict[str, object]:
    """The claims that a proper token has, to be spoiled."""
    return {
        "iss": token_policy.issuer,
        "aud": token_policy.audience,
        "sub": "01890000-0000-7000-8000-000000000001",
        "sid": "01890000-0000-7000-8000-000000000002",
        "jti": "01890000-0000-7000-8000-000000000003",
        "client_id": "gatepost",
        "scope": "account:read",
        "roles": ["user"],
        "iat": int(clock().timestamp()),
        "exp": int(clock().timestamp()) + 900,
    }


@pytest.fixture
def forge(keys: dict[str, KeyPair]) -> Forge:
    """Sign whatever is asked for, rightly, with the installed key."""

    def sign(
        payload: object, header: dict[str, object] | None = None, without: str | None = None
    ) -> str:
        key = keys["ES256"]
        head: dict[str, object] = {"alg": "ES256", "kid": key.kid, "typ": "at+jwt"}
        head |= header or {}
        head.pop(without or "", None)
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        text = f"{b64(json.dumps(head).encode())}.{b64(body)}"
        private = load_der_private_key(key.private_key, None)
        return f"{text}.{b64(jwt.get_algorithm_by_name('ES256').sign(text.encode(), private))}"

    return sign


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def refused(tokens: JwtAccessTokens, token: str) -> bool:
    """Tell whether a token is refused, with its expiry looked at and without."""
    for expired_too in (False, True):
        with pytest.raises(AccessTokenInvalid):
            tokens.verify(token, expired_too=expired_too)
    return True


def test_a_forgery_with_the_key_itself_would_pass(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object]
) -> None:
    assert tokens.verify(forge(members)).scope == "account:read"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_signs_what_pyjwt_verifies(
    token_policy: TokenPolicy, clock: ManualClock, keys: dict[str, KeyPair], algorithm: str
) -> None:
    tokens = JwtAccessTokens(token_policy, algorithm, clock)
    tokens.install([keys[algorithm]], keys[algorithm].kid)
    token = tokens.sign(some_claims(token_policy, clock()))
    assert tokens.verify(token) == some_claims(token_policy, clock())
    published = jwt.PyJWKSet.from_dict(dict(tokens.published()))
    header = jwt.get_unverified_header(token)
    assert header == {"alg": algorithm, "kid": keys[algorithm].kid, "typ": "at+jwt"}
    jwt.decode(
        token,
        published[header["kid"]],
        algorithms=[algorithm],
        audience=token_policy.audience,
        issuer=token_policy.issuer,
        options={"verify_exp": False, "verify_iat": False},
    )


@pytest.mark.parametrize("spelling", ["none", "None", "NONE", "nOnE", "", None, "none "])
def test_jw_01_alg_none_is_refused_in_every_spelling(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], spelling: str | None
) -> None:
    token = forge(members, {"alg": spelling})
    unsigned = token.rpartition(".")[0]
    for each in (token, f"{unsigned}.", f"{unsigned}.AAAA"):
        assert refused(tokens, each)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_jw_02_hs256_keyed_with_the_public_key_is_refused(
    token_policy: TokenPolicy,
    clock: ManualClock,
    keys: dict[str, KeyPair],
    members: dict[str, object],
    algorithm: str,
) -> None:
    tokens = JwtAccessTokens(token_policy, algorithm, clock)
    key = keys[algorithm]
    tokens.install([key], key.kid)
    public = load_der_private_key(key.private_key, None).public_key()
    header = json.dumps({"alg": "HS256", "kid": key.kid, "typ": "at+jwt"}).encode()
    text = f"{b64(header)}.{b64(json.dumps(members).encode())}"
    for encoding in (Encoding.PEM, Encoding.DER):
        secret = public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        for one in (secret, secret.strip()):
            mac = hmac.digest(one, text.encode(), hashlib.sha256)
            assert refused(tokens, f"{text}.{b64(mac)}")


@pytest.mark.parametrize(
    "algorithm", ["RS256", "ES384", "EdDSA", "HS256", "es256", 256, ["ES256"]]
)
def test_the_key_and_not_the_token_says_which_algorithm_holds(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], algorithm: object
) -> None:
    assert refused(tokens, forge(members, {"alg": algorithm}))


def test_jw_04_a_changed_payload_is_refused(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object]
) -> None:
    header, _, signature = forge(members).split(".")
    payload = b64(json.dumps(members | {"scope": "users:write"}).encode())
    assert refused(tokens, f"{header}.{payload}.{signature}")


def test_jw_04_a_cut_signature_is_refused(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object]
) -> None:
    text, _, signature = forge(members).rpartition(".")
    raw = unb64(signature)
    for cut in (raw[:-1], raw[1:], raw[:32], b"", raw + b"\0", bytes(64)):
        assert refused(tokens, f"{text}.{b64(cut)}")
    assert refused(tokens, text)


def test_jw_04_another_key_with_the_same_kid_is_refused(
    tokens: JwtAccessTokens,
    token_policy: TokenPolicy,
    clock: ManualClock,
    keys: dict[str, KeyPair],
) -> None:
    other = JwtAccessTokens(token_policy, "ES256", clock)
    with_new_key(other)
    _, payload, _ = other.sign(some_claims(token_policy, clock())).split(".")
    header = b64(json.dumps({"alg": "ES256", "kid": keys["ES256"].kid, "typ": "at+jwt"}).encode())
    private = load_der_private_key(other.new_key().private_key, None)
    text = f"{header}.{payload}"
    signature = jwt.get_algorithm_by_name("ES256").sign(text.encode(), private)
    assert refused(tokens, f"{text}.{b64(signature)}")


def test_jw_07_an_expired_token_is_refused_to_the_second(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], clock: ManualClock
) -> None:
    token = forge(members)
    clock.advance(timedelta(seconds=899))
    tokens.verify(token)
    clock.advance(timedelta(seconds=1))
    with pytest.raises(AccessTokenInvalid):
        tokens.verify(token)


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_jw_07_a_token_from_the_future_is_refused_beyond_the_leeway(
    tokens: JwtAccessTokens,
    forge: Forge,
    members: dict[str, object],
    clock: ManualClock,
    name: str,
) -> None:
    now = int(clock().timestamp())
    tokens.verify(forge(members | {name: now + 10}))
    ahead = forge(members | {name: now + 11})
    assert refused(tokens, ahead)
    assert refused(tokens, forge({"nbf": now - 60} | members | {name: now + 11}))
    clock.advance(timedelta(seconds=1))
    tokens.verify(ahead)


def test_jw_07_the_leeway_is_a_minute_at_most(
    token_policy: TokenPolicy, clock: ManualClock
) -> None:
    for seconds in (-1, 61):
        with pytest.raises(ValueError, match="leeway"):
            JwtAccessTokens(token_policy, "ES256", clock, leeway=timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "name", ["iss", "aud", "sub", "sid", "client_id", "scope", "roles", "jti", "iat", "exp"]
)
def test_jw_07_every_claim_is_required(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], name: str
) -> None:
    del members[name]
    assert refused(tokens, forge(members))


def test_jw_20_only_a_token_whose_client_is_its_subject_has_no_session(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object]
) -> None:
    members["client_id"] = members["sub"]
    tokens.verify(forge(members))
    del members["sid"]
    assert tokens.verify(forge(members)).session_id is None
    assert refused(tokens, forge(members | {"sid": None}))
    assert refused(tokens, forge(members | {"client_id": "gatepost"}))


@pytest.mark.parametrize(
    "value",
    [
        "1900000000.0",
        "1.9e9",
        "NaN",
        "Infinity",
        "1e400",
        "9" * 5000,
        "9" * 30,
        "-1",
        "253402300800",
        "true",
        '"1900000000"',
        "null",
        "[1900000000]",
        "{}",
    ],
)
def test_jw_08_a_time_that_is_no_sane_integer_is_refused(
    tokens: JwtAccessTokens,
    forge: Forge,
    members: dict[str, object],
    clock: ManualClock,
    value: str,
) -> None:
    clock.now = datetime.fromtimestamp(1_899_999_999, UTC)
    members |= {"iat": 1_899_999_999, "exp": 1_900_000_500}
    for name in ("exp", "iat", "nbf"):
        text = json.dumps(members | {name: "VALUE"}).replace('"VALUE"', value)
        assert refused(tokens, forge(text.encode())), name


@pytest.mark.parametrize(
    "value",
    [
        1,
        None,
        "",
        "alice",
        "01890000000070008000000000000001",
        "{01890000-0000-7000-8000-000000000001}",
        "urn:uuid:01890000-0000-7000-8000-000000000001",
        "01890000-0000-7000-8000-00000000000A",
        " 01890000-0000-7000-8000-000000000001",
        "01890000-0000-7000-8000-00000000000\u0661",
        ["01890000-0000-7000-8000-000000000001"],
    ],
)
def test_jw_08_an_id_is_a_uuid_in_its_canonical_spelling(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], value: object
) -> None:
    for name in ("sub", "sid", "jti"):
        assert refused(tokens, forge(members | {name: value})), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scope", ["a"]),
        ("scope", None),
        ("client_id", 1),
        ("roles", "user"),
        ("roles", [1]),
        ("roles", {"user": 1}),
        ("roles", None),
    ],
)
def test_a_mistyped_claim_is_refused(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], name: str, value: object
) -> None:
    assert refused(tokens, forge(members | {name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iss", "https://id.example.co"),
        ("iss", "https://id.example.com/"),
        ("iss", "HTTPS://id.example.com"),
        ("iss", ["https://id.example.com"]),
        ("iss", None),
        ("aud", "https://other.example.com"),
        ("aud", "https://api.example.com/"),
        ("aud", ["https://other.example.com"]),
        ("aud", []),
        ("aud", None),
        ("aud", ["https://api.example.com", 5]),
        ("aud", {"https://api.example.com": 1}),
    ],
)
def test_jw_09_jw_10_another_issuer_or_audience_is_refused(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], name: str, value: object
) -> None:
    assert refused(tokens, forge(members | {name: value}))


def test_jw_10_a_list_of_audiences_serves_when_ours_is_in_it(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], token_policy: TokenPolicy
) -> None:
    token = forge(members | {"aud": ["https://other.example.com", token_policy.audience]})
    assert tokens.verify(token).audience == token_policy.audience


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"jku": "https://evil.example.com/jwks"},
        {"x5u": "https://evil.example.com/x5u"},
        {"x5c": ["AAAA"]},
        {"jwk": {"kty": "EC"}},
        {"jwk": None},
    ],
)
def test_jw_12_a_header_that_asks_for_more_is_refused(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], header: dict[str, object]
) -> None:
    assert refused(tokens, forge(members, header))


@pytest.mark.parametrize("kid", ["", "unknown", None, 5, ["x"], "../../etc/passwd"])
def test_an_unknown_kid_is_refused(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], kid: object
) -> None:
    assert refused(tokens, forge(members, {"kid": kid}))
    assert refused(tokens, forge(members, without="kid"))


@pytest.mark.parametrize("typ", ["JWT", "at+jwt ", "id+jwt", "", None, 5, ["at+jwt"], "jwt+at"])
def test_a_token_of_another_type_is_refused(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], typ: object
) -> None:
    assert refused(tokens, forge(members, {"typ": typ}))
    assert refused(tokens, forge(members, without="typ"))


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
def test_the_type_is_read_without_regard_to_case_and_with_its_prefix(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], typ: str
) -> None:
    tokens.verify(forge(members, {"typ": typ}))


def test_each_part_has_one_spelling(
    tokens: JwtAccessTokens, token_policy: TokenPolicy, clock: ManualClock
) -> None:
    token = tokens.sign(some_claims(token_policy, clock()))
    tokens.verify(token)
    parts = token.split(".")
    for index, part in enumerate(parts):
        for other in (f"{part}=", f"{part}==", f"{part}\n", f" {part}", f"{part}A", f"{part}!"):
            assert refused(tokens, ".".join([*parts[:index], other, *parts[index + 1 :]]))
    for character in string.ascii_letters + string.digits + "-_":
        if character != token[-1]:
            assert refused(tokens, token[:-1] + character)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"1",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 4000,
        b'{"a":' * 1000,
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
    ],
)
def test_a_header_or_payload_that_is_no_object_is_refused(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object], header: bytes
) -> None:
    _, payload, signature = forge(members).split(".")
    assert refused(tokens, f"{b64(header)}.{payload}.{signature}")
    assert refused(tokens, forge(header))


def test_a_payload_in_another_encoding_is_refused(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object]
) -> None:
    assert refused(tokens, forge(json.dumps(members).encode("utf-16")))


def test_a_token_of_more_than_8_kb_is_refused(
    tokens: JwtAccessTokens, forge: Forge, members: dict[str, object]
) -> None:
    fitting = forge(members | {"scope": "x" * 5000})
    too_long = forge(members | {"scope": "x" * 7000})
    assert len(fitting) < 8192 < len(too_long)
    tokens.verify(fitting)
    assert refused(tokens, too_long)


@pytest.mark.parametrize("value", [None, 5, b"a.b.c", ["a.b.c"]])
def test_what_is_no_text_is_refused(tokens: JwtAccessTokens, value: object) -> None:
    assert refused(tokens, value)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_jw_16_only_public_members_are_published(
    token_policy: TokenPolicy, clock: ManualClock, keys: dict[str, KeyPair], algorithm: str
) -> None:
    tokens = JwtAccessTokens(token_policy, algorithm, clock)
    assert tokens.published() == {"keys": []}
    tokens.install([keys[algorithm]], keys[algorithm].kid)
    (key,) = json.loads(json.dumps(tokens.published()))["keys"]
    public = {"ES256": "crv x y", "RS256": "e n", "EdDSA": "crv x"}[algorithm].split()
    assert set(key) == {"kty", "kid", "use", "alg", *public}
    assert key["kid"] == keys[algorithm].kid
    assert (key["use"], key["alg"]) == ("sig", algorithm)


def test_jw_16_kids_are_unique_and_coordinates_never_lose_leading_zeros(
    tokens: JwtAccessTokens,
) -> None:
    pairs = [tokens.new_key() for _ in range(300)]
    tokens.install(pairs, pairs[0].kid)
    published = tokens.published()["keys"]
    assert isinstance(published, list)
    assert len({key["kid"] for key in published}) == 300
    assert {len(key["x"]) for key in published} == {len(key["y"]) for key in published} == {43}


def test_jw_16_a_kid_is_the_thumbprint_of_rfc_7638(
    tokens: JwtAccessTokens, keys: dict[str, KeyPair]
) -> None:
    (key,) = json.loads(json.dumps(tokens.published()))["keys"]
    text = '{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.format(**key)
    assert keys["ES256"].kid == b64(hashlib.sha256(text.encode()).digest())


def test_jw_20_the_claims_are_those_of_rfc_9068(
    tokens: JwtAccessTokens, token_policy: TokenPolicy, clock: ManualClock
) -> None:
    claims = some_claims(token_policy, clock())
    payload = json.loads(unb64(tokens.sign(claims).split(".")[1]))
    assert payload == {
        "iss": token_policy.issuer,
        "aud": token_policy.audience,
        "sub": str(claims.subject),
        "sid": str(claims.session_id),
        "client_id": "gatepost",
        "scope": "account:read account:write",
        "roles": ["admin", "user"],
        "jti": str(claims.token_id),
        "iat": int(clock().timestamp()),
        "exp": int(clock().timestamp()) + 900,
    }
    assert str(UUID(payload["sub"])) == payload["sub"]


def test_parts_of_a_second_never_make_a_token_that_is_not_valid_yet(
    token_policy: TokenPolicy, clock: ManualClock
) -> None:
    tokens = JwtAccessTokens(token_policy, "EdDSA", clock, leeway=timedelta(0))
    with_new_key(tokens)
    clock.advance(timedelta(microseconds=999_999))
    assert tokens.verify(tokens.sign(some_claims(token_policy, clock())))


def test_a_verified_token_is_remembered_but_its_expiry_and_its_key_are_not(
    tokens: JwtAccessTokens, token_policy: TokenPolicy, clock: ManualClock
) -> None:
    token = tokens.sign(some_claims(token_policy, clock()))
    assert tokens.verify(token) is tokens.verify(token)
    other = tokens.new_key()
    tokens.install([other], other.kid)
    assert refused(tokens, token)


def test_the_memory_of_verified_tokens_is_bounded(
    token_policy: TokenPolicy, clock: ManualClock
) -> None:
    tokens = JwtAccessTokens(token_policy, "EdDSA", clock, cache=2)
    with_new_key(tokens)
    made = [
        tokens.sign(some_claims(token_policy, clock(), roles=(str(number),)))
        for number in range(3)
    ]
    first, second, third = (tokens.verify(token) for token in made)
    assert tokens.verify(made[2]) is third
    assert tokens.verify(made[1]) is second
    assert tokens.verify(made[0]) == first
    assert tokens.verify(made[0]) is not first


def test_keys_of_several_algorithms_verify_side_by_side(
    tokens: JwtAccessTokens,
    keys: dict[str, KeyPair],
    token_policy: TokenPolicy,
    clock: ManualClock,
) -> None:
    made = []
    for name in ALGORITHMS:
        tokens.install(list(keys.values()), keys[name].kid)
        made.append(tokens.sign(some_claims(token_policy, clock())))
    assert [jwt.get_unverified_header(token)["alg"] for token in made] == ALGORITHMS
    for token in made:
        tokens.verify(token)


def test_unusable_keys_are_refused_and_the_installed_ones_stay(
    tokens: JwtAccessTokens,
    keys: dict[str, KeyPair],
    token_policy: TokenPolicy,
    clock: ManualClock,
) -> None:
    good, rsa = keys["ES256"], keys["RS256"]
    damaged = KeyPair(kid="damaged", algorithm="ES256", private_key=good.private_key[:-3])
    misnamed = KeyPair(kid="misnamed", algorithm="ES256", private_key=good.private_key)
    of_another_kind = KeyPair(kid=rsa.kid, algorithm="ES256", private_key=rsa.private_key)
    unknown = KeyPair(kid=good.kid, algorithm="HS256", private_key=good.private_key)
    for pair in (damaged, misnamed, of_another_kind, unknown):
        with pytest.raises(SigningKeysInvalid, match=pair.kid):
            tokens.install([good, pair], good.kid)
    for pairs, signing in (([good], "missing"), ([], ""), ([good, good], good.kid)):
        with pytest.raises(SigningKeysInvalid):
            tokens.install(pairs, signing)
    tokens.verify(tokens.sign(some_claims(token_policy, clock())))


def test_an_unknown_algorithm_is_refused_and_nothing_is_signed_without_a_key(
    token_policy: TokenPolicy, clock: ManualClock
) -> None:
    for name in ("none", "HS256", "es256", ""):
        with pytest.raises(ValueError, match="algorithm"):
            JwtAccessTokens(token_policy, name, clock)
    with pytest.raises(RuntimeError, match=r"await gatepost\.keys\.load\(\)"):
        JwtAccessTokens(token_policy, "ES256", clock).sign(some_claims(token_policy, clock()))
