"""The committed tutorials show the examples that are tested."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.python_api import MODULES
from tests.tutorials import EXAMPLES, FOLDER, ROOT, TUTORIALS, code_of, page


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_shows_its_example(name: str) -> None:
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert committed == page(name), "Next: make reference."


def test_every_example_is_shown_on_a_page() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in FOLDER.iterdir())
    # What explains itself at length in its own folder is no page.
    explained = {path.parent for path in EXAMPLES.glob("*/README.md")}
    programs = [
        path
        for path in EXAMPLES.rglob("*.py")
        if path.name != "__init__.py" and path.parent not in explained
    ]
    hidden = [path.name for path in programs if code_of(path).strip() not in pages]
    assert hidden == []


PROMISED = {"gatepost", *(f"gatepost.{name}" for name in (*MODULES, "errors", "events"))}
# Suites come with the ports of their release.
SUITES = "gatepost.testing.contracts."


def _code() -> Iterator[tuple[str, str]]:
    for path in EXAMPLES.rglob("*.py"):
        yield str(path), path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield str(path), block


def _imported(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_what_is_shown_imports_nothing_that_may_change_at_any_time() -> None:
    ours = {
        (where, module)
        for where, code in _code()
        for module in _imported(code)
        if module.partition(".")[0] == "gatepost" and not module.startswith(SUITES)
    }
    assert [each for each in sorted(ours) if each[1] not in PROMISED] == []
    assert len(ours) > 30
