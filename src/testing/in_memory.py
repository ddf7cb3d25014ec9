"""A whole Gatepost in memory, for the tests of programs that use one.

It lives on an event loop of its own, in a thread: tests may be plain functions, and the program
under test may call the HTTP server while it blocks the test.
"""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self, TypeVar
from uuid import UUID

import uvicorn
from starlette.applications import Starlette

from .. import Gatepost, Policies, Ports, assemble
from ..adapters.jose import JwtAccessTokens
from ..adapters.memory import ManualClock, memory_ports
from ..application.mail import MailPolicy
from ..application.ports.delivery import Mail
from ..application.tokens import SignedIn
from ..domain.audit import ClientContext
from ..domain.limits import LimitPolicy
from ..domain.roles import Role, parse_role_name, parse_scopes
from ..domain.tokens import TokenPolicy
from ..entrypoints.http.app import HttpOptions, create_app
from ..entrypoints.http.mounting import mount
from .builders import an_account

T = TypeVar("T")

PASSWORD = "a password for tests alone"
_CLIENT = ClientContext(ip="127.0.0.1", user_agent="tests")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can sign in."""

    id: UUID
    username: str
    email: str
    password: str = field(repr=False)


class InMemoryGatepost:
    """Memory adapters, real access tokens, a clock that stands still until it is moved.

    `core` has every use case, for `call`; `url` serves all of the HTTP API, or `mount_on` puts it
    into an application of your own. Nothing is limited, and mails are sent when somebody looks for
    them.
    """

    ports: Ports
    core: Gatepost

    def __init__(self) -> None:
        # Bound at once: the address is the issuer of the tokens.
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        # Other programs check the tokens by the real time.
        self.clock = ManualClock(datetime.now(UTC))
        made = memory_ports(clock=self.clock)
        self._storage, self._mailer = made.storage, made.mailer
        self._assemble(made, self._address)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="gatepost", daemon=True
        )
        self._thread.start()
        self.call(self.core.keys.load())
        return self

    def __exit__(self, *_: object) -> None:
        if "url" in vars(self):
            self._server.should_exit = True
            self._serving.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._socket.close()

    def mount_on(self, app: Starlette, prefix: str) -> None:
        """Serve it under a prefix of an application, in place of `mount` in its lifespan.

        `require_scope` in the routes of the application then knows who signed in here. Before
        `url` and any sign-in: the prefix is part of the issuer, and earlier tokens are refused.
        """
        address = self._address + prefix
        self._assemble(self.ports, address)
        self.call(self.core.keys.load())
        mount(app, prefix, self.core, _options(address))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a use case: `gatepost.call(gatepost.core.sessions.log_in(...))`."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def account(
        self,
        username: str = "ada",
        *,
        email: str | None = None,
        password: str = PASSWORD,
        roles: Sequence[str] = (),
        verified: bool = True,
    ) -> Person:
        """Make an account that can sign in; no mail is sent and nothing audited."""
        return self.call(self._account(username, email, password, tuple(roles), verified))

    def role(self, name: str, *scopes: str) -> None:
        """Define a role beside the built-in `user` and `admin`."""
        self.call(self._role(Role(name=parse_role_name(name), scopes=parse_scopes(scopes))))

    def sign_in(self, person: Person) -> SignedIn:
        """Start a session, as `POST /v1/sessions` does."""
        log_in = self.core.sessions.log_in
        return self.call(log_in(login=person.username, password=person.password, client=_CLIENT))

    def headers(self, person: Person) -> dict[str, str]:
        """Start a session and return the header that shows its access token."""
        return {"Authorization": f"Bearer {self.sign_in(person).access_token}"}

    def mails(self, to: str) -> list[Mail]:
        """Send what is queued, and list what an address got, oldest first."""
        self.call(self._work())
        return self._mailer.sent_to(to)

    def mailed_token(self, to: str) -> str:
        """Return the token in the newest link that was mailed to an address."""
        links = [mail.link for mail in self.mails(to) if mail.link]
        if not links:
            raise LookupError("No mail with a link was sent to this address.")
        return links[-1].partition("#token=")[2]

    @cached_property
    def url(self) -> str:
        """Serve HTTP on a free port of loopback until the end, and return the address."""
        app = create_app(self.core, _options(self._address))
        config = uvicorn.Config(app, lifespan="off", log_config=None)
        self._server = uvicorn.Server(config)
        self._serving: Future[None] = asyncio.run_coroutine_threadsafe(
            self._server.serve(sockets=[self._socket]), self._loop
        )
        return self._address

    def _assemble(self, ports: Ports, address: str) -> None:
        tokens = TokenPolicy(issuer=address, audience=address)
        signer = JwtAccessTokens(tokens, "ES256", self.clock)
        self.ports = replace(ports, access_tokens=signer)
        mail, limits = MailPolicy(frontend_url=address), LimitPolicy(enabled=False)
        self.core = assemble(self.ports, Policies(tokens=tokens, mail=mail, limits=limits))

    async def _account(
        self, username: str, email: str | None, password: str, roles: tuple[str, ...], proven: bool
    ) -> Person:
        account = an_account(
            username=username,
            email=email,
            email_verified=proven,
            password_hash=await self.ports.hasher.hash(password),
            roles=roles,
            created_at=self.clock(),
        )
        async with self.ports.uow() as tx:
            await tx.accounts.add(account, self.clock())
            await tx.commit()
        return Person(account.id, account.username.value, account.email.value, password)

    async def _role(self, role: Role) -> None:
        async with self.ports.uow() as tx:
            await tx.roles.put(role, self.clock())
            await tx.commit()

    async def _work(self) -> None:
        while jobs := await self._storage.drain():
            for job in jobs:
                await self.core.jobs.run(job)


def _options(address: str) -> HttpOptions:
    return HttpOptions(public_url=address, frontend_url=address, docs=True)
