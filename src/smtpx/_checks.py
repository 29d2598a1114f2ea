"""What callers give, looked at where they give it: one set of words for every complaint.

Each names what is wrong and what is allowed. A `TypeError` quotes no value, for it may be a secret.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from typing import Any, cast

__all__ = [
    "LONGEST_WAIT",
    "address_and_port",
    "amount",
    "complaint",
    "count",
    "each",
    "even_half_made",
    "flag",
    "instance",
    "is_one",
    "one_of",
    "text",
    "unknown",
]

LONGEST_WAIT = 2_000_000.0
"""Seconds, some 23 days, that every system can wait at a time: who is given more waits so long."""


def complaint(name: str, value: object, allowed: str, advice: str = "") -> TypeError:
    """The error for a value of a kind that is not allowed."""
    given = value.__name__ + " itself" if isinstance(value, type) else type(value).__name__
    return TypeError(f"{name}: give {allowed}, not {given}{advice}")


def instance(name: str, value: object, *kinds: type, or_none: bool = False) -> None:
    """Take a value of one of these public kinds.

    Raises:
        TypeError: it is of another.
    """
    if not (isinstance(value, kinds) or (or_none and value is None)):
        names = [_with_article(_public(kind)) for kind in kinds] + ["None"] * or_none
        raise complaint(name, value, " or ".join(names))


def text(name: str, value: object, *, or_none: bool = False) -> None:
    """Take a `str`.

    Raises:
        TypeError: it is none.
    """
    if not (isinstance(value, str) or (or_none and value is None)):
        raise complaint(name, value, "a str or None" if or_none else "a str")


def flag(name: str, value: object) -> None:
    """Take True or False.

    Raises:
        TypeError: it is neither: what only counts as one may be a mistake.
    """
    if value is not True and value is not False:
        raise complaint(name, value, "True or False")


def count(
    name: str, value: object, least: int, most: int | None = None, *, or_none: bool = False
) -> None:
    """Take an `int` of a range.

    Raises:
        TypeError: it is none; a truth value counts nothing.
        ValueError: it is out of the range.
    """
    if value is None and or_none:
        return
    none = " or None" if or_none else ""
    if not isinstance(value, int) or isinstance(value, bool):
        raise complaint(name, value, f"an int{none}")
    if value < least or (most is not None and value > most):
        span = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name}={shown(value)}: give {span}{none}")


def amount(name: str, value: object, unit: str, *, or_none: bool = False) -> None:
    """Take a finite number above 0 of some unit.

    Raises:
        TypeError: it is no number; a truth value is none.
        ValueError: it is not above 0, or not finite.
    """
    if value is None and or_none:
        return
    none = ", or None" if or_none else ""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise complaint(name, value, f"{unit} as a number{none}")
    if not 0 < value <= sys.float_info.max:
        raise ValueError(f"{name}={shown(value)}: give {unit} above 0{none}")


def each(name: str, values: Any, what: str, *kinds: type, advice: str = "") -> None:
    """Take several values of some kinds, in whatever holds them.

    Raises:
        TypeError: it holds none, or one of another kind.
    """
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Collection):
        raise complaint(name, cast("object", values), f"several {what}", advice)
    for value in cast("Collection[object]", values):
        if not isinstance(value, kinds):
            raise complaint(name, value, f"several {what}", advice)


def is_one(value: object) -> bool:
    """True for one thing that could be iterated over: a text, octets, a dict, a file, a message.

    Its lines, keys or names are no list of what the caller means.
    """
    is_whole = isinstance(value, (str, bytes, bytearray, memoryview, Mapping))
    return is_whole or hasattr(value, "read") or hasattr(value, "get_payload")


def even_half_made(shown: Callable[[Any], str]) -> Callable[[Any], str]:
    """Of a `__repr__`: one that also shows what was refused before all of it was there.

    A traceback with variables has such, and would else end in an error of its own.
    """

    @wraps(shown)
    def shown_even_so(value: object) -> str:
        try:
            return shown(value)
        except AttributeError:
            return f"<half a {type(value).__qualname__}>"

    return shown_even_so


def address_and_port(name: str, value: Any) -> tuple[str, int]:
    """Take a tuple of IP address and port; whether it is an address, is not looked at.

    Raises:
        TypeError: it is none.
        ValueError: there is no such port.
    """
    pair: tuple[Any, ...] = tuple(value) if isinstance(value, tuple) else ()  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - of whatever kind
    if len(pair) != 2 or not isinstance(pair[0], str):
        raise complaint(name, cast("object", value), "a tuple of IP address and port")
    host, port = cast("tuple[str, int]", pair)
    count(f"{name}: port", port, 0, 65535)
    return host, port


def one_of(name: str, value: object, words: tuple[str, ...]) -> None:
    """Take one of some words.

    Raises:
        TypeError: it is no `str`.
        ValueError: it is another.
    """
    allowed = " or ".join(repr(word) for word in words)
    if not isinstance(value, str):
        raise complaint(name, value, allowed)
    if value not in words:
        raise ValueError(f"{name}={shown(value)}: give {allowed}")


def unknown(
    what: str, names: Iterable[str], known: Iterable[str], kin: Mapping[str, str] | None = None
) -> TypeError:
    """The error for names that nothing has, with what they may have meant.

    `kin` says what others call so.
    """
    from difflib import get_close_matches

    known, kin = tuple(known), kin or {}
    told: list[str] = []
    for name in sorted(names):
        close = get_close_matches(name, [*known, *kin], 1)
        told.append(f"{name} (did you mean {kin.get(close[0], close[0])}?)" if close else name)
    return TypeError(f"unknown {what}: {', '.join(told)}; known are {', '.join(known)}")


def shown(value: object) -> str:
    """A value as an error quotes it, which is no secret."""
    try:
        written = repr(value)
    except ValueError:  # An int of more digits than Python writes.
        return f"<{type(value).__name__}>"
    return written if len(written) <= 60 else written[:57] + "..."


def _with_article(kind: str) -> str:
    if kind == "bytes":
        return kind
    return f"an {kind}" if kind[0] in "AEIOaeio" else f"a {kind}"


def _public(kind: type) -> str:
    """Where users find it: as near to the top as it is."""
    name, rooms = kind.__name__, kind.__module__.split(".")
    if rooms[0] != "smtpx":
        return name
    places = (".".join(rooms[:depth]) for depth in range(1, len(rooms) + 1))
    told = (place for place in places if name in getattr(sys.modules.get(place), "__all__", ()))
    return f"{next(told, kind.__module__)}.{name}"
