"""Gatepost under a prefix of somebody else's application; one for most tests, for speed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated
from uuid import UUID

import httpx2
import pytest
from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gatepost import (
    ClientContext,
    Principal,
    Routes,
    assemble,
    client_context,
    create_app,
    mount,
    require_scope,
)
from tests.unit.entrypoints.http.service import (
    OPTIONS,
    PASSWORD,
    Service,
    client_of,
    policies_for,
    ports_for,
)

ORIGIN = "https://shop.example.com"
PUBLIC_URL = f"{ORIGIN}/auth"
ELSEWHERE = "https://elsewhere.example.com/auth"
MOUNTED = replace(
    OPTIONS, public_url=PUBLIC_URL, frontend_url=PUBLIC_URL, password_grant=True, cors_origins=()
)


async def whatever(request: Request) -> Response:
    return PlainTextResponse("the host's own")


@dataclass(frozen=True)
class Host:
    app: Starlette
    service: Service
    http: httpx2.AsyncClient


async def a_host(app: Starlette) -> Host:
    ports = ports_for(MOUNTED)
    gatepost = assemble(ports, policies_for(MOUNTED))
    mount(app, "/auth", gatepost, MOUNTED)
    transport = httpx2.ASGITransport(app, client=("203.0.113.9", 4711))
    http = httpx2.AsyncClient(transport=transport, base_url=PUBLIC_URL)
    return Host(app, Service(ports, gatepost, FastAPI(), http, app), http)


@pytest.fixture(scope="module")
async def host() -> AsyncIterator[Host]:
    made = await a_host(_shop())
    async with made.http:
        yield made


def _shop() -> FastAPI:
    app = FastAPI()

    @app.get("/orders")
    async def orders(
        caller: Annotated[Principal, Depends(require_scope("account:read"))],
        client: Annotated[ClientContext, Depends(client_context)],
    ) -> dict[str, str | None]:
        customer = caller.own_account.username.value
        return {"customer": customer, "ip": client.ip, "id": client.request_id}

    @app.get("/reports")
    async def reports(
        caller: Annotated[Principal, Depends(require_scope("audit:read"))],
    ) -> dict[str, str]:
        return {}

    @app.websocket("/news")
    async def news(
        socket: WebSocket,
        caller: Annotated[Principal, Depends(require_scope("account:read"))],
        client: Annotated[ClientContext, Depends(client_context)],
    ) -> None:
        await socket.accept()
        await socket.send_text(f"{caller.own_account.username.value} {client.ip}")
        await socket.close()

    return app


async def test_links_of_refusals_lead_under_the_prefix(host: Host) -> None:
    refused = (await host.http.get("/v1/users/me")).json()
    assert refused["type"] == f"{PUBLIC_URL}/problems/unauthenticated"
    assert refused["instance"] == "/auth/v1/users/me"
    assert (await host.http.get(refused["type"])).status_code == 200
    missing = await host.http.get("/v1/nothing")
    assert missing.json()["code"] == "not_found"
    assert (await host.http.delete("/v1/register")).headers["allow"] == "POST"


async def test_oauth_refuses_in_its_own_words_under_the_prefix(host: Host) -> None:
    answer = await host.http.post("/oauth2/token", data={"grant_type": "telepathy"})
    assert answer.json()["error"] == "unsupported_grant_type"


async def test_metadata_is_at_the_root_of_the_host_where_clients_look_for_it(host: Host) -> None:
    path = "/.well-known/oauth-authorization-server"
    looked_for = await host.http.get(f"{ORIGIN}{path}/auth")
    assert looked_for.status_code == 200
    assert looked_for.json()["issuer"] == PUBLIC_URL
    assert looked_for.headers["access-control-allow-origin"] == "*"
    assert looked_for.content == (await host.http.get(path)).content
    assert (await host.http.post(f"{ORIGIN}{path}/auth")).status_code == 405
    assert (await host.http.get(f"{ORIGIN}{path}")).status_code == 404


async def test_metadata_comes_and_goes_with_the_mount() -> None:
    app = Starlette()
    mounted = await a_host(app)
    mount(app, "/auth", mounted.service.gatepost, MOUNTED)
    assert len(app.routes) == 2
    without = replace(MOUNTED, routes=frozenset(Routes) - {Routes.OAUTH})
    mount(app, "/auth", mounted.service.gatepost, without)
    assert len(app.routes) == 1


async def test_locations_and_next_pages_lead_under_the_prefix(host: Host) -> None:
    admin = await host.service.admin()
    for name in ("ada", "bob"):
        body = {"username": name, "email": f"{name}@example.com"}
        made = await host.http.post("/v1/users", json=body, headers=admin)
        found = await host.http.get(ORIGIN + made.headers["location"], headers=admin)
        assert found.json()["username"] == name
    page = await host.http.get("/v1/users?limit=1", headers=admin)
    link = page.headers["link"].partition(">")[0].removeprefix("<")
    assert link.startswith(f"{PUBLIC_URL}/v1/users?")
    assert (await host.http.get(link, headers=admin)).status_code == 200


async def test_the_description_and_its_pages_name_the_prefix(host: Host) -> None:
    described = (await host.http.get("/openapi.json")).json()
    assert described["servers"] == [{"url": "/auth"}]
    flow = described["components"]["securitySchemes"]["password"]["flows"]["password"]
    assert flow["tokenUrl"] == "/auth/oauth2/token"
    page = await host.http.get("/docs")
    assert 'src="docs/start.js"' in page.text
    assert (await host.http.get("/docs/start.js")).status_code == 200
    assert (await host.http.get("/docs/assets/swagger-ui.css")).status_code == 200


async def test_mailed_links_lead_to_pages_under_the_prefix(host: Host) -> None:
    page = await host.http.get("/verify-email")
    assert 'href="/auth/pages/style.css"' in page.text
    assert (await host.http.get("/pages/style.css")).status_code == 200


async def test_the_cookie_keeps_its_prefix_which_forbids_a_narrower_path(host: Host) -> None:
    await host.service.member("cleo")
    body = {"login": "cleo", "password": PASSWORD, "delivery": "cookie"}
    signed_in = await host.http.post("/v1/sessions", json=body)
    (cookie, _) = signed_in.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-gatepost_refresh=")
    assert "; Path=/; " in cookie
    own_script = {"X-Requested-With": "gatepost", "Origin": ORIGIN}
    again = await host.http.post("/v1/sessions/refresh", headers=own_script)
    assert again.status_code == 200


async def test_metadata_is_where_a_path_of_the_issuer_puts_it(host: Host) -> None:
    told = (await host.http.get("/.well-known/oauth-authorization-server")).json()
    assert told["issuer"] == PUBLIC_URL
    keys = await host.http.get(told["jwks_uri"])
    assert len(keys.json()["keys"]) == 1


async def test_routes_of_the_host_know_who_is_calling(host: Host) -> None:
    bearer = await host.service.bearer("dora")
    told = {"X-Request-ID": "of-the-host"}
    answer = await host.http.get(f"{ORIGIN}/orders", headers=bearer | told)
    assert answer.json() == {"customer": "dora", "ip": "203.0.113.9", "id": "of-the-host"}
    made = await host.http.get(f"{ORIGIN}/orders", headers=bearer)
    assert UUID(made.json()["id"])
    await host.http.delete("/v1/sessions/current", headers=bearer)
    ended = await host.http.get(f"{ORIGIN}/orders", headers=bearer)
    assert ended.json()["detail"]["code"] == "access_token_invalid"


async def test_routes_of_the_host_refuse_as_the_host_does(host: Host) -> None:
    stranger = await host.http.get(f"{ORIGIN}/orders")
    assert (stranger.status_code, stranger.headers["www-authenticate"]) == (401, "Bearer")
    assert stranger.json() == {"detail": {"code": "unauthenticated", "title": "Sign in first."}}
    bearer = await host.service.bearer("eve")
    poor = await host.http.get(f"{ORIGIN}/reports", headers=bearer)
    assert poor.status_code == 403
    assert 'scope="audit:read"' in poor.headers["www-authenticate"]


async def test_a_websocket_of_the_host_knows_who_is_calling(host: Host) -> None:
    bearer = await host.service.bearer("flo")
    with TestClient(host.app).websocket_connect("/news", headers=bearer) as socket:
        assert socket.receive_text() == "flo None"
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        TestClient(host.app).websocket_connect("/news"),
    ):
        raise AssertionError("Nobody was let in.")
    assert (refused.value.code, refused.value.reason) == (1008, "unauthenticated")


async def test_an_application_under_the_hosts_is_told_what_it_lacks(host: Host) -> None:
    inner, outer = _shop(), FastAPI()
    outer.mount("/inner", inner)
    outer.state = host.app.state
    async with client_of(outer) as http:
        bearer = await host.service.bearer("gil")
        with pytest.raises(RuntimeError, match=r"mounted.*state\.gatepost"):
            await http.get("/inner/orders", headers=bearer)
        inner.state.gatepost = host.app.state.gatepost
        inner.state.gatepost_options = host.app.state.gatepost_options
        assert (await http.get("/inner/orders", headers=bearer)).status_code == 200


def test_the_description_of_the_host_says_which_routes_want_a_token() -> None:
    described = _shop().openapi()
    assert described["paths"]["/orders"]["get"]["security"] == [{"gatepost": []}]


def test_a_scope_that_nobody_knows_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="orders:read"):
        require_scope("orders:read")


async def test_a_route_for_everything_else_does_not_hide_it_and_a_new_run_replaces_it() -> None:
    app = Starlette(routes=[Route("/{path:path}", whatever)])
    first, second = await a_host(app), await a_host(app)
    assert (await first.http.get(f"{ORIGIN}/anything")).text == "the host's own"
    await second.service.bearer("ada")
    body = {"login": "ada", "password": PASSWORD}
    assert (await first.http.post("/v1/sessions", json=body)).status_code == 201
    assert len(app.router.routes) == 3


@pytest.mark.parametrize("prefix", ["/identity", "auth"])
async def test_a_public_url_that_leads_elsewhere_is_refused(prefix: str, host: Host) -> None:
    with pytest.raises(ValueError, match="public URL"):
        mount(Starlette(), prefix, host.service.gatepost, MOUNTED)


async def test_a_second_prefix_is_refused_and_leaves_the_first() -> None:
    app = _shop()
    first = await a_host(app)
    elsewhere = replace(MOUNTED, public_url=f"{ORIGIN}/staff")
    with pytest.raises(ValueError, match="mounted already"):
        mount(app, "/staff", first.service.gatepost, elsewhere)
    assert (await first.http.get("/livez")).status_code == 200


@pytest.mark.parametrize("name", ["public_url", "frontend_url"])
async def test_two_addresses_for_one_thing_are_refused(name: str, host: Host) -> None:
    elsewhere = {"public_url": PUBLIC_URL, "frontend_url": PUBLIC_URL, name: ELSEWHERE}
    other = replace(
        MOUNTED, public_url=elsewhere["public_url"], frontend_url=elsewhere["frontend_url"]
    )
    for serve in (create_app, partial(mount, Starlette(), "/auth")):
        with pytest.raises(ValueError, match=rf"{name} is .*elsewhere.* one address"):
            serve(host.service.gatepost, other)


async def test_single_groups_of_routes_can_be_taken(host: Host) -> None:
    few = replace(MOUNTED, routes=frozenset({Routes.SESSIONS}), docs=False)
    async with client_of(create_app(host.service.gatepost, few)) as http:
        answers = [
            (await http.get("/v1/sessions")).status_code,
            (await http.get("/problems/not_found")).status_code,
            (await http.post("/v1/register")).status_code,
            (await http.get("/v1/users/me")).status_code,
            (await http.get("/livez")).status_code,
        ]
    assert answers == [401, 200, 404, 404, 404]
