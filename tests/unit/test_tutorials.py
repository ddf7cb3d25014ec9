"""The committed tutorials show the examples that are tested."""

import pytest

from tests.tutorials import EXAMPLES, FOLDER, TUTORIALS, code_of, page


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
