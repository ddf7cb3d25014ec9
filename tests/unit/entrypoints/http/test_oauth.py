import base64
from dataclasses import dataclass, replace
from urllib.parse import quote_plus

import httpx2
import pytest

from gatepost.adapters.memory import MemoryStorage, MemoryUnitOfWork
from gatepost.application.ports.sessions import CallerReader
from gatepost.domain.audit import ClientContext
from gatepost.domain.errors import Overloaded, RateLimited, Unavailable
from gatepost.domain.roles import Principal
from gatepost.entrypoints.http.app import create_app
from tests.unit.entrypoints.http.service import (
    OPTIONS,
    PASSWORD,
    PUBLIC_URL,
    Service,
    bearing,
    client_of,
    open_service,
    served,
)

FORM = "application/x-www-form-urlencoded"
WITH_PASSWORD = replace(OPTIONS, password_grant=True)
OPERATOR = Principal.operator()
ENDPOINTS = ["/oauth2/token", "/oauth2/revoke", "/oauth2/introspect"]


@dataclass(frozen=True)
class Robot:
    id: str
    secret: str

    @property
    def auth(self) -> tuple[str, str]:
        return self.id, self.secret


@pytest.fixture
async def service() -> Service:
    return await open_service(WITH_PASSWORD)


@pytest.fixture(scope="module")
async def shared() -> Service:
    return await open_service(WITH_PASSWORD)


async def robot(service: Service, *scopes: str) -> Robot:
    clients = service.gatepost.clients
    made = await clients.create(
        actor=OPERATOR, name="robot", scopes=scopes, client=ClientContext()
    )
    secret = await clients.add_secret(actor=OPERATOR, client_id=made.id, client=ClientContext())
    return Robot(str(made.id), secret.client_secret)


async def granted(service: Service, **form: str) -> httpx2.Response:
    return await service.http.post("/oauth2/token", data=form)


async def by_password(service: Service, **more: str) -> httpx2.Response:
    form = {"grant_type": "password", "username": "ada", "password": PASSWORD}
    return await granted(service, **form | more)


async def client_token(service: Service, auth: tuple[str, str], **form: str) -> httpx2.Response:
    body = {"grant_type": "client_credentials"} | form
    return await service.http.post("/oauth2/token", data=body, auth=auth)


def assert_error(answer: httpx2.Response, status: int, error: str) -> None:
    assert (answer.status_code, answer.json().get("error")) == (status, error), answer.text
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    assert ("www-authenticate" in answer.headers) is (status in (401, 403))
    assert ("retry-after" in answer.headers) is (status in (429, 503))


async def test_oa_18_the_password_grant_answers_with_both_tokens(service: Service) -> None:
    await service.member("ada")
    answer = await by_password(service)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    tokens = answer.json()
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 900)
    assert tokens["scope"] == "account:read account:write"
    me = await service.http.get("/v1/users/me", headers=bearing(tokens))
    assert me.json()["username"] == "ada"


async def test_the_authorize_button_signs_in_with_empty_client_credentials(
    service: Service,
) -> None:
    await service.member("ada")
    for authorization in ("Basic Og==", "Basic " + base64.b64encode(b"gatepost:").decode()):
        answer = await service.http.post(
            "/oauth2/token",
            data={"grant_type": "password", "username": "ada", "password": PASSWORD, "scope": ""},
            headers={"Authorization": authorization},
        )
        assert answer.status_code == 200, answer.text
    schemes = service.app.openapi()["components"]["securitySchemes"]
    assert schemes["password"]["flows"]["password"]["tokenUrl"] == "/oauth2/token"
    read_own = service.app.openapi()["paths"]["/v1/users/me"]["get"]
    assert {"password": ["account:read"]} in read_own["security"]


