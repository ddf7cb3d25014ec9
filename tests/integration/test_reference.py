"""The committed reference says what the code does."""

import pytest

from tests.asvs import CHAPTERS
from tests.reference import FOLDER, PAGES
from tests.security_cases import NOT_BUILT, cases, excuse_of, proofs


@pytest.mark.parametrize("page", PAGES)
def test_the_reference_is_current(page: str) -> None:
    committed = (FOLDER / page).read_text(encoding="utf-8")
    assert committed == PAGES[page](), "Next: make reference."


def test_every_security_case_of_a_built_feature_has_a_test() -> None:
    tested = proofs()
    assert [case.id for case in cases() if not excuse_of(case) and case.id not in tested] == []


def test_no_excuse_outlives_its_reason() -> None:
    tested = proofs()
    excused = [case.id for case in cases() if excuse_of(case) and case.id in tested]
    assert excused == [], "Next: take the excuse out of tests/security_cases.py."
    assert set(NOT_BUILT) <= {case.feature for case in cases()}


def test_every_requirement_of_the_standard_is_shown_or_said_to_be_open() -> None:
    for chapter in CHAPTERS.values():
        for one in chapter:
            assert list(one.cases()) or one.note, one.id


def test_every_id_in_the_name_of_a_test_is_known_and_each_case_stands_once() -> None:
    known = [case.id for case in cases()]
    assert set(proofs()) <= set(known)
    assert len(known) == len(set(known))
