"""What holds for the package as a whole."""

import dataclasses
import json
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

from gatepost import GatepostError, Kind, Ports

_LIST_MODULES = """
import json, sys
before = set(sys.modules)
import gatepost
print(json.dumps(sorted(set(sys.modules) - before)))
"""


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


def _loaded_by_the_core() -> list[str]:
    listed = subprocess.run(
        [sys.executable, "-c", _LIST_MODULES],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    return list(json.loads(listed.stdout))


def test_importing_the_core_loads_no_framework_no_adapter_and_no_second_copy() -> None:
    modules = _loaded_by_the_core()
    packages = {name.partition(".")[0] for name in modules}
    # `src` is where the package lives on disk: under that name it would be there twice.
    assert packages - set(sys.stdlib_module_names) == {"gatepost"}
    layers = {".".join(name.split(".")[:2]) for name in modules if name.startswith("gatepost.")}
    assert layers == {"gatepost.application", "gatepost.domain"}
