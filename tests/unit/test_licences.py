"""Which licences may be shipped."""

import runpy
from pathlib import Path

import pytest

accepted = runpy.run_path(str(Path(__file__).parents[2] / "deploy" / "sbom.py"))["accepted"]


@pytest.mark.parametrize("fine", ["MIT", "MIT AND PSF-2.0", "GPL-3.0-only OR Apache-2.0"])
def test_one_side_of_a_choice_suffices(fine: str) -> None:
    assert accepted(fine)


@pytest.mark.parametrize("refused", ["LGPL-3.0-only", "MIT AND AGPL-3.0-only", "unknown", ""])
def test_each_of_several_that_hold_at_once_must_be_fine(refused: str) -> None:
    assert not accepted(refused)
