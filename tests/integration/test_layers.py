"""What holds for the package as a whole."""

import dataclasses
import json
import os
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

import gatepost
from gatepost import GatepostError, Kind, Ports
from tests.children import IMPORTING

_LIST_MODULES = """
import json, sys
before = set(sys.modules)
import gatepost
{uses}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
_TIME = """
import time
start = time.process_time()
import {module}
print(time.process_time() - start)
"""
_CORE = [name for name, (_, extra) in gatepost._HOMES.items() if not extra]


def _refusals(base: type[GatepostError] = GatepostError) -> list[type[GatepostError]]:
    found = []
    for refusal in base.__subclasses__():
        found += [refusal, *_refusals(refusal)]
    return found


def test_every_refusal_has_a_code_of_its_own_a_kind_and_a_title() -> None:
    refusals = [refusal for refusal in _refusals() if "code" in vars(refusal)]
    codes = [refusal.code for refusal in refusals]
    assert len(set(codes)) == len(codes) > 10
    assert all(isinstance(refusal.kind, Kind) and refusal.title for refusal in refusals)


def test_every_port_is_typed() -> None:
    hints = typing.get_type_hints(Ports)
    assert set(hints) == {field.name for field in dataclasses.fields(Ports)}
    assert not {Any, object} & set(hints.values())


def _said_by(program: str) -> str:
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    return told.stdout


def _loaded_by(uses: str) -> list[str]:
    return list(json.loads(_said_by(_LIST_MODULES.format(uses=uses))))


def test_every_public_name_has_a_home_and_is_found_there() -> None:
    assert {*gatepost._HOMES, "__version__"} == set(gatepost.__all__) <= set(dir(gatepost))
    assert all(getattr(gatepost, name) is not None for name in gatepost.__all__)


def test_a_name_that_is_not_public_is_missing_as_anywhere() -> None:
    assert not hasattr(gatepost, "secrets")


def test_an_extra_that_is_missing_is_named() -> None:
    program = "import sys; sys.modules['fastapi'] = None\ntry: from gatepost import create_app\n"
    said = _said_by(program + "except ImportError as error: print(error)")
    assert said == "create_app needs the extra gatepost[http].\n"


def test_without_extras_everything_at_once_and_help_give_the_core() -> None:
    without = "import sys\nfor name in ('fastapi', 'sqlalchemy', 'dependency_injector'):\n"
    program = without + "    sys.modules[name] = None\nimport gatepost, inspect\n"
    program += "from gatepost import *\nfrom gatepost.errors import UsernameTaken\n"
    program += "print(sorted(gatepost.__all__), len(inspect.getmembers(gatepost)) > 20)"
    assert _said_by(program) == f"{sorted([*_CORE, '__version__'])} True\n"


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import runpy; runpy.run_module('gatepost', run_name='__main__')", "[service]: typer"),
        ("import gatepost.verifier", "gatepost.verifier needs the extra gatepost[verifier]."),
    ],
)
def test_a_part_whose_extra_is_missing_names_it(program: str, told: str) -> None:
    missing = "import sys; sys.modules['typer'] = sys.modules['httpx2'] = None; "
    done = subprocess.run(
        [sys.executable, "-c", missing + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert told in done.stderr


def test_importing_the_package_is_next_to_nothing() -> None:
    loaded = [name for name in _loaded_by("") if name.startswith("gatepost")]
    assert loaded == ["gatepost"]
    ours = min(float(_said_by(_TIME.format(module="gatepost"))) for _ in range(3))
    assert ours < min(float(_said_by(_TIME.format(module="asyncio"))) for _ in range(3))


def test_importing_the_core_loads_no_framework_no_adapter_and_no_second_copy() -> None:
    modules = _loaded_by(f"from gatepost import {', '.join(_CORE)}")
    assert len(modules) < 250
    packages = {name.partition(".")[0] for name in modules}
    # `src` is where the package lives on disk: under that name it would be there twice.
    assert packages - set(sys.stdlib_module_names) == {"gatepost"}
    layers = {name.split(".")[1] for name in modules if name.startswith("gatepost.")}
    assert layers == {"application", "domain", "errors", "events"}


def test_reading_settings_loads_neither_database_nor_server() -> None:
    code = """
import sys
from gatepost.entrypoints.settings import load
load()
heavy = {"asyncpg", "dependency_injector", "fastapi", "jinja2", "pgqueuer", "sqlalchemy"}
sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | IMPORTING, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_memory_needs_nothing_but_the_standard_library() -> None:
    program = (
        "import sys, gatepost.adapters.memory;"
        "allowed = sys.stdlib_module_names | {'gatepost', '__main__'};"
        "loaded = {name.partition('.')[0] for name in sys.modules};"
        "print(sorted(name for name in loaded - before - allowed))"
    )
    program = "import sys; before = {n.partition('.')[0] for n in sys.modules};" + program
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_importing_the_verifier_loads_no_framework_and_no_other_part() -> None:
    code = "import gatepost.verifier, json, sys; print(json.dumps(sorted(sys.modules)))"
    listed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    modules = set(json.loads(listed.stdout))
    packages = {name.partition(".")[0] for name in modules}
    refused = {"fastapi", "starlette", "pydantic", "sqlalchemy", "asyncpg", "argon2", "src"}
    assert not packages & refused
    assert not {name for name in modules if name.startswith("gatepost.entrypoints")}
    adapters = {name for name in modules if name.startswith("gatepost.adapters.")}
    assert adapters == {
        f"gatepost.adapters.{name}" for name in ("access_claims", "base64url", "signed_tokens")
    }


@pytest.mark.parametrize("asked", ["--help", "users", "serve --port x"])
def test_commands_need_no_rich_which_production_has_not(asked: str) -> None:
    program = "import sys; sys.modules['rich'] = None\nfrom gatepost.__main__ import main; main()"
    command = [sys.executable, "-c", program, *asked.split()]
    told = subprocess.run(command, env=os.environ | IMPORTING, capture_output=True, text=True)
    assert "Usage:" in told.stdout + told.stderr
    assert "Traceback" not in told.stderr
    locked = (Path(__file__).parents[2] / "requirements.lock").read_text()
    assert "\ntyper==" in locked
    assert "\nrich==" not in locked
