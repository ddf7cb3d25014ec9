import asyncio
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Protocol

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
)

from gatepost.testing.contracts.security import some_claims
from gatepost.verifier import (
    AccessClaims,
    AccessTokenInvalid,
    InsufficientScope,
    KeyCachePolicy,
    SyncVerifier,
    Unavailable,
    Verifier,
    checks,
)
from tests.unit.verifier.issuer import AUDIENCE, ISSUER, POLICY, Issuer, b64


class Checker(Protocol):
    async def verify(self, token: str, *scopes: str) -> AccessClaims: ...


class InThreads:
    """The verifier of threads, asked like the other."""

    def __init__(self, verifier: SyncVerifier) -> None:
        self._verifier = verifier

    async def verify(self, token: str, *scopes: str) -> AccessClaims:
        return self._verifier.verify(token, *scopes)


def checker_of(kind: str, issuer: Issuer, **given: Any) -> Checker:
    options: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "now": issuer.clock,
        "seconds": issuer.seconds,
    } | given
    if kind == "async":
        return Verifier(fetch=issuer.fetch, **options)
    return InThreads(SyncVerifier(fetch=issuer.read, **options))


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(params=["async", "threads"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def checker(kind: str, issuer: Issuer) -> AsyncIterator[Checker]:
    yield checker_of(kind, issuer)
    await asyncio.sleep(0)


async def refused(checker: Checker, token: str) -> bool:
    with pytest.raises(AccessTokenInvalid):
        await checker.verify(token)
    return True


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
async def test_what_the_service_signs_is_read_whatever_the_algorithm(algorithm: str) -> None:
    issuer = Issuer(algorithm)
    checker = checker_of("async", issuer)
    assert await checker.verify(issuer.sign()) == some_claims(POLICY, issuer.clock())
    assert await refused(checker, issuer.forge(issuer.members(), {"alg": "HS256"}))


async def test_each_scope_that_is_demanded_must_be_there(checker: Checker, issuer: Issuer) -> None:
    token = issuer.forge(issuer.members() | {"scope": "orders:read account:read"})
    assert (await checker.verify(token, "orders:read")).scope == "orders:read account:read"
    for lacking in ("orders:write", "orders", "read"):
        with pytest.raises(InsufficientScope, match=lacking):
            await checker.verify(token, "orders:read", lacking)


@pytest.mark.parametrize("spelling", ["none", "None", "NONE", "nOnE", "", None])
async def test_jw_01_a_resource_server_refuses_unsigned_tokens(
    checker: Checker, issuer: Issuer, spelling: str | None
) -> None:
    token = issuer.forge(issuer.members(), {"alg": spelling})
    for each in (token, token.rpartition(".")[0] + ".", token.rpartition(".")[0]):
        assert await refused(checker, each)


async def test_jw_02_a_resource_server_takes_no_public_key_for_a_secret(
    checker: Checker, issuer: Issuer
) -> None:
    pair = issuer.pairs[-1]
    public = load_der_private_key(pair.private_key, None).public_key()
    header = json.dumps({"alg": "HS256", "kid": pair.kid, "typ": "at+jwt"}).encode()
    text = f"{b64(header)}.{b64(json.dumps(issuer.members()).encode())}"
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mac = hmac.digest(secret, text.encode(), hashlib.sha256)
    assert await refused(checker, f"{text}.{b64(mac)}")


async def test_jw_04_a_resource_server_refuses_altered_and_foreign_signatures(
    checker: Checker, issuer: Issuer
) -> None:
    header, payload, signature = issuer.sign().split(".")
    other = b64(json.dumps(issuer.members() | {"scope": "users:write"}).encode())
    assert await refused(checker, f"{header}.{other}.{signature}")
    assert await refused(checker, f"{header}.{payload}.{signature[:-4]}")
    stranger = Issuer()
    own_kid: dict[str, object] = {"kid": issuer.pairs[-1].kid}
    assert await refused(checker, stranger.forge(issuer.members(), own_kid))


async def test_jw_07_a_resource_server_allows_for_clocks_that_differ_and_no_more(
    kind: str, issuer: Issuer
) -> None:
    checker = checker_of(kind, issuer, leeway=timedelta(seconds=30))
    token, now = issuer.sign(), int(issuer.clock().timestamp())
    await checker.verify(issuer.forge(issuer.members() | {"nbf": now + 29}))
    assert await refused(checker, issuer.forge(issuer.members() | {"nbf": now + 32}))
    issuer.clock.advance(POLICY.access_ttl + timedelta(seconds=28))
    await checker.verify(token)
    issuer.clock.advance(timedelta(seconds=2))
    assert await refused(checker, token)
    for seconds in (-1, 61):
        with pytest.raises(ValueError, match="leeway"):
            checker_of(kind, issuer, leeway=timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("name", "value"),
    [("exp", "soon"), ("exp", 1.9e9), ("exp", float("nan")), ("exp", None), ("sub", 5)],
)
async def test_jw_08_a_resource_server_refuses_claims_of_a_wrong_kind(
    checker: Checker, issuer: Issuer, name: str, value: object
) -> None:
    assert await refused(checker, issuer.forge(issuer.members() | {name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iss", "https://id.example.co"),
        ("iss", "https://id.example.com/"),
        ("aud", "https://other.example.com"),
        ("aud", ["https://other.example.com"]),
        ("aud", None),
    ],
)
async def test_jw_09_jw_10_a_resource_server_compares_issuer_and_audience_whole(
    checker: Checker, issuer: Issuer, name: str, value: object
) -> None:
    assert await refused(checker, issuer.forge(issuer.members() | {name: value}))
    both = issuer.forge(issuer.members() | {"aud": ["https://other.example.com", AUDIENCE]})
    await checker.verify(both)


@pytest.mark.parametrize(
    "header",
    [{"crit": ["exp"]}, {"jwk": {"kty": "EC"}}, {"jku": "https://evil.example.com"}]
    + [{"typ": typ} for typ in ("JWT", "id+jwt", None)],
)
async def test_jw_12_a_resource_server_refuses_a_header_that_asks_for_more(
    checker: Checker, issuer: Issuer, header: dict[str, object]
) -> None:
    assert await refused(checker, issuer.forge(issuer.members(), header))


async def test_a_key_that_is_new_is_read_when_its_first_token_comes(
    checker: Checker, issuer: Issuer
) -> None:
    await checker.verify(issuer.sign())
    issuer.elapsed += 31
    issuer.rotate()
    await checker.verify(issuer.sign())
    assert issuer.reads == 2


async def test_made_up_keys_cause_one_reading_a_cool_down(
    checker: Checker, issuer: Issuer
) -> None:
    await checker.verify(issuer.sign())
    for step in range(100):
        issuer.elapsed += 1
        assert await refused(checker, issuer.forge(issuer.members(), {"kid": f"made up {step}"}))
    assert issuer.reads == 1 + 100 // 30


async def test_the_old_keys_serve_on_while_they_cannot_be_read(
    checker: Checker, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    token = issuer.sign()
    await checker.verify(token)
    issuer.is_down = True
    for _ in range(20):
        issuer.elapsed += 60
        await checker.verify(token)
        await asyncio.sleep(0)
    assert 15 <= issuer.reads <= 17
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    # Whether the key exists is not known now, so that is not what is said.
    with pytest.raises(Unavailable):
        await checker.verify(issuer.forge(issuer.members(), {"kid": "new"}))
    issuer.is_down = False
    issuer.elapsed += 30
    assert await refused(checker, issuer.forge(issuer.members(), {"kid": "new"}))


async def test_keys_that_could_not_be_read_for_a_day_serve_no_more(
    checker: Checker, issuer: Issuer
) -> None:
    token = issuer.sign()
    await checker.verify(token)
    issuer.is_down = True
    issuer.elapsed += 24 * 3600
    with pytest.raises(Unavailable):
        await checker.verify(token)
    issuer.is_down = False
    issuer.elapsed += 30
    await checker.verify(token)


async def test_a_revoked_key_is_refused_within_the_age_of_the_set(
    checker: Checker, issuer: Issuer
) -> None:
    token = issuer.sign()
    issuer.rotate()
    await checker.verify(token)
    revoked = issuer.pairs.pop(0)
    issuer.tokens.install(issuer.pairs, issuer.pairs[-1].kid)
    assert revoked not in issuer.pairs
    issuer.elapsed += 300
    for _ in range(2):
        await checker.verify(issuer.sign())
        await asyncio.sleep(0)
    assert await refused(checker, token)


async def test_who_starts_before_the_issuer_tries_again_each_second(
    checker: Checker, issuer: Issuer
) -> None:
    issuer.is_down = True
    token = issuer.sign()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await checker.verify(token)
    assert issuer.reads == 1
    issuer.is_down = False
    issuer.elapsed += 1
    await checker.verify(token)


@pytest.mark.parametrize(
    "published",
    [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [5, {}, {"kid": "a"}]}],
)
async def test_what_is_no_key_set_leaves_the_old_one(
    checker: Checker, issuer: Issuer, published: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.sign()
    await checker.verify(token)
    monkeypatch.setattr(issuer, "published", lambda: published)
    issuer.elapsed += 301
    for _ in range(2):
        await checker.verify(token)
        await asyncio.sleep(0)
    assert issuer.reads == 2


@pytest.mark.parametrize(
    "spoiled",
    [
        {"use": "enc"},
        {"kid": 5},
        {"alg": "none"},
        {"alg": ["ES256"]},
        {"alg": "RS256"},
        {"crv": "P-384"},
        {"kty": "oct"},
        {"x": "AAAA"},
        {"x": 5},
        {"y": None},
    ],
)
async def test_a_published_key_of_another_kind_is_passed_over(
    kind: str, issuer: Issuer, spoiled: dict[str, object]
) -> None:
    token = issuer.sign()
    good = issuer.rotate()
    first, second = issuer.published()["keys"]
    keys = {"keys": [first | spoiled, second]}
    checker = checker_of(kind, issuer)
    issuer.published = lambda: keys  # type: ignore[method-assign]
    assert (await checker.verify(issuer.sign())).issuer == ISSUER
    assert good.kid == second["kid"]
    assert await refused(checker, token)


async def test_a_private_key_that_is_published_by_mistake_verifies_nothing(
    kind: str, issuer: Issuer
) -> None:
    token, (public,) = issuer.sign(), issuer.published()["keys"]
    private = load_der_private_key(issuer.pairs[-1].private_key, None)
    leaked = public | jwt.get_algorithm_by_name("ES256").to_jwk(private, as_dict=True)
    issuer.published = lambda: {"keys": [leaked]}  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await checker_of(kind, issuer).verify(token)


async def test_an_rsa_key_that_is_too_short_verifies_nothing(kind: str) -> None:
    issuer = Issuer("RS256")
    short = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505
    members = jwt.get_algorithm_by_name("RS256").to_jwk(short, as_dict=True)
    (public,) = issuer.published()["keys"]
    issuer.published = lambda: {"keys": [public | members]}  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await checker_of(kind, issuer).verify(issuer.sign())


async def test_what_was_verified_stays_so_when_the_same_keys_are_read_again(
    checker: Checker, issuer: Issuer
) -> None:
    token = issuer.sign()
    first = await checker.verify(token)
    issuer.elapsed += 301
    await checker.verify(token)
    await asyncio.sleep(0)
    assert issuer.reads == 2
    assert await checker.verify(token) is first


async def test_those_who_miss_at_once_share_one_reading(issuer: Issuer) -> None:
    release = asyncio.Event()

    async def fetch() -> Any:
        await release.wait()
        return issuer.read()

    verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, fetch=fetch, now=issuer.clock)
    token = issuer.sign()
    waiting = [asyncio.create_task(verifier.verify(token)) for _ in range(20)]
    await asyncio.sleep(0)
    # The one who caused the reading goes away, and the others still get it.
    waiting[0].cancel()
    release.set()
    found = await asyncio.gather(*waiting[1:])
    assert len(found) == 19
    assert issuer.reads == 1


async def test_a_slow_issuer_delays_nobody_whose_key_is_known(issuer: Issuer) -> None:
    release = asyncio.Event()

    async def fetch() -> Any:
        if issuer.reads:
            await release.wait()
        return issuer.read()

    verifier = Verifier(
        issuer=ISSUER, audience=AUDIENCE, fetch=fetch, now=issuer.clock, seconds=issuer.seconds
    )
    token = issuer.sign()
    await verifier.verify(token)
    issuer.elapsed += 301
    await verifier.verify(token)
    assert issuer.reads == 1
    release.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert issuer.reads == 2


def test_threads_that_miss_at_once_share_one_reading(issuer: Issuer) -> None:
    ready = threading.Barrier(8)

    def fetch() -> Any:
        time.sleep(0.05)
        return issuer.read()

    verifier = SyncVerifier(issuer=ISSUER, audience=AUDIENCE, fetch=fetch, now=issuer.clock)
    token = issuer.sign()

    def ask() -> AccessClaims:
        ready.wait()
        return verifier.verify(token)

    with ThreadPoolExecutor(8) as threads:
        found = [future.result() for future in [threads.submit(ask) for _ in range(8)]]
    assert len(found) == 8
    assert issuer.reads == 1


def test_threads_that_waited_for_a_reading_in_vain_do_not_wait_for_the_next(
    issuer: Issuer,
) -> None:
    ready = threading.Barrier(8)

    def fetch() -> Any:
        issuer.reads += 1
        time.sleep(0.05)
        # As if it had hung for longer than the wait before another try.
        issuer.elapsed += 3
        raise TimeoutError

    verifier = SyncVerifier(
        issuer=ISSUER, audience=AUDIENCE, fetch=fetch, now=issuer.clock, seconds=issuer.seconds
    )

    def ask() -> None:
        ready.wait()
        with pytest.raises(Unavailable):
            verifier.verify("x")

    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(ask) for _ in range(8)]:
            future.result()
    assert issuer.reads == 1


def test_one_verifier_serves_loops_that_come_and_go(issuer: Issuer) -> None:
    verifier = Verifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        fetch=issuer.fetch,
        now=issuer.clock,
        times=KeyCachePolicy(cool_down=timedelta(0)),
    )

    async def ask() -> AccessClaims:
        return await verifier.verify(issuer.sign())

    with ThreadPoolExecutor(1) as elsewhere:
        for _ in range(2):
            assert elsewhere.submit(asyncio.run, ask()).result().issuer == ISSUER
            issuer.rotate()


async def test_a_reading_that_hangs_in_another_loop_is_not_waited_for(issuer: Issuer) -> None:
    began, release = threading.Event(), threading.Event()

    async def fetch() -> Any:
        if issuer.reads == 0:
            issuer.reads += 1
            began.set()
            while not release.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return issuer.read()

    verifier = Verifier(
        issuer=ISSUER, audience=AUDIENCE, fetch=fetch, now=issuer.clock, seconds=issuer.seconds
    )
    token = issuer.sign()

    async def ask() -> AccessClaims:
        return await verifier.verify(token)

    with ThreadPoolExecutor(1) as elsewhere:
        other = elsewhere.submit(asyncio.run, ask())
        began.wait()
        issuer.elapsed += 1
        assert (await verifier.verify(token)).issuer == ISSUER
        release.set()
        assert other.result().issuer == ISSUER


async def test_a_token_that_was_verified_costs_little(issuer: Issuer) -> None:
    checker = checker_of("async", issuer)
    tokens = [issuer.sign() for _ in range(50)]
    await checker.verify(issuer.sign())

    async def spent() -> float:
        began = time.perf_counter()
        for token in tokens:
            await checker.verify(token, "account:read")
        return time.perf_counter() - began

    first = await spent()
    assert min([await spent() for _ in range(5)]) < first / 5


class _Site(BaseHTTPRequestHandler):
    """Answers with what the test put into `answers`, by path."""

    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}

    def do_GET(self) -> None:
        status, body = self.answers.get(self.path, (302, b"{}"))
        self.send_response(status)
        self.send_header("Location", "/elsewhere.json")
        self.end_headers()
        for piece in [body[at : at + 9] for at in range(0, len(body), 9)]:
            with suppress(ConnectionError):
                self.wfile.write(piece)
            time.sleep(0.02 if self.path == "/slowly" else 0)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    _Site.answers.clear()


