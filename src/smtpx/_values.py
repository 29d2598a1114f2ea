"""Values: compared by what they hold, and not to be changed.

A `Value` is to be read as a frozen dataclass with slots, and `dataclasses` takes it for one
(`replace`, `fields`, `asdict`). It is not made by that module, which compiles six methods for each
class, and whose import alone takes half as long as all of `smtplib`.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from types import FunctionType
from typing import Any, TypeVar, dataclass_transform

__all__ = ["Value", "becomes", "draft_of", "field", "replaced"]

_REQUIRED: Any = object()


class _Field:
    __slots__ = ("compare", "default", "init", "kw_only", "repr")

    def __init__(
        self, default: Any, *, init: bool, repr: bool, compare: bool, kw_only: bool
    ) -> None:
        self.default = default
        self.init = init
        self.repr = repr
        self.compare = compare
        self.kw_only = kw_only


def field(
    *,
    default: Any = _REQUIRED,
    init: bool = True,
    repr: bool = True,
    compare: bool = True,
    kw_only: bool = False,
) -> Any:
    """A field that is not given, not shown, not compared or given by its name alone."""
    return _Field(default, init=init, repr=repr, compare=compare, kw_only=kw_only)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class _ValueType(type):
    """Makes slots of the annotations, and an `__init__` where none is written."""

    __fields__: dict[str, _Field]
    __key__: attrgetter[Any]

    def __new__(
        metacls: type[_ValueType],
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        kw_only: bool = False,
    ) -> _ValueType:
        annotations: dict[str, Any] = namespace.get("__annotations__", {})
        fields: dict[str, _Field] = {}
        for each in annotations:
            given = namespace.pop(each, _REQUIRED)
            fields[each] = (
                given
                if isinstance(given, _Field)
                else _Field(given, init=True, repr=True, compare=True, kw_only=kw_only)
            )
        namespace["__slots__"] = tuple(fields)
        namespace["__fields__"] = fields
        namespace["__match_args__"] = tuple(
            each for each, field in fields.items() if field.init and not field.kw_only
        )
        if fields:
            compared = [each for each, field in fields.items() if field.compare]
            namespace["__key__"] = attrgetter(*compared)
        if fields and "__init__" not in namespace:
            namespace["__init__"] = _Init()
        return super().__new__(metacls, name, bases, namespace)


class _Init:
    """Stands for an `__init__` that is compiled when the first value is made, or somebody looks."""

    def __get__(self, value: object, kind: _ValueType) -> Callable[..., None]:
        if isinstance(value, _ValueType):
            kind = value  # From Python 3.13 on, `inspect.signature` asks so.
        init = _init_of(kind)
        kind.__init__ = init  # type: ignore[misc] # as dataclasses do
        bound: Callable[..., None] = init.__get__(value, kind)
        return bound


def _init_of(made: _ValueType) -> FunctionType:
    """What sets the fields from arguments in their order."""
    annotations = made.__annotations__
    names: dict[str, Any] = {}
    parameters, by_name, body = ["self"], ["*"], [""]
    given = {name: field for name, field in made.__fields__.items() if field.init}
    for name, field in given.items():
        names[f"_set_{name}"] = vars(made)[name].__set__
        parameter = name
        if field.default is not _REQUIRED:
            names[f"_default_{name}"] = field.default
            parameter += f"=_default_{name}"
        (by_name if field.kw_only else parameters).append(parameter)
        body.append(f"_set_{name}(self, {name})")
    if hasattr(made, "__post_init__"):
        body.append("self.__post_init__()")
    if len(by_name) > 1:
        parameters += by_name
    exec(f"def __init__({', '.join(parameters)}):" + "\n ".join(body), names)
    init: FunctionType = names["__init__"]
    init.__qualname__ = f"{made.__qualname__}.__init__"
    init.__annotations__ = {**{name: annotations[name] for name in given}, "return": None}
    return init


class _Fields:
    """What `dataclasses` looks for, made when it does."""

    def __get__(self, value: object, kind: _ValueType) -> dict[str, Any]:
        import dataclasses

        specified: list[tuple[str, Any, Any]] = []
        for name, field in kind.__fields__.items():
            said = {flag: getattr(field, flag) for flag in _Field.__slots__}
            if field.default is _REQUIRED:
                del said["default"]
            specified.append((name, kind.__annotations__[name], dataclasses.field(**said)))
        twin = dataclasses.make_dataclass(kind.__name__, specified, init=False)
        fields: dict[str, Any] = vars(twin)["__dataclass_fields__"]
        return fields


class Value(metaclass=_ValueType):
    """The base of all values: its annotated names are fields, which it sets once.

    Class keyword: ``kw_only=True``, as of a dataclass. What has an `__init__` of its own sets its
    fields by ``object.__setattr__``. A value is no base of another.
    """

    __dataclass_fields__ = _Fields()
    __key__ = attrgetter("__class__")  # of what has no fields

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        key = type(self).__key__
        return bool(key(self) == key(other))

    def __hash__(self) -> int:
        return hash(type(self).__key__(self))

    def __repr__(self) -> str:
        shown = [
            f"{name}={getattr(self, name)!r}"
            for name, field in type(self).__fields__.items()
            if field.repr and hasattr(self, name)  # What was refused may be half made.
        ]
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __setattr__(self, name: str, value: object) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __getstate__(self) -> list[Any]:
        return [getattr(self, name) for name in type(self).__fields__]

    def __setstate__(self, state: list[Any]) -> None:
        for name, value in zip(type(self).__fields__, state, strict=True):
            object.__setattr__(self, name, value)

    def __replace__(self, **changes: Any) -> Any:
        return replaced(self, **changes)


# Of the class itself: to read one from text, `compile` first makes the classes of `ast`.
V = TypeVar("V", bound=Value)


def draft_of(kind: type[Value]) -> type[Any]:
    """A twin of a class whose fields can be set, for values that are made by the thousand.

    A draft becomes a value by ``draft.__class__ = kind``. To set a field of a value by
    ``object.__setattr__`` takes nine times as long.
    """
    namespace = {
        "__slots__": vars(kind)["__slots__"],
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,  # CPython has one slot for both.
    }
    return type.__new__(_ValueType, f"{kind.__name__}Draft", (Value,), namespace)


becomes: Callable[[object, type], None] = vars(object)["__class__"].__set__
"""Makes a draft of a value that has yet to be filled, in an `__init__` of its own."""


def replaced(value: V, **changes: Any) -> V:
    """The same with some fields changed."""
    for name, field in type(value).__fields__.items():
        if field.init:
            _ = changes.setdefault(name, getattr(value, name))
    try:
        return type(value)(**changes)
    finally:
        changes.clear()  # R14: a traceback with locals would show a secret among them.
