"""The code in the pages about embedding, held to strict types as a reader's would be."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest

from tests.examples.conftest import ROOT

# What the text around the code says is there.
GIVEN = """
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import gatepost as package
from fastapi import FastAPI
from gatepost import *
from gatepost.adapters.memory import memory_ports
from gatepost.application.ports.delivery import Mail, Mailer
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

app = FastAPI()
settings = load_settings()
client = ClientContext()
clerk: Principal
engine: AsyncEngine
Order: Any

class MyMailer(Mailer):
    async def send(self, mail: Mail) -> None: ...

async def forget_orders(event: DomainEvent) -> None: ...
"""
# Once more outside of any page, for it stands in running text there.
INLINE = "assemble(replace(memory_ports(), mailer=MyMailer()), Policies())"
_BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def in_functions(page: str) -> str:
    """Put each block into a function of its own, where `async with` may stand."""
    blocks = [dedent(code) for _, code in _BLOCK.findall((ROOT / page).read_text())]
    assert blocks
    return "\n".join(
        f"async def block_{number}(gatepost: Gatepost) -> None:\n{indent(code, '    ')}"
        for number, code in enumerate(blocks)
        # Those with a file's name on top are whole programs, and run.
        if not code.startswith("# ")
    )


@pytest.mark.parametrize("page", ["README.md", "docs/embedding.md", "docs/events.md"])
def test_what_a_page_shows_passes_strict_type_checks(page: str, tmp_path: Path) -> None:
    program = f"{GIVEN}\n{INLINE}\n{in_functions(page)}"
    # The package, not the object that most blocks call by its name.
    program = program.replace("gatepost.__version__", "package.__version__")
    (tmp_path / "page.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "page.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
