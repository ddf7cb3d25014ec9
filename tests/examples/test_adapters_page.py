"""The mailer that docs/adapters.md shows."""

from pathlib import Path

from tests.scratch import run_pytest, write_blocks

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"
_AUTO = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""


def test_the_mailer_of_the_page_passes_its_suite(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(_AUTO)
    assert write_blocks(PAGE, tmp_path) == ["spool.py", "test_spool.py"]
    assert "8 passed" in run_pytest(tmp_path)
