"""The pages under docs/reference, made from the code: `python -m tests.reference` writes them.

And those under docs/tutorials with them.
"""

import ast
import json
from argparse import SUPPRESS
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo

from gatepost import Policies, assemble
from gatepost.adapters.memory import memory_ports
from gatepost.adapters.metric_catalogue import CATALOGUE
from gatepost.domain.events import CATALOGUE as EVENTS
from gatepost.entrypoints.cli.commands import command_line
from gatepost.entrypoints.cli.daemons import OPTIONS
from gatepost.entrypoints.http.app import create_app
from gatepost.entrypoints.http.errors import catalogue
from gatepost.entrypoints.http.validation import _MESSAGES
from gatepost.entrypoints.setting_schema import setting_fields, spelled_default
from gatepost.entrypoints.settings import SECRET_NAMES
from tests import asvs as standard
from tests.python_api import python_api
from tests.security_cases import CHAPTERS, excuse_of, proofs
from tests.tutorials import write_tutorials

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "reference"
_MADE = "<!-- Made by `make reference`. -->\n\n"


def openapi() -> str:
    described = create_app(assemble(memory_ports(), Policies())).openapi()
    return json.dumps(described, indent=2, sort_keys=True) + "\n"


def api() -> str:
    """List the operations by their tags; details are in `openapi.json`."""
    sections: dict[str, list[tuple[str, str, str]]] = {}
    for path, methods in json.loads(openapi())["paths"].items():
        for method, operation in methods.items():
            told = f"{operation['summary']}. {operation.get('description', '')}"
            about = " ".join(told.split())
            row = f"`{method.upper()} {path}`", about, _entry(operation.get("security", ()))
            sections.setdefault(operation["tags"][0], []).append(row)
    head = ("call", "does", "for")
    return (
        "# API\n\n"
        + _MADE
        + "The whole contract, with bodies and answers, is [openapi.json](openapi.json); a running"
        " service shows it at `/docs`.\n\n"
        + "\n".join(f"## {tag}\n\n{_table(head, rows)}" for tag, rows in sorted(sections.items()))
    )


def _entry(ways: Iterable[Mapping[str, list[str]]]) -> str:
    spelled = (
        " ".join(f"`{scope}`" for scope in scopes) or way
        for either in ways
        for way, scopes in either.items()
    )
    return " or ".join(dict.fromkeys(spelled)) or "anybody"


def errors() -> str:
    problems = sorted(catalogue().values(), key=lambda one: (int(one.status), one.code))
    rows = (
        (f"`{one.code}`", str(int(one.status)), one.title, " ".join(one.explanation.split()))
        for one in problems
    )
    faults = ((f"`{code}`", told) for code, told in sorted(_field_codes().items()))
    return (
        "# Errors\n\n"
        + _MADE
        + "Refusals are problem details (RFC 9457), OAuth endpoints answer as RFC 6749 says."
        " Branch on `code`.\n\n"
        + _table(("code", "status", "title", "more"), rows)
        + "\n## In `errors` of a 422\n\n"
        + _table(("code", "message"), faults)
    )


