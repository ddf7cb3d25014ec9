"""Each extra brings what its part of the package needs, and the core needs none."""

import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.package.conftest import ROOT, Environment

Make = Callable[..., Environment]

# What somebody imports who asked for this extra and no other.
PROGRAMS = {
    "bcrypt": "import bcrypt, gatepost.adapters.foreign_hashes",
    "celery": "import gatepost.adapters.celery",
    "embedded": "from gatepost.adapters.embedded import start",
    "gunicorn": "import os; os.environ['DATABASE_URL'] = 'postgresql://127.0.0.1:9/x'\n"
    "import gatepost.entrypoints.gunicorn",
    "http": "from gatepost import HttpOptions, Routes, client_context, create_app, mount, "
    "require_scope",
    "objectstore": "from gatepost.adapters.exports import objects",
    "otel": "import gatepost.adapters.otel",
    "postgres": "from gatepost import JoinedUnitOfWork\n"
    "from gatepost.adapters.postgres import consumer, migrate, transactions",
    "redis": "from gatepost.adapters.redis import RedisRateLimiter",
    "security": "from gatepost.adapters import argon2, cipher, jose, refresh_tokens",
    "service": "from gatepost import load_settings, open_embedded, open_gatepost\n"
    "import gatepost.entrypoints.cli.commands, gatepost.entrypoints.uvicorn\n"
    "import gatepost.entrypoints.worker",
    "smtp": "from gatepost.adapters.mail import message, rendering, smtp",
    "testing": "import gatepost.testing.contracts.storage, pytest_gatepost",
    "verifier": "import gatepost.verifier",
    "webhooks": "from gatepost.adapters.webhooks import HttpWebhooks",
}
CORE = """
from gatepost import ClientContext, Policies, assemble
from gatepost.adapters.memory import memory_ports
import asyncio

async def main():
    ports = memory_ports()
    gatepost = assemble(ports, Policies())
    await gatepost.accounts.register(
        username="ada", email="ada@example.com", password="a quiet sea of numbers",
        client=ClientContext(),
    )
    for job in await ports.storage.drain():
        await gatepost.jobs.run(job)
    print(*(mail.to for mail in ports.mailer.sent))

asyncio.run(main())
"""
HTTP = """
from gatepost import Policies, assemble, create_app
from gatepost.adapters.memory import memory_ports
print(len(create_app(assemble(memory_ports(), Policies())).openapi()["paths"]) > 20)
"""
TYPED = """
from gatepost import Gatepost, Policies, assemble
from gatepost.adapters.memory import memory_ports

gatepost: Gatepost = assemble(memory_ports(), Policies())
reveal_type(gatepost.accounts.register)
"""


def declared() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return sorted(project["optional-dependencies"])


def test_the_core_installs_alone_and_works(environment: Make) -> None:
    bare = environment()
    listed = "from importlib.metadata import distributions as all_of\n"
    listed += "print(*{each.name for each in all_of()})"
    assert bare.run("-c", listed).split() == ["gatepost"]
    assert bare.run("-c", CORE) == "ada@example.com\n"


@pytest.mark.parametrize("extra", declared())
def test_an_extra_is_enough_for_its_part(environment: Make, extra: str) -> None:
    environment(extra).run("-W", "error", "-c", PROGRAMS[extra])


def test_an_application_over_memory_needs_http_alone(environment: Make) -> None:
    assert environment("http").run("-c", HTTP) == "True\n"


def test_the_types_are_shipped(environment: Make, wheel: Path, tmp_path: Path) -> None:
    assert "gatepost/py.typed" in zipfile.ZipFile(wheel).namelist()
    bare = environment()
    bare.install("mypy")
    (tmp_path / "main.py").write_text(TYPED)
    told = bare.run("-m", "mypy", "--strict", "main.py", cwd=tmp_path)
    assert 'Revealed type is "gatepost.application.registration.Register"' in told
