"""The public names of the package with their signatures: docs/reference/python-api.txt.

What stands there is the promise of docs/embedding.md: a line that changes or goes is a breaking
change, a new line is not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import griffe

import gatepost

ROOT = Path(__file__).parent.parent
HEAD = """\
The public Python API: made by `make reference`, promised by docs/embedding.md.
A line that changes or goes breaks somebody's program; say so in CHANGELOG.md.
"""


def _modules_of(folder: str) -> list[str]:
    found = (ROOT / "src" / folder).glob("[!_]*.py")
    return sorted(f"{folder.replace('/', '.')}.{path.stem}" for path in found)


# Beside the root: what embedders raise, implement, check tokens with, and use in their tests.
MODULES = (
    *_modules_of("domain"),
    *_modules_of("application/ports"),
    "adapters.memory",
    "verifier",
    *(f"verifier.{name}" for name in ("django", "fastapi", "grpc", "starlette")),
    "testing.builders",
    "testing.in_memory",
)
# What changes an entity is for use cases to call, and what a library asks of settings for it.
_FIELDS_ONLY = {"Account", "Settings"}
_UNPROMISED = {"model_config", "title"}
_GROUPS = "gatepost.application."
# One of the classes of griffe, whose members differ by what was found.
_Found: TypeAlias = Any


def python_api() -> str:
    # Not relative to here, where it would follow the link and find `src`.
    package = griffe.load(
        "gatepost", search_paths=[ROOT], try_relative_path=False, resolve_aliases=True
    )
    return HEAD + "".join(f"{line}\n" for line in _lines(package))


def _lines(package: _Found) -> Iterator[str]:
    yield "\ngatepost"
    for name in gatepost.__all__:
        yield from _described(name, package[name])
    for module in MODULES:
        yield f"\ngatepost.{module}"
        for name, member in sorted(package[module].members.items()):
            if _is_public(name, member):
                yield from _described(name, member)
    yield "\nThe use cases of gatepost.Gatepost"
    yield from _use_cases(package)


def _is_public(name: str, member: _Found) -> bool:
    """Tell what a module defines, or hands on in its `__all__`, from what it only imports."""
    if name.startswith("_") or (member.is_alias and not member.is_exported):
        return False
    return not member.is_module


def _described(name: str, found: _Found) -> Iterator[str]:
    if found.is_function:
        yield f"  {_signature(name, found)}"
    elif found.is_class:
        bases = ", ".join(str(base) for base in found.bases)
        yield f"  class {name}({bases})" if bases else f"  class {name}"
        # A base that nobody can name says what those have that can be named.
        inherits = any(str(base).startswith("_") for base in found.bases)
        members = found.all_members if inherits else found.members
        for member_name, member in members.items():
            if _is_shown(member_name, member, found):
                yield f"    {_member(member_name, member)}"
    else:
        yield f"  {name}"


def _is_shown(name: str, member: _Found, owner: _Found) -> bool:
    if not member.is_function:
        # Texts of refusals may change; that there is one is declared where it is typed.
        unpromised = name in _UNPROMISED and member.annotation is None
        return not name.startswith("_") and not unpromised
    if owner.name in _FIELDS_ONLY:
        return False
    # That of a dataclass follows from its fields.
    made = name == "__init__" and "dataclass" not in owner.labels
    return made or name == "__call__" or not name.startswith("_")


def _member(name: str, member: _Found) -> str:
    if member.is_function:
        return _signature(name, member)
    annotation = f": {member.annotation}" if member.annotation is not None else ""
    value = str(member.value) if member.is_attribute and member.value is not None else ""
    # Settings have a page of their own.
    shown = f" = {value}" if value and not value.startswith("Field(") else ""
    return f"{name}{annotation}{shown}"


def _signature(name: str, function: _Found) -> str:
    target = function.final_target if function.is_alias else function
    return str(target.signature(name=name))


def _use_cases(package: _Found) -> Iterator[str]:
    """List what can be called on the groups, and on those use cases that are by themselves."""
    for name, member in package["application.gatepost.Gatepost"].members.items():
        group = _class_of(name, member, package)
        if group is None:
            continue
        yield from _calls(name, group)
        if "__call__" not in group.members:
            for own_name, own in group.members.items():
                use_case = _class_of(own_name, own, package)
                if use_case is not None:
                    yield from _calls(f"{name}.{own_name}", use_case)


def _calls(path: str, kind: _Found) -> Iterator[str]:
    for name, member in kind.members.items():
        if member.is_function and name == "__call__":
            yield f"  {_signature(path, member)}"
        elif member.is_function and not name.startswith("_"):
            yield f"  {_signature(f'{path}.{name}', member)}"


def _class_of(name: str, member: _Found, package: _Found) -> _Found | None:
    if name.startswith("_") or not member.is_attribute or member.annotation is None:
        return None
    path = getattr(member.annotation, "canonical_path", "")
    if not path.startswith(_GROUPS) or ".ports." in path:
        return None
    found: _Found = package[path.removeprefix("gatepost.")]
    return found if found.is_class else None