async def test_every_refusal_of_a_login_is_one_invalid_grant(service: Service) -> None:
    await service.member("ada")
    await service.registered("eve")
    answers = [
        await by_password(service, password="wrong password"),
        await by_password(service, username="nobody"),
        await by_password(service, username="@"),
        await by_password(service, username="eve"),
        await by_password(service, password="x" * 2000),
    ]
    for answer in answers:
        assert_error(answer, 400, "invalid_grant")
    assert len({answer.text for answer in answers}) == 1


async def test_either_door_refreshes_the_tokens_of_the_other(service: Service) -> None:
    await service.member("ada")
    first = (await by_password(service)).json()
    answer = await service.http.post(
        "/v1/sessions/refresh", json={"refresh_token": first["refresh_token"]}
    )
    second = await granted(
        service,
        grant_type="refresh_token",
        refresh_token=answer.json()["refresh_token"],
        client_id="gatepost",
    )
    assert second.status_code == 200
    assert second.json()["session_id"] == first["session_id"]
    assert second.headers["pragma"] == "no-cache"


async def test_oa_12_a_scope_narrows_and_never_widens(service: Service) -> None:
    await service.member("ada")
    first = await by_password(service, scope="account:read")
    assert first.json()["scope"] == "account:read"
    assert_error(await by_password(service, scope="users:read"), 400, "invalid_scope")
    form = {"grant_type": "refresh_token", "refresh_token": first.json()["refresh_token"]}
    wider = await granted(service, **form, scope="account:read users:read")
    assert_error(wider, 400, "invalid_scope")
    less = await granted(service, **form, scope="account:write")
    assert less.json()["scope"] == "account:write"
    machine = await robot(service, "users:read", "audit:read")
    answer = await client_token(service, machine.auth, scope="users:write")
    assert_error(answer, 400, "invalid_scope")
    answer = await client_token(service, machine.auth, scope="audit:read")
    assert answer.json()["scope"] == "audit:read"


async def test_se_20_a_refresh_with_another_clients_id_is_refused(service: Service) -> None:
    await service.member("ada")
    machine = await robot(service)
    token = (await by_password(service)).json()["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": token}
    assert_error(await granted(service, **form, client_id="other"), 400, "invalid_grant")
    answer = await service.http.post("/oauth2/token", data=form, auth=machine.auth)
    assert_error(answer, 400, "invalid_grant")
    assert (await granted(service, **form, client_id="gatepost")).status_code == 200
    assert_error(await by_password(service, client_id="other"), 401, "invalid_client")


async def test_jw_20_a_client_gets_an_access_token_alone(service: Service) -> None:
    machine = await robot(service, "users:read", "audit:read")
    answer = await client_token(service, machine.auth)
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "scope"}
    assert answer.json()["scope"] == "audit:read users:read"
    assert answer.headers["pragma"] == "no-cache"
    claims = service.ports.access_tokens.verify(answer.json()["access_token"])
    assert str(claims.subject) == claims.client_id == machine.id
    form = {"grant_type": "client_credentials", "client_id": machine.id}
    by_form = await granted(service, **form, client_secret=machine.secret)
    assert by_form.status_code == 200


