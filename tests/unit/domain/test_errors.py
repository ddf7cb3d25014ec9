import re

import pytest

from gatepost.domain import errors
from gatepost.domain.errors import FieldError, GatepostError, Kind, NotFound, ValidationFailed


def catalogue(root: type[GatepostError] = GatepostError) -> list[type[GatepostError]]:
    own = [found for found in root.__subclasses__() if found.__module__ == errors.__name__]
    return own + [deeper for found in own for deeper in catalogue(found)]


def test_every_code_names_one_refusal() -> None:
    codes = [error.code for error in catalogue()]
    assert len(codes) > 10
    assert len(set(codes)) == len(codes)


def test_every_refusal_has_kind_code_and_title() -> None:
    for error in catalogue():
        assert error.kind in Kind, error
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code), error
        assert re.fullmatch(r"[A-Z].*\.", error.title), error


def test_the_detail_is_the_title_unless_there_is_more_to_say() -> None:
    assert NotFound().detail == str(NotFound()) == NotFound.title
    assert NotFound("No such session.").detail == "No such session."


def test_faults_are_raised_together_and_none_raises_nothing() -> None:
    first, second = FieldError("a", "x", "X."), FieldError("b", "y", "Y.")
    ValidationFailed.raise_for([])
    with pytest.raises(ValidationFailed) as refused:
        ValidationFailed.raise_for(iter([first, second]))
    assert refused.value.errors == (first, second)
