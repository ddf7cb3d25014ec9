from collections.abc import Callable
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

import gatepost.verifier.fastapi
import gatepost.verifier.starlette
from gatepost.verifier import AccessClaims
from gatepost.verifier.starlette import Refused, answer
from tests.unit.verifier.issuer import AUDIENCE, ISSUER, Issuer

SCOPE = "orders:read"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def a_fastapi_app(issuer: Issuer) -> FastAPI:
    verifier = gatepost.verifier.fastapi.Verifier(
        issuer=ISSUER, audience=AUDIENCE, fetch=issuer.fetch, now=issuer.clock
    )
    app = FastAPI()
    verifier.answer_refusals(app)
    orders = verifier.require(SCOPE)

    @app.get("/orders")
    async def list_orders(caller: Annotated[AccessClaims, Depends(orders)]) -> str:
        return caller.client_id

    return app


def a_starlette_app(issuer: Issuer) -> Starlette:
    verifier = gatepost.verifier.starlette.Verifier(
        issuer=ISSUER, audience=AUDIENCE, fetch=issuer.fetch, now=issuer.clock
    )

    @verifier.require(SCOPE)
    async def list_orders(request: Request) -> Response:
        return PlainTextResponse(f'"{request.state.caller.client_id}"')

    return Starlette(routes=[Route("/orders", list_orders)], exception_handlers={Refused: answer})


def an_app_of_classes(issuer: Issuer) -> Starlette:
    verifier = gatepost.verifier.starlette.Verifier(
        issuer=ISSUER, audience=AUDIENCE, fetch=issuer.fetch, now=issuer.clock
    )

    class Orders(HTTPEndpoint):
        @verifier.require(SCOPE)
        async def get(self, request: Request) -> Response:
            return PlainTextResponse(f'"{request.state.caller.client_id}"')

    return Starlette(routes=[Route("/orders", Orders)], exception_handlers={Refused: answer})


@pytest.fixture(
    params=[a_fastapi_app, a_starlette_app, an_app_of_classes],
    ids=["fastapi", "starlette", "starlette's classes"],
)
def http(request: pytest.FixtureRequest, issuer: Issuer) -> httpx2.AsyncClient:
    make: Callable[[Issuer], ASGIApp] = request.param
    transport = httpx2.ASGITransport(make(issuer))
    return httpx2.AsyncClient(transport=transport, base_url="https://shop.example.com")


def bearing(issuer: Issuer, scope: str = SCOPE, **claims: object) -> dict[str, str]:
    token = issuer.forge(issuer.members() | {"scope": scope} | claims)
    return {"Authorization": f"Bearer {token}"}


async def test_a_good_token_opens_and_says_who_is_calling(
    http: httpx2.AsyncClient, issuer: Issuer
) -> None:
    answered = await http.get("/orders", headers=bearing(issuer))
    assert (answered.status_code, answered.json()) == (200, "gatepost")


@pytest.mark.parametrize(
    ("headers", "status", "code", "challenge"),
    [
        ([], 401, "unauthenticated", "Bearer"),
        ([("Authorization", "Basic YTpi")], 401, "unauthenticated", "Bearer"),
        ([("Authorization", "Bearer ")], 401, "unauthenticated", "Bearer"),
        (
            [("Authorization", "Bearer a.b.c")],
            401,
            "access_token_invalid",
            'Bearer error="invalid_token"',
        ),
    ],
)
async def test_a_refusal_is_a_problem_with_a_challenge(
    http: httpx2.AsyncClient, headers: Any, status: int, code: str, challenge: str
) -> None:
    answered = await http.get("/orders", headers=headers)
    assert answered.headers["content-type"] == "application/problem+json"
    assert answered.headers["www-authenticate"] == challenge
    assert answered.headers["cache-control"] == "no-store"
    problem = answered.json()
    assert (answered.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert set(problem) == {"type", "title", "status", "detail", "code"}
    assert problem["type"] == f"{ISSUER}/problems/{code}"


async def test_a_good_token_that_comes_twice_is_refused(
    http: httpx2.AsyncClient, issuer: Issuer
) -> None:
    # Which of two counts is for a proxy and us to disagree on.
    answered = await http.get("/orders", headers=[*bearing(issuer).items()] * 2)
    assert (answered.status_code, answered.json()["code"]) == (401, "access_token_invalid")


async def test_a_token_without_the_scope_is_told_which(
    http: httpx2.AsyncClient, issuer: Issuer
) -> None:
    answered = await http.get("/orders", headers=bearing(issuer, "orders:write"))
    assert (answered.status_code, answered.json()["code"]) == (403, "insufficient_scope")
    expected = 'Bearer error="insufficient_scope", scope="orders:read"'
    assert answered.headers["www-authenticate"] == expected


@pytest.mark.parametrize("make", [a_fastapi_app, a_starlette_app])
async def test_an_issuer_that_is_away_is_no_fault_of_the_token(
    make: Callable[[Issuer], ASGIApp],
) -> None:
    issuer = Issuer()
    issuer.is_down = True
    transport = httpx2.ASGITransport(make(issuer))
    async with httpx2.AsyncClient(transport=transport, base_url="https://shop") as http:
        answered = await http.get("/orders", headers=bearing(issuer))
    assert (answered.status_code, answered.json()["code"]) == (503, "unavailable")
    assert answered.headers["retry-after"] == "1"
    assert "www-authenticate" not in answered.headers


async def test_without_the_handler_a_refusal_is_still_one(issuer: Issuer) -> None:
    app = a_fastapi_app(issuer)
    del app.exception_handlers[Refused]
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="https://shop") as http:
        answered = await http.get("/orders")
    assert (answered.status_code, answered.headers["www-authenticate"]) == (401, "Bearer")


def test_the_documentation_shows_which_routes_need_a_token(issuer: Issuer) -> None:
    described = a_fastapi_app(issuer).openapi()
    assert described["paths"]["/orders"]["get"]["security"] == [{"gatepost": []}]
    assert described["components"]["securitySchemes"]["gatepost"]["bearerFormat"] == "JWT"
