"""Our dataclasses do as the library's, whose tests these are, too."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any

import pytest

from gatepost.domain.dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stored:
    """At the top of a module, where pickle finds it."""

    name: str
    sizes: tuple[int, ...] = (1,)


@pytest.fixture(params=[dataclass, dataclasses.dataclass], ids=["ours", "library"])
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def point(make: Callable[..., Any]) -> Any:
    @make(frozen=True, slots=True)
    class Point:
        x: int
        y: int = 2
        seen: list[int] = field(default_factory=list, compare=False)
        secret: str = field(default="hidden", repr=False, kw_only=True)

    return Point


def test_fields_are_given_by_place_or_name_or_take_their_default(point: Any) -> None:
    made = point(1, secret="told")
    assert (made.x, made.y, made.seen, made.secret) == (1, 2, [], "told")
    assert point(1).seen is not point(1).seen
    assert point(y=3, x=4).y == 3
    assert [f.name for f in fields(made)] == ["x", "y", "seen", "secret"]


@pytest.mark.parametrize("given", [((), {}), ((1, 2, [], "x"), {}), ((1,), {"z": 1})])
def test_what_does_not_fit_the_fields_names_the_class(point: Any, given: Any) -> None:
    places, names = given
    with pytest.raises(TypeError, match=r"Point\.__init__"):
        point(*places, **names)


def test_equal_are_those_of_one_class_with_equal_fields(point: Any) -> None:
    assert point(1) == point(1, seen=[7])
    assert hash(point(1)) == hash(point(1, seen=[7]))
    assert point(1) != point(2)
    assert point(1) != point(1, secret="other")
    assert point(1) != (1, 2, "hidden")


def test_one_without_fields_equals_its_like(make: Callable[..., Any]) -> None:
    class Empty: ...

    made: Any = make(frozen=True, slots=True)(Empty)
    assert made() == made()
    assert hash(made()) == hash(made())


def test_a_hidden_field_is_not_shown(point: Any) -> None:
    assert repr(point(1)).endswith("Point(x=1, y=2, seen=[])")


def test_nothing_is_set_or_deleted_afterwards(point: Any) -> None:
    made = point(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        made.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del made.x
    with pytest.raises((FrozenInstanceError, TypeError)):
        made.other = 2
    assert not hasattr(made, "__dict__")


def test_a_copy_may_differ(point: Any) -> None:
    assert replace(point(1), y=5) == point(1, 5)
    assert copy.deepcopy(point(1)) == point(1)


def test_one_travels_between_processes() -> None:
    assert pickle.loads(pickle.dumps(Stored("ada"))) == Stored("ada")  # noqa: S301


def test_the_fields_are_checked_where_they_are_filled(make: Callable[..., Any]) -> None:
    class Age:
        years: int

        def __post_init__(self) -> None:
            if self.years < 0:
                raise ValueError

    made: Any = make(frozen=True, slots=True, kw_only=True)(Age)
    assert made(years=1).years == 1
    with pytest.raises(ValueError):  # noqa: PT011
        made(years=-1)


def test_what_a_class_says_itself_stays(make: Callable[..., Any]) -> None:
    class Loud:
        name: str

        def __repr__(self) -> str:
            return self.name.upper()

    assert repr(make(frozen=True, slots=True)(Loud)("ada")) == "ADA"


def test_a_subclass_adds_its_fields(make: Callable[..., Any], point: Any) -> None:
    class Deep(point):  # type: ignore[misc]
        z: int = 0

    made: Any = make(frozen=True, slots=True)(Deep)
    assert repr(made(1, z=3)).endswith("Deep(x=1, y=2, seen=[], z=3)")
    assert made(1) != made(1, z=3)
    with pytest.raises(FrozenInstanceError):
        made(1).x = 2


def test_one_that_may_change_does(make: Callable[..., Any]) -> None:
    class Open:
        x: int

    made: Any = make(slots=True)(Open)(1)
    made.x = 2
    assert made.x == 2