def _field_codes() -> dict[str, str]:
    """Collect the codes of single fields: those of HTTP, and those that the core raises."""
    found = dict(_MESSAGES)
    for part in ("domain", "application"):
        for path in sorted((ROOT / "src" / part).rglob("*.py")):
            for code, message in _raised_in(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(code, message)
    return found


def _raised_in(tree: ast.Module) -> Iterator[tuple[str, str]]:
    names = {
        ast.unparse(node.targets[0]): node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "FieldError":
            pair = node.args[1:]
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            pair = node.value.elts
        else:
            continue
        code, message = (names.get(ast.unparse(each), each) for each in pair)
        if isinstance(code, ast.Constant):
            yield str(code.value), _text(message)


def _text(node: ast.expr) -> str:
    """Read a text off the source, with N for what is filled in."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "N" for part in parts)


def events() -> str:
    rows = ((f"`{name}`", _about(kind), _data(kind)) for name, kind in EVENTS.items())
    return (
        "# Events\n\n"
        + _MADE
        + "What subscribers and webhooks are told ([how](../events.md)). `data` holds"
        " `actor_id`, the account or client that did it or null, and the fields below; fields may"
        " be added, and a change of those that are there makes a new version.\n\n"
        + _table(("type", "what happened", "data"), rows)
    )


def _about(kind: type[Any]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _data(kind: type[Any]) -> str:
    own = [field for field in fields(kind) if field.name not in ("id", "occurred_at", "actor_id")]
    return ", ".join(f"`{field.name}`" for field in own)


def settings() -> str:
    rows = (_setting(name, field) for name, field in setting_fields())
    return (
        "# Settings\n\n"
        + _MADE
        + "From the environment or `.env`; a secret also from the file that `<NAME>_FILE` names."
        " Durations as `15m` or `30d`, lists with commas.\n\n"
        + _table(("name", "default", "meaning"), rows)
    )


def _setting(name: str, field: FieldInfo) -> tuple[str, str, str]:
    default, secret = spelled_default(field), " Secret." if name in SECRET_NAMES else ""
    shown = "" if default is None else f"`{default}`"
    return f"`{name}`", shown, f"{field.description or ''}{secret}"


def commands() -> str:
    rows = _commands("gatepost", typer.main.get_command(command_line()))
    return (
        "# Commands\n\n"
        + _MADE
        + "Exit codes: 0 done, 1 failed, 2 wrong usage.\n\n"
        + _table(("command", "does", "options"), rows)
    )


def _commands(name: str, command: Any) -> Iterator[tuple[str, str, str]]:
    inner: Mapping[str, Any] = getattr(command, "commands", {})
    for part, found in inner.items():
        yield from _commands(f"{name} {part}", found)
    if not inner and not command.hidden:
        shown = [p for p in command.params if not getattr(p, "hidden", False)]
        arguments = "".join(f" {p.name.upper()}" for p in shown if p.param_type_name == "argument")
        named = [p.opts[0] for p in shown if p.opts[0].startswith("--")]
        process = OPTIONS.get(str(command.name), {})
        named += [option for option, about in process.items() if about["help"] != SUPPRESS]
        options = ", ".join(f"`{option}`" for option in named)
        yield f"`{name}{arguments}`", (command.help or "").partition("\n")[0], options


def metrics() -> str:
    rows = (
        (f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), one.about)
        for one in CATALOGUE
    )
    return (
        "# Metrics\n\n"
        + _MADE
        + "`/metrics` in Prometheus' text format, on `GATEPOST_HTTP__MANAGEMENT_PORT` where there"
        " is one: the sum over all server processes of an instance, whichever answers. Besides"
        " these, `process_*` as Prometheus' libraries name them. Workers show theirs on"
        " `GATEPOST_JOBS__METRICS_PORT`, where it is set; their backlog is seen on any server.\n\n"
        + _table(("name", "type", "labels", "meaning"), rows)
    )


def security_cases() -> str:
    tests = proofs()
    chapters = []
    for title, chapter in CHAPTERS.items():
        rows = (
            (case.id, case.about, case.feature, _proof(tests.get(case.id, ()), excuse_of(case)))
            for case in chapter
        )
        table = _table(("id", "what must hold", "feature", "tests"), rows)
        chapters.append(f"## {title}\n\n{table}")
    intro = "What must hold against attackers and accidents, and the tests that show it.\n\n"
    return "# Security cases\n\n" + _MADE + intro + "\n".join(chapters)


def asvs() -> str:
    chapters = []
    for title, chapter in standard.CHAPTERS.items():
        rows = ((one.id, one.level, one.about, _standing(one)) for one in chapter)
        chapters.append(f"## {title}\n\n{_table(('id', 'level', 'asks that', 'shown by'), rows)}")
    intro = (
        "OWASP's Application Security Verification Standard 5.0, where it is about what Gatepost"
        " does. Level 1 is for everybody, 2 is usual for identity, 3 is the highest."
        " [Security cases](security-cases.md) names the tests.\n\n"
    )
    return "# ASVS\n\n" + _MADE + intro + "\n".join(chapters)


def _standing(one: standard.Requirement) -> str:
    excuses = (f"{case.id}: {excuse_of(case)}" for case in one.cases() if excuse_of(case))
    shown = (case.id for case in one.cases() if not excuse_of(case))
    return "; ".join(filter(None, (", ".join(shown), *excuses, one.note)))


def _proof(tests: Iterable[str], excuse: str | None) -> str:
    return "<br>".join(f"`{test}`" for test in tests) or f"none: {excuse}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


PAGES: Mapping[str, Callable[[], str]] = {
    "api.md": api,
    "asvs.md": asvs,
    "cli.md": commands,
    "errors.md": errors,
    "events.md": events,
    "metrics.md": metrics,
    "openapi.json": openapi,
    "python-api.txt": python_api,
    "security-cases.md": security_cases,
    "settings.md": settings,
}

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for page, make in PAGES.items():
        (FOLDER / page).write_text(make(), encoding="utf-8")
    write_tutorials()
