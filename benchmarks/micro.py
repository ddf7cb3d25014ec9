"""What each use case costs by itself, on memory adapters, and the hot parts of the adapters.

`python -m benchmarks.micro`: CPU time a call in µs, the least of some batches, as whatever else
the machine does only adds to it.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from sqlalchemy import insert

from gatepost import Gatepost, Policies, assemble
from gatepost.adapters.cipher import MasterKeys
from gatepost.adapters.jose import JwtAccessTokens
from gatepost.adapters.memory import MemoryPorts, memory_ports
from gatepost.adapters.postgres.connection import Prepared
from gatepost.adapters.postgres.rows import account_to_row
from gatepost.adapters.postgres.tables import accounts
from gatepost.adapters.refresh_tokens import SealedRefreshTokens
from gatepost.domain.accounts import AccountPolicy
from gatepost.domain.audit import ClientContext
from gatepost.domain.limits import LimitPolicy
from gatepost.domain.tokens import FIRST_PARTY_CLIENT, AccessClaims
from gatepost.entrypoints.http.app import create_app
from gatepost.entrypoints.http.schemas import User, json_answer
from gatepost.testing.builders import a_claim, a_session, an_account
from tests.service import PASSWORD

BATCHES, CALLS = 7, 300
CLIENT = ClientContext(ip="192.0.2.1", user_agent="bench", request_id="1")
POLICIES = Policies(
    accounts=AccountPolicy(require_verified_email=False), limits=LimitPolicy(enabled=False)
)
Call = Callable[[], Awaitable[object]]


async def least(call: Call) -> float:
    spent = []
    for _ in range(BATCHES):
        began = time.process_time()
        for _ in range(CALLS):
            await call()
        spent.append((time.process_time() - began) / CALLS * 1_000_000)
    return round(min(spent), 1)


def plain(call: Callable[[], object]) -> Call:
    async def asked() -> object:
        return call()

    return asked


async def use_cases(gatepost: Gatepost) -> dict[str, Call]:
    names = count()

    async def register(name: str) -> object:
        return await gatepost.accounts.register(
            username=name, email=f"{name}@example.com", password=PASSWORD, client=CLIENT
        )

    async def log_in() -> Any:
        return await gatepost.sessions.log_in(login="ada", password=PASSWORD, client=CLIENT)

    await register("ada")
    refreshed = await log_in()
    token = refreshed.access_token

    async def refresh() -> None:
        nonlocal refreshed
        token = refreshed.refresh_token
        refreshed = await gatepost.sessions.refresh(refresh_token=token, client=CLIENT)

    return {
        "authenticate": lambda: gatepost.sessions.authenticate(access_token=token),
        "refresh": refresh,
        "log in": log_in,
        "register": lambda: register(f"user-{next(names)}"),
    }


def parts(ports: MemoryPorts) -> dict[str, Call]:
    keys = MasterKeys([bytes(range(32))])
    tokens = JwtAccessTokens(POLICIES.tokens, "ES256", ports.now)
    pair = tokens.new_key()
    tokens.install([pair], pair.kid)
    account = an_account()
    session = a_session(account)
    claims = AccessClaims(
        issuer=POLICIES.tokens.issuer,
        audience=POLICIES.tokens.audience,
        subject=account.id,
        session_id=session.id,
        client_id=FIRST_PARTY_CLIENT,
        scope="account:read account:write",
        roles=("user",),
        token_id=account.id,
        issued_at=ports.now(),
        expires_at=ports.now() + POLICIES.tokens.access_ttl,
    )
    token = tokens.sign(claims)
    refresh = SealedRefreshTokens(keys)
    sealed = refresh.seal(a_claim(session))
    opened = refresh.open(sealed)
    assert opened is not None
    row, insert_account = account_to_row(account), Prepared(insert(accounts), inserts=accounts)
    return {
        "sign an access token": plain(lambda: tokens.sign(claims)),
        "check one again": plain(lambda: tokens.verify(token)),
        "open a refresh token": plain(lambda: refresh.open(sealed)),
        "make its successor": plain(lambda: refresh.successor(opened)),
        "arguments of an insert": plain(lambda: insert_account.arguments(row)),
        "serialise an account": plain(lambda: json_answer(User.of(account))),
    }


def asgi(app: Any, path: str) -> Call:
    scope = {
        **{"type": "http", "http_version": "1.1", "method": "GET", "path": path},
        **{"raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http"},
        **{"headers": [(b"host", b"x")], "client": ("192.0.2.1", 5), "server": ("x", 80)},
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: object) -> None:
        return None

    async def ask() -> None:
        await asyncio.create_task(app(dict(scope), receive, send))

    return ask


async def main() -> None:
    ports = memory_ports()
    gatepost = assemble(ports, POLICIES)
    await gatepost.keys.load()
    app = create_app(gatepost)
    calls = await use_cases(gatepost) | parts(ports)
    calls |= {f"GET {path}": asgi(app, path) for path in ("/livez", "/.well-known/jwks.json")}
    print(json.dumps({name: await least(call) for name, call in calls.items()}, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
