"""The standard library's dataclasses, made in a fraction of the time.

Of a frozen class the library compiles six methods, each for itself: that was half of what the
core's import took. Here it is one, `__init__`; the others read the fields. Used as the library's:
with `field`, `fields` and `replace` from there, but every field is one of `__init__`.
"""

import dataclasses as library
from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, NoReturn

_MISSING = library.MISSING


def _dataclass(
    *, frozen: bool = False, slots: bool = False, kw_only: bool = False
) -> Callable[[type[Any]], type[Any]]:
    def make(cls: type[Any]) -> type[Any]:
        if frozen and not any(map(library.is_dataclass, cls.__mro__)):
            return _frozen(cls, slots=slots, kw_only=kw_only)
        return library.dataclass(frozen=frozen, slots=slots, kw_only=kw_only)(cls)

    return make


def _frozen(cls: type[Any], **options: bool) -> type[Any]:
    made: type[Any] = library.dataclass(init=False, repr=False, eq=False, **options)(cls)
    methods = {**_SHARED, **_comparison(made), "__init__": _initialiser(made)}
    for name in methods.keys() - vars(cls).keys():
        setattr(made, name, methods[name])
    # For the library, which asks when it makes a subclass.
    made.__dataclass_params__.frozen = made.__dataclass_params__.eq = True
    return made


def _initialiser(cls: type[Any]) -> Callable[..., None]:
    known: dict[str, Any] = {"_set": object.__setattr__, "_MISSING": _MISSING}
    positional, named, body = ["self"], ["*"], []
    for field in library.fields(cls):
        name = parameter = value = field.name
        if field.default is not _MISSING:
            known[f"_default_{name}"] = field.default
            parameter = f"{name}=_default_{name}"
        elif field.default_factory is not _MISSING:
            known[f"_make_{name}"] = field.default_factory
            parameter = f"{name}=_MISSING"
            value = f"_make_{name}() if {name} is _MISSING else {name}"
        (named if field.kw_only else positional).append(parameter)
        body.append(f" _set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append(" self.__post_init__()")
    return _compiled(cls, positional + (named if len(named) > 1 else []), body, known)


def _compiled(
    cls: type[Any], parameters: list[str], body: list[str], known: dict[str, Any]
) -> Callable[..., None]:
    # As the library does it: nothing but names of fields, which are identifiers, is in the text.
    exec("\n".join((f"def __init__({', '.join(parameters)}):", *body, " return")), known)  # noqa: S102
    init: Callable[..., None] = known["__init__"]
    init.__module__ = cls.__module__
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _comparison(cls: type[Any]) -> dict[str, Callable[..., Any]]:
    names = [field.name for field in library.fields(cls) if field.compare]
    values: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()

    def equal(self: object, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    return {"__eq__": equal, "__hash__": lambda self: hash(values(self))}


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{f.name}={getattr(self, f.name)!r}" for f in library.fields(self) if f.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refuse_to_set(_self: object, name: str, _value: object) -> NoReturn:
    raise library.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: object, name: str) -> NoReturn:
    raise library.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in library.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for field, value in zip(library.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)


_SHARED: dict[str, Callable[..., Any]] = {
    "__repr__": _repr,
    "__setattr__": _refuse_to_set,
    "__delattr__": _refuse_to_delete,
    "__getstate__": _state,
    "__setstate__": _restore,
}

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = _dataclass