def _over_http(kind: str, issuer: Issuer, **options: Any) -> Checker:
    options |= {"issuer": ISSUER, "audience": AUDIENCE, "now": issuer.clock}
    return Verifier(**options) if kind == "async" else InThreads(SyncVerifier(**options))


async def test_keys_come_over_http(kind: str, issuer: Issuer, site: str) -> None:
    _Site.answers["/keys"] = (200, json.dumps(issuer.published()).encode())
    checker = _over_http(kind, issuer, jwks_url=f"{site}/keys")
    assert await checker.verify(issuer.sign()) == some_claims(POLICY, issuer.clock())


@pytest.mark.parametrize("status", [500, 404, 302])
async def test_an_answer_that_is_no_success_has_no_keys(
    kind: str, issuer: Issuer, site: str, status: int
) -> None:
    keys = json.dumps(issuer.published()).encode()
    _Site.answers |= {"/keys": (status, keys), "/elsewhere.json": (200, keys)}
    with pytest.raises(Unavailable):
        await _over_http(kind, issuer, jwks_url=f"{site}/keys").verify(issuer.sign())


def test_keys_that_trickle_in_are_given_up(
    issuer: Issuer, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_FETCH_SECONDS", 0.2)
    _Site.answers["/slowly"] = (200, json.dumps(issuer.published()).encode())
    with pytest.raises(Unavailable):
        SyncVerifier(
            issuer=ISSUER, audience=AUDIENCE, now=issuer.clock, jwks_url=f"{site}/slowly"
        ).verify(issuer.sign())


@pytest.mark.parametrize("missing", ["issuer", "audience"])
def test_a_verifier_is_told_whose_tokens_it_takes(missing: str) -> None:
    named: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, missing: ""}
    with pytest.raises(ValueError, match="Issuer and audience"):
        SyncVerifier(**named)


