"""What an operation may cost, in counts that do not depend on the machine.

A budget is what the operation takes today. Who needs more raises it here, and says why.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gatepost import Gatepost
from gatepost.application.ports.storage import UnitOfWork
from gatepost.domain.audit import ClientContext
from gatepost.domain.clients import ClientSecret
from gatepost.domain.roles import Principal, Scope
from gatepost.entrypoints.container import open_gatepost
from gatepost.entrypoints.http.app import create_app
from gatepost.entrypoints.imports import POSTPONED, REFUSED
from gatepost.entrypoints.settings import load
from gatepost.testing.builders import NOW, a_client, new_id
from tests.integration.tap import Counts, Tap
from tests.service import PASSWORD

Ask = Callable[[], Awaitable[httpx2.Response]]

# round trips, statements, rows written, commits; bytes of the answer.
BUDGETS = {
    "live": (Counts(0, 0, 0, 0), 17),
    "keys": (Counts(0, 0, 0, 0), 229),
    "me": (Counts(1, 1, 0, 0), 257),
    "refresh": (Counts(1, 1, 1, 1), 886),
    "log in": (Counts(2, 2, 2, 1), 886),
    # Of a job the tag tells nothing: its statement only ends in the insert.
    "register": (Counts(7, 7, 3, 1), 261),
    "introspect": (Counts(2, 2, 0, 0), 343),
    "introspect as a machine": (Counts(1, 1, 0, 0), 343),
    "list": (Counts(4, 4, 0, 0), 1079),
    "search": (Counts(4, 4, 0, 0), 288),
    "audit": (Counts(4, 4, 0, 0), 1611),
}
# What a server has loaded when it is ready: modules of ours, and packages of others with all of
# their modules. A few of those more or less are for other Pythons and platforms.
OUR_MODULES, THEIR_MODULES = 195, 470
PACKAGES = {
    *("annotated_doc", "annotated_types", "anyio", "argon2", "asyncpg", "bcrypt", "click"),
    *("cryptography", "cython_runtime", "dependency_injector", "dotenv", "fastapi", "greenlet"),
    *("httptools", "jwt", "markupsafe", "opentelemetry", "pydantic", "pydantic_core"),
    *("pydantic_settings", "sqlalchemy", "starlette", "structlog", "typing_extensions"),
    *("typing_inspection", "uvicorn"),
}
# All of domain and application, from a fresh interpreter.
CORE_MODULES = 200
CORE_COMPILED = 250
CORE_LATE = {"asyncio", "concurrent", "encodings.idna", "pathlib", "ssl", "statistics"}
CORE = """
import json, sys
from importlib import import_module
compiled = []
sys.addaudithook(lambda event, of: compiled.append(of[1]) if event == "compile" else None)
for name in sys.argv[1:]:
    import_module(name)
