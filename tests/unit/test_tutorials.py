"""The committed tutorials show the examples that are tested."""

import pytest

from tests.tutorials import EXAMPLES, FOLDER, TUTORIALS, page


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_shows_its_example(name: str) -> None:
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert committed == page(name), "Next: make reference."


def test_every_example_has_a_tutorial() -> None:
    shown = {file for _, files in TUTORIALS.values() for file in files}
    programs = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")}
    assert {path for path in programs if not path.endswith("__init__.py")} <= shown


def test_each_page_is_of_a_tutorial() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(TUTORIALS)