def test_keys_are_where_the_service_publishes_them() -> None:
    for issuer in ("https://id.example.com", "https://id.example.com/"):
        verifier = SyncVerifier(issuer=issuer, audience=AUDIENCE)
        assert verifier.jwks_url == "https://id.example.com/.well-known/jwks.json"


@pytest.mark.parametrize(
    ("claims", "header", "told"),
    [
        ({"iss": f"{ISSUER}/"}, {}, f"its iss is not '{ISSUER}', letter by letter"),
        ({"aud": ["elsewhere"]}, {}, f"its aud is not '{AUDIENCE}', letter by letter"),
        ({}, {"typ": "JWT"}, "its typ is not at+jwt"),
        ({"exp": 1}, {}, "its kid, alg, signature, times or another claim"),
    ],
)
def test_the_log_says_which_check_failed_and_nothing_of_the_token(
    claims: dict[str, Any], header: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = Issuer()
    verifier = SyncVerifier(
        issuer=ISSUER, audience=AUDIENCE, fetch=issuer.published, now=issuer.clock
    )
    token = issuer.forge(issuer.members() | claims, header)
    with caplog.at_level(logging.DEBUG, "gatepost.verifier"), pytest.raises(AccessTokenInvalid):
        verifier.verify(token)
    assert caplog.messages == [f"token refused: {told}"]


@pytest.mark.parametrize("token", ["a.b.c", "", "x" * 9000])
def test_what_is_no_token_is_said_to_be_none(token: str, caplog: pytest.LogCaptureFixture) -> None:
    issuer = Issuer()
    verifier = SyncVerifier(issuer=ISSUER, audience=AUDIENCE, fetch=issuer.published)
    with caplog.at_level(logging.DEBUG, "gatepost.verifier"), pytest.raises(AccessTokenInvalid):
        verifier.verify(token)
    assert caplog.messages[0].startswith("token refused: it is ")