print(json.dumps([[*sys.modules], compiled.count("<string>")]))
"""
LATE_MODULES = {"sqlalchemy.orm"}
LATE = {
    *("aiosmtplib", "alembic", "celery", "h11", "httpx2", "jinja2", "mako", "pgqueuer", "redis"),
}
# Brought along by tests and tools.
TOOLS = {"IPython", "colorama", "sphinx"}
# What a process of ours has loaded when it is told what to go without.
BEGUN = """
import json, sys
import gatepost.entrypoints.cli
from gatepost.entrypoints.imports import POSTPONED, REFUSED, go_without
go_without()
import gatepost.entrypoints.database, gatepost.entrypoints.logging
"""
LOADED = f"""{BEGUN}
import gatepost.entrypoints.uvicorn, gatepost.entrypoints.http.httptools_connections
from gatepost.entrypoints.http.app import create_app
modules = [name for name, module in sys.modules.items() if module is not None]
from gatepost import Policies, assemble
from gatepost.adapters.memory import memory_ports
create_app(assemble(memory_ports(), Policies()))
unused = [name for name in POSTPONED if type(sys.modules.get(name)).__name__ == "_LazyModule"]
refused = [name for name in REFUSED if sys.modules[name] is None]
print(json.dumps([modules, refused, unused]))
"""
# PgQueuer names rich, by its command line.
WORKING = f"""{BEGUN}
import gatepost.entrypoints.worker, pgqueuer
print(json.dumps([name for name in REFUSED if sys.modules[name] is None]))
"""
# What starts server processes, and waits for months.
SUPERVISING = f"""{BEGUN}
import gatepost.entrypoints.server
print(json.dumps([name for name, module in sys.modules.items() if module is not None]))
"""
SERVING = {"asyncpg", "fastapi", "sqlalchemy", "starlette", "typer", "uvicorn"}


@dataclass(frozen=True)
class Visitor:
    """One account, and a client of the service whose database is tapped."""

    http: httpx2.AsyncClient
    tap: Tap
    gatepost: Gatepost
    uow: UnitOfWork

    def register(self, name: str) -> Ask:
        form = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        return lambda: self.http.post("/v1/register", json=form)

    async def sign_in(self, login: str) -> dict[str, str]:
        answer = await self.http.post("/v1/sessions", json={"login": login, "password": PASSWORD})
        tokens: dict[str, str] = answer.json()
        return tokens

    async def administrator(self) -> dict[str, str]:
        """Return the headers of one, who may also ask about tokens."""
        await self.gatepost.administration.create_administrator(
            actor=Principal.operator(),
            username="root",
            email="root@example.com",
            password=PASSWORD,
            client=ClientContext(),
        )
        return bearing(await self.sign_in("root"))

    async def machine(self) -> dict[str, str]:
        """Store a machine client that may introspect; return what it shows."""
        secret = ClientSecret.issue(new_id(), "a secret", NOW, None)
        client = replace(a_client(scopes=(Scope.TOKENS_INTROSPECT,)), secrets=(secret,))
        async with self.uow() as tx:
            await tx.clients.add(client)
            await tx.commit()
        return {"client_id": str(client.id), "client_secret": "a secret"}

    async def cost(self, ask: Ask) -> tuple[Counts, int]:
        """Count the second of its kind: the first prepares its statements."""
        assert (await ask()).is_success
        self.tap.reset()
        answer = await ask()
        assert answer.is_success
        return self.tap.counts, len(answer.content)


def bearing(tokens: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


@pytest.fixture
async def visitor(
    url: str, uow: UnitOfWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Visitor]:
    monkeypatch.setenv("GATEPOST_ACCOUNTS__REQUIRE_VERIFIED_EMAIL", "false")
    monkeypatch.setenv("GATEPOST_LIMITS__ENABLED", "false")
    monkeypatch.setenv("GATEPOST_PASSWORD__MEMORY_KIB", "8")
    monkeypatch.setenv("GATEPOST_DATA_DIR", str(tmp_path))
    async with Tap(url).open() as tap:
        settings = load(database_url=tap.url)
        async with open_gatepost(settings) as gatepost:
            transport = httpx2.ASGITransport(create_app(gatepost))
            async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
                yield Visitor(http, tap, gatepost, uow)


async def test_no_operation_costs_more_than_its_budget(visitor: Visitor) -> None:
    http = visitor.http
    await visitor.register("ada")()
    login = {"login": "ada@example.com", "password": PASSWORD}
    tokens = await visitor.sign_in("ada@example.com")
    bearer, admin = bearing(tokens), await visitor.administrator()
    ada = (await http.get("/v1/users/me", headers=bearer)).json()["id"]
    asked_about = {"token": tokens["access_token"]}
    question = asked_about | await visitor.machine()
    names = iter(("grace", "edith"))

    async def refresh() -> httpx2.Response:
        form = {"refresh_token": tokens["refresh_token"]}
        answer = await http.post("/v1/sessions/refresh", json=form)
        tokens.update(answer.json())
        return answer

    asked: dict[str, Ask] = {
        "live": lambda: http.get("/livez"),
        "keys": lambda: http.get("/.well-known/jwks.json"),
        "me": lambda: http.get("/v1/users/me", headers=bearer),
        "refresh": refresh,
        "log in": lambda: http.post("/v1/sessions", json=login),
        "register": lambda: visitor.register(next(names))(),
        "introspect": lambda: http.post("/oauth2/introspect", data=asked_about, headers=admin),
        "introspect as a machine": lambda: http.post("/oauth2/introspect", data=question),
        "list": lambda: http.get("/v1/users", headers=admin),
        "search": lambda: http.get("/v1/users?q=ada", headers=admin),
        "audit": lambda: http.get(f"/v1/audit-events?subject={ada}&limit=3", headers=admin),
    }
    costs = {name: await visitor.cost(ask) for name, ask in asked.items()}
    assert {name: counts for name, (counts, _) in costs.items()} == {
        name: counts for name, (counts, _) in BUDGETS.items()
    }
    fat = {name: size for name, (_, size) in costs.items() if size > BUDGETS[name][1]}
    assert fat == {}


def test_importing_the_core_loads_and_compiles_no_more_than_its_budget() -> None:
    root = Path(__file__).parents[2]
    files = [*root.glob("src/domain/*.py"), *root.glob("src/application/**/*.py")]
    names = [
        ".".join(("gatepost", *one.relative_to(root / "src").with_suffix("").parts))
        for one in files
    ]
    # Without what .pth files of tools load.
    command = [
        sys.executable,
        "-S",
        "-c",
        CORE,
        *(name.removesuffix(".__init__") for name in names),
    ]
    listed = subprocess.run(command, capture_output=True, check=True, cwd=root, text=True)
    modules, compiled = json.loads(listed.stdout)
    assert {f"gatepost.{layer}" for layer in ("domain", "application")} < set(modules)
    assert CORE_LATE & set(modules) == set()
    assert len(modules) <= CORE_MODULES
    # At import: `__init__` of each dataclass, and what the standard library makes of its own.
    assert compiled <= CORE_COMPILED


def printed_by(program: str) -> Any:
    command = [sys.executable, "-c", program]
    root = Path(__file__).parents[2]
    listed = subprocess.run(command, capture_output=True, check=True, cwd=root, text=True)
    return json.loads(listed.stdout)


def test_a_server_loads_no_more_modules_than_its_budget() -> None:
    modules, refused, unused = printed_by(LOADED)
    counted = Counter(name.partition(".")[0] for name in modules)
    assert counted.keys() & LATE == set()
    theirs = {
        package
        for package in counted.keys() - {*sys.stdlib_module_names, *TOOLS, "gatepost"}
        if not package.startswith("_")
    }
    assert theirs - PACKAGES == set()
    assert counted["gatepost"] <= OUR_MODULES
    assert sum(counted[package] for package in theirs) <= THEIR_MODULES
    assert LATE_MODULES & set(modules) == set()
    assert set(refused) == REFUSED
    # One that another library uses would be dearer postponed than loaded.
    assert set(unused) == POSTPONED


def test_a_worker_imports_without_what_is_refused() -> None:
    assert set(printed_by(WORKING)) == REFUSED


def test_a_supervisor_loads_nothing_that_serves() -> None:
    modules = printed_by(SUPERVISING)
    packages = {name.partition(".")[0] for name in modules}
    assert {"gatepost", "pydantic"} < packages
    assert packages & SERVING == set()