async def test_basic_credentials_are_form_encoded_first(service: Service) -> None:
    machine = await robot(service)
    spelled = "".join(f"%{ord(char):02x}" for char in machine.secret)
    answer = await client_token(service, (quote_plus(machine.id), spelled))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic !",
        "Basic é",
        "Bearer x",
        "Digest x",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"a:\xff").decode(),
        "Basic " + base64.b64encode(b"a:%ff").decode(),
        "Basic " + base64.b64encode(b"a:\0").decode(),
        "Basic " + base64.b64encode(b"gatepost:").decode(),
        "Basic " + base64.b64encode(b"01890000-0000-7000-8000-000000000001:x").decode(),
    ],
)
async def test_oa_10_a_client_that_does_not_prove_itself_gets_nothing(
    shared: Service, authorization: str
) -> None:
    answer = await shared.http.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials"},
        headers=[(b"Authorization", authorization.encode())],
    )
    assert_error(answer, 401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_oa_10_a_wrong_secret_is_refused(service: Service) -> None:
    machine = await robot(service)
    assert_error(await client_token(service, (machine.id, "wrong")), 401, "invalid_client")
    assert_error(await granted(service, grant_type="client_credentials"), 401, "invalid_client")
    twice = [(b"Authorization", b"Basic Og=="), (b"Authorization", b"Basic Og==")]
    answer = await service.http.post(
        "/oauth2/token", data={"grant_type": "client_credentials"}, headers=twice
    )
    assert_error(answer, 401, "invalid_client")


async def test_credentials_come_in_one_way(service: Service) -> None:
    machine = await robot(service)
    both = await client_token(service, machine.auth, client_secret=machine.secret)
    assert_error(both, 400, "invalid_request")
    other = await client_token(service, machine.auth, client_id="other")
    assert_error(other, 400, "invalid_request")
    assert (await client_token(service, machine.auth, client_id=machine.id)).status_code == 200


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"", FORM, 400),
        (b"grant_type=", FORM, 400),
        (b"grant_type=refresh_token", FORM, 400),
        (b"grant_type=password&username=a", FORM, 400),
        (b"grant_type=refresh_token&refresh_token=a&refresh_token=a", FORM, 400),
        (b"grant_type=refresh_token&refresh_token=a&x=&x=", FORM, 400),
        (b"grant_type=refresh_token&refresh_token=%00", FORM, 400),
        (b"grant_type=refresh_token&refresh_token=%ff", FORM, 400),
        (b"\xff", FORM, 400),
        (b"&".join(b"p%d=1" % number for number in range(101)), FORM, 400),
        (b'{"grant_type": "refresh_token"}', "application/json", 415),
        (b"grant_type=refresh_token", "text/plain", 415),
        (b"x" * 70_000, FORM, 413),
    ],
)
async def test_what_is_no_such_form_is_an_invalid_request(
    shared: Service, content: bytes, media_type: str, status: int
) -> None:
    actor = await robot(shared, "tokens:introspect")
    tokens = (await client_token(shared, actor.auth)).json()
    for url in ENDPOINTS:
        headers = bearing(tokens) if url == "/oauth2/introspect" else {}
        headers |= {"Content-Type": media_type}
        answer = await shared.http.post(url, content=content, headers=headers)
        assert_error(answer, status, "invalid_request")


async def test_unknown_parameters_are_ignored(service: Service) -> None:
    machine = await robot(service)
    answer = await client_token(service, machine.auth, audience="x", token="y")
    assert answer.status_code == 200


@pytest.mark.parametrize("url", ENDPOINTS)
async def test_only_posts_are_taken(shared: Service, url: str) -> None:
    answer = await shared.http.get(url)
    assert_error(answer, 405, "invalid_request")
    assert answer.headers["allow"] == "POST"


async def test_oa_36_grants_that_are_not_there_are_unsupported(service: Service) -> None:
    for grant in ("implicit", "authorization_code", "PASSWORD", "password "):
        answer = await by_password(service, grant_type=grant)
        assert_error(answer, 400, "unsupported_grant_type")
    where_off = await open_service(OPTIONS)
    await where_off.member("ada")
    assert_error(await by_password(where_off), 400, "unsupported_grant_type")
    metadata = (await where_off.http.get("/.well-known/oauth-authorization-server")).json()
    assert "password" not in metadata["grant_types_supported"]
    assert "password" not in where_off.app.openapi()["components"]["securitySchemes"]


@pytest.mark.parametrize(
    ("refusal", "status"), [(Overloaded(), 503), (Unavailable(), 503), (RateLimited(7), 429)]
)
async def test_what_may_work_later_is_temporarily_unavailable(
    shared: Service, refusal: Exception, status: int
) -> None:
    async def refuse(**_: object) -> None:
        raise refusal

    sessions = replace(shared.gatepost.sessions, log_in=refuse, refresh=refuse)  # type: ignore[arg-type]
    http = client_of(served(replace(shared.gatepost, sessions=sessions), WITH_PASSWORD))
    for form in (
        {"grant_type": "password", "username": "a", "password": "b"},
        {"grant_type": "refresh_token", "refresh_token": "a"},
    ):
        answer = await http.post("/oauth2/token", data=form)
        assert_error(answer, status, "temporarily_unavailable")


