"""The pytest plugin, in projects of its users."""

from pathlib import Path

from tests.scratch import run_pytest, write_blocks

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorials" / "testing.md"
# The fixture asks for no plugin that runs coroutines.
PLAIN = ("-p", "no:asyncio")
_STRANGER = """
import sys

def test_nothing_of_the_service_is_loaded():
    assert "pytest_gatepost" in sys.modules
    assert not [name for name in sys.modules if name.partition(".")[0] in ("gatepost", "fastapi")]
"""


def test_what_the_tutorial_shows_passes(tmp_path: Path) -> None:
    assert write_blocks(TUTORIAL, tmp_path) == [
        "orders.py",
        "test_orders.py",
        "test_welcome.py",
        "shop.py",
        "test_shop.py",
    ]
    assert "7 passed" in run_pytest(tmp_path, *PLAIN)


def test_who_does_not_use_the_fixture_loads_nothing_of_the_service(tmp_path: Path) -> None:
    (tmp_path / "test_stranger.py").write_text(_STRANGER)
    assert "1 passed" in run_pytest(tmp_path, *PLAIN)
