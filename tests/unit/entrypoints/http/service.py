"""The application over in-memory adapters, and what a client of it does in most tests."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import httpx2
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from gatepost import Gatepost, Policies, assemble
from gatepost.adapters.memory import MemoryPorts, memory_ports
from gatepost.application.mail import MailPolicy
from gatepost.application.ports.delivery import MailTemplate
from gatepost.domain.audit import ClientContext
from gatepost.domain.limits import LimitPolicy
from gatepost.domain.roles import Principal
from gatepost.domain.tokens import TokenPolicy
from gatepost.entrypoints.http.app import HttpOptions, create_app
from tests import leaks

PUBLIC_URL = "https://id.example.com"
FRONTEND = "https://app.example.com"
PARTNER = "https://partner.example.org"
PASSWORD = "a long enough phrase"
OPTIONS = HttpOptions(
    version="9.9",
    public_url=PUBLIC_URL,
    frontend_url=FRONTEND,
    docs=True,
    cors_origins=(PARTNER,),
    log=leaks.request_lines,
)
OWN_SCRIPT = {"X-Requested-With": "gatepost", "Origin": FRONTEND}
COOKIE = "__Host-gatepost_refresh"
UNLIMITED = LimitPolicy(enabled=False)


@dataclass(frozen=True)
class Service:
    ports: MemoryPorts
    gatepost: Gatepost
    app: FastAPI
    http: httpx2.AsyncClient
    serve: ASGIApp

    async def work(self) -> None:
        """Do what is queued, and what that queues."""
        while jobs := await self.ports.storage.drain():
            for job in jobs:
                await self.gatepost.jobs.run(job)

    async def mailed_token(self, address: str, *templates: MailTemplate) -> str:
        await self.work()
        mails = [mail for mail in self.ports.mailer.sent_to(address) if mail.link]
        assert mails[-1].template in templates
        return leaks.secret(str(mails[-1].link).partition("#token=")[2])

    async def registered(self, username: str) -> None:
        body = {
            "username": username,
            "email": f"{username}@example.com",
            "password": PASSWORD,
        }
        assert (await self.http.post("/v1/register", json=body)).status_code == 202

    async def member(self, username: str) -> None:
        """Register and prove the address."""
        await self.registered(username)
        token = await self.mailed_token(f"{username}@example.com", MailTemplate.WELCOME)
        answer = await self.http.post(
            "/v1/email-verifications/confirm", json={"token": token, "password": PASSWORD}
        )
        assert answer.status_code == 200

    async def sign_in(self, username: str, **more: str) -> dict[str, Any]:
        answer = await self.http.post(
            "/v1/sessions", json={"login": username, "password": PASSWORD, **more}
        )
        assert answer.status_code == 201
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def bearer(self, username: str) -> dict[str, str]:
        """Make a member, sign in, and return the header that shows it."""
        await self.member(username)
        return bearing(await self.sign_in(username))

    async def admin(self, username: str = "root") -> dict[str, str]:
        """Make an administrator, sign in, and return the header that shows it."""
        await self.gatepost.administration.create_administrator(
            actor=Principal.operator(),
            username=username,
            email=f"{username}@example.com",
            password=PASSWORD,
            client=ClientContext(),
        )
        return bearing(await self.sign_in(username))


def policies_for(
    options: HttpOptions = OPTIONS, limits: LimitPolicy = UNLIMITED, **others: Any
) -> Policies:
    """Make the policies of a service at these addresses."""
    tokens = TokenPolicy(issuer=options.public_url, audience=options.public_url)
    mail = MailPolicy(frontend_url=options.frontend_url)
    return Policies(tokens=tokens, mail=mail, limits=limits, **others)


def ports_for(options: HttpOptions = OPTIONS) -> MemoryPorts:
    return memory_ports(tokens=policies_for(options).tokens)


async def open_service(
    options: HttpOptions = OPTIONS, ports: Any = None, limits: LimitPolicy = UNLIMITED
) -> Service:
    policies = policies_for(options, limits=limits)
    gatepost = assemble(own := ports or memory_ports(tokens=policies.tokens), policies)
    await gatepost.keys.load()
    if ports is not None:
        alone = create_app(gatepost, options)
        return Service(own, gatepost, alone, client_of(alone), alone)
    serve = served(gatepost, options)
    return Service(own, gatepost, _shared_app(options), client_of(serve), serve)


def served(gatepost: Gatepost, options: HttpOptions = OPTIONS) -> ASGIApp:
    """Serve with the application that others use too; its keys and tokens are the usual ones."""
    app = _shared_app(options)

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        _current.set(gatepost)
        await app(scope, receive, send)

    return serve


# Making the routes takes longer than most tests: one application serves many services, each of
# which is the current one while its request is answered.
_current: ContextVar[Gatepost] = ContextVar("current service")
_apps: dict[HttpOptions, FastAPI] = {}


class _Late:
    """Stands for a part of the current service, which is looked up when it is called."""

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find

    def __getattr__(self, name: str) -> "_Late":
        return _Late(lambda: getattr(self._find(), name))

    def __call__(self, *positional: Any, **named: Any) -> Any:
        return self._find()(*positional, **named)


def _shared_app(options: HttpOptions) -> FastAPI:
    if options not in _apps:
        used = [*Gatepost.__dataclass_fields__, "demand_room"]
        late: Any = SimpleNamespace(**{name: getattr(_Late(_current.get), name) for name in used})
        late.policies = policies_for(options)
        late.checks = {"database": late.database}
        _apps[options] = create_app(late, options)
    return _apps[options]


def client_of(app: ASGIApp, peer: str = "203.0.113.9") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, client=(peer, 4711))
    return httpx2.AsyncClient(transport=transport, base_url=PUBLIC_URL)


def bearing(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def method_of(route: APIRoute) -> str:
    assert route.methods is not None
    (method,) = route.methods
    return str(method)


def api_routes(app: FastAPI) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute)]


def assert_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Check the shape that every refusal has; returns the body."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    body: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    members = {"type", "title", "status", "detail", "instance", "code", "request_id"}
    assert set(body) == members | ({"errors"} if status == 422 else set())
    assert body["type"] == f"{PUBLIC_URL}/problems/{code}"
    assert body["status"] == status
    assert unquote(body["instance"]) == answer.request.url.path
    assert body["request_id"] == answer.headers["x-request-id"]
    assert ("www-authenticate" in answer.headers) is (status == 401 or "scope" in code)
    assert ("retry-after" in answer.headers) is (status in (429, 503))
    return body