async def test_a_failure_of_ours_is_told_in_oauths_words_too(shared: Service) -> None:
    async def fail(**_: object) -> None:
        raise RuntimeError("secret detail")

    sessions = replace(shared.gatepost.sessions, refresh=fail)  # type: ignore[arg-type]
    http = client_of(served(replace(shared.gatepost, sessions=sessions), WITH_PASSWORD))
    form = {"grant_type": "refresh_token", "refresh_token": "a"}
    answer = await http.post("/oauth2/token", data=form)
    assert_error(answer, 500, "server_error")
    assert "secret detail" not in answer.text


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_oa_16_revoking_ends_the_session(service: Service, kind: str) -> None:
    await service.member("ada")
    tokens, other = [(await by_password(service)).json() for _ in range(2)]
    form = {"token": tokens[kind], "token_type_hint": "nonsense"}
    answer = await service.http.post("/oauth2/revoke", data=form)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    me = "/v1/users/me"
    assert (await service.http.get(me, headers=bearing(tokens))).status_code == 401
    assert (await service.http.get(me, headers=bearing(other))).status_code == 200
    assert (await service.http.post("/oauth2/revoke", data=form)).status_code == 200


async def test_oa_16_another_clients_token_stays_as_it_is(service: Service) -> None:
    await service.member("ada")
    tokens = (await by_password(service)).json()
    machine = await robot(service, "users:read")
    own = (await client_token(service, machine.auth)).json()
    revoke = service.http.post
    answer = await revoke(
        "/oauth2/revoke", data={"token": tokens["refresh_token"]}, auth=machine.auth
    )
    assert_error(answer, 400, "invalid_grant")
    answer = await revoke(
        "/oauth2/revoke", data={"token": tokens["refresh_token"]}, auth=(machine.id, "wrong")
    )
    assert_error(answer, 401, "invalid_client")
    assert (await service.http.get("/v1/users/me", headers=bearing(tokens))).status_code == 200
    answer = await revoke("/oauth2/revoke", data={"token": own["access_token"]})
    assert_error(answer, 400, "unsupported_token_type")


async def test_revoking_the_unknown_is_no_error(shared: Service) -> None:
    for token in ("x", "a.b.c", "gpr_x"):
        answer = await shared.http.post("/oauth2/revoke", data={"token": token})
        assert answer.status_code == 200


class _Down(MemoryUnitOfWork, CallerReader):
    """A store that cannot be reached."""

    def __call__(self):  # type: ignore[no-untyped-def]
        raise Unavailable

    async def find(self, *_: object) -> None:
        raise Unavailable

    async def client_scopes(self, *_: object) -> None:
        raise Unavailable

    async def client(self, *_: object) -> None:
        raise Unavailable

    async def by_username(self, *_: object) -> None:
        raise Unavailable

    async def by_email(self, *_: object) -> tuple[None, None]:
        raise Unavailable


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_oa_17_revoking_while_the_store_is_down_is_503(service: Service, kind: str) -> None:
    await service.member("ada")
    token = (await by_password(service)).json()[kind]
    down = _Down(MemoryStorage())
    oauth = service.gatepost.oauth
    oauth = replace(oauth, revoke=replace(oauth.revoke, uow=down, callers=down))
    http = client_of(served(replace(service.gatepost, oauth=oauth), WITH_PASSWORD))
    answer = await http.post("/oauth2/revoke", data={"token": token})
    assert_error(answer, 503, "temporarily_unavailable")


async def introspected(service: Service, token: str, machine: Robot) -> httpx2.Response:
    return await service.http.post("/oauth2/introspect", data={"token": token}, auth=machine.auth)


async def test_introspection_tells_clients_what_a_token_is_worth(service: Service) -> None:
    await service.member("ada")
    machine = await robot(service, "tokens:introspect")
    tokens = (await by_password(service)).json()
    for kind in ("access_token", "refresh_token"):
        answer = await introspected(service, tokens[kind], machine)
        assert answer.headers["cache-control"] == "no-store"
        found = answer.json()
        assert (found["active"], found["username"], found["client_id"]) == (
            True,
            "ada",
            "gatepost",
        )
        assert found["sid"] == tokens["session_id"]
        assert ("token_type" in found) is (kind == "access_token")
    own = (await client_token(service, machine.auth)).json()
    found = (await introspected(service, own["access_token"], machine)).json()
    assert (found["sub"], found["client_id"]) == (machine.id, machine.id)
    assert "sid" not in found
    assert "username" not in found
    by_bearer = await service.http.post(
        "/oauth2/introspect", data={"token": tokens["access_token"]}, headers=bearing(own)
    )
    assert by_bearer.json()["active"] is True


async def test_oa_14_inactive_tokens_are_told_nothing_of(service: Service) -> None:
    await service.member("ada")
    machine = await robot(service, "tokens:introspect")
    tokens = (await by_password(service)).json()
    await service.http.post("/oauth2/revoke", data={"token": tokens["refresh_token"]})
    for token in ("rubbish", tokens["access_token"], tokens["refresh_token"]):
        answer = await introspected(service, token, machine)
        assert (answer.status_code, answer.json()) == (200, {"active": False})


async def test_oa_14_introspection_needs_authentication_and_the_scope(service: Service) -> None:
    await service.member("ada")
    form = {"token": "rubbish"}
    tokens = (await by_password(service)).json()
    machine = await robot(service, "users:read")
    url, post = "/oauth2/introspect", service.http.post
    assert_error(await post(url, data=form), 401, "invalid_client")
    assert_error(await post(url, data=form, auth=(machine.id, "wrong")), 401, "invalid_client")
    bad = await post(url, data=form, headers={"Authorization": "Bearer x"})
    assert_error(bad, 401, "invalid_token")
    assert bad.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    for answer in (
        await post(url, data=form, headers=bearing(tokens)),
        await post(url, data=form, auth=machine.auth),
        await post(url, data={"other": "x"}, auth=machine.auth),
    ):
        assert_error(answer, 403, "insufficient_scope")


async def test_oa_20_the_metadata_lists_what_is_there(shared: Service) -> None:
    answer = await shared.http.get("/.well-known/oauth-authorization-server")
    metadata = answer.json()
    issuer = shared.gatepost.policies.tokens.issuer
    assert metadata["issuer"] == issuer
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert metadata["response_types_supported"] == []
    assert set(metadata["grant_types_supported"]) == {
        "client_credentials",
        "refresh_token",
        "password",
    }
    for name in ("token_endpoint", "revocation_endpoint", "introspection_endpoint"):
        path = metadata[name].removeprefix(issuer)
        assert (await shared.http.post(path)).status_code == 415
    for name in ("jwks_uri", "service_documentation"):
        path = metadata[name].removeprefix(issuer)
        assert (await shared.http.get(path)).status_code == 200


async def test_oa_20_an_issuer_with_a_path_is_found_by_both_addresses(shared: Service) -> None:
    policies = shared.gatepost.policies
    issuer = f"{PUBLIC_URL}/id"
    tokens = replace(policies.tokens, issuer=issuer)
    gatepost = replace(shared.gatepost, policies=replace(policies, tokens=tokens))
    http = client_of(create_app(gatepost, replace(OPTIONS, public_url=issuer, docs=False)))
    for path in ("", "/id"):
        answer = await http.get(f"/.well-known/oauth-authorization-server{path}")
        assert answer.json()["issuer"] == issuer
        assert "service_documentation" not in answer.json()
