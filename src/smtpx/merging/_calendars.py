"""An iCalendar object with fields as the body of a part: no value leaves its place (RFC 5545)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from smtpx._message import fields
from smtpx.errors import LocalProtocolError
from smtpx.merging._bodies import line_feeds, shortest
from smtpx.merging._patterns import AsItIs, Pattern, fixed, has_fields, pattern_of

__all__ = ["CalendarBody"]

_LINE = 75  # Octets (RFC 5545 §3.1).
_FOLD = re.compile(r"\n[ \t]")
_VALUE = r'(?:"[^"]*"|[^";:,]*)'
_PROPERTY = re.compile(
    rf"(?P<name>[A-Za-z0-9-]+)(?P<parameters>(?:;[A-Za-z0-9-]+={_VALUE}(?:,{_VALUE})*)*):"
    r"(?P<value>.*)"
)
_IN_PARAMETERS = re.compile(r'(?<=[=,])("[^"]*"|[^";:,]*)')
_KIND = re.compile(r";VALUE=([A-Za-z-]+)", re.IGNORECASE)
_URIS = frozenset({"ATTACH", "ATTENDEE", "CONFERENCE", "IMAGE", "ORGANIZER", "SOURCE"}) | {
    *("CALENDAR-ADDRESS", "TZURL", "URL")
}
# Dates, numbers and the like; all other properties are texts, those of no RFC too (§3.8.8.2).
_EXACT = frozenset({"ACKNOWLEDGED", "BEGIN", "COMPLETED", "CREATED", "DTEND", "DTSTAMP"}) | {
    *("DTSTART", "DUE", "DURATION", "END", "EXDATE", "EXRULE", "FREEBUSY", "GEO", "LAST-MODIFIED"),
    *("METHOD", "PERCENT-COMPLETE", "PRIORITY", "RDATE", "RECURRENCE-ID", "REFRESH-INTERVAL"),
    *("REPEAT", "RRULE", "SEQUENCE", "TRIGGER", "TZOFFSETFROM", "TZOFFSETTO", "VERSION"),
}
_NOT_IN_URI = re.compile(r"[^!-;=?-~]")
_NOT_EXACT = re.compile(r"[^A-Za-z0-9+\-./:=_]")
_NEEDS_QUOTES = re.compile(r"[;:,]")
_IN_TEXT = {ord(character): f"\\{character}" for character in "\\;,"} | {ord("\n"): "\\n"}
_IN_PARAMETER = {ord("^"): "^^", ord("\n"): "^n", ord('"'): "^'"}  # RFC 6868 §3


class _Piece(NamedTuple):
    """What is filled in one way, or has no field in it."""

    pattern: Pattern
    written: Callable[[str, str], str]
    """Of the name of a field and its value: what stands for it."""
    quotes: bool | None = None
    """Of a parameter: whether it has quotes already."""


class CalendarBody:
    """Filled line by line, each value as its property has it, and folded anew."""

    as_it_is: Sequence[AsItIs] = ()

    def __init__(self, text: str, where: str) -> None:
        text = line_feeds(text)
        self.names = pattern_of(_FOLD.sub("", text), where).names
        self.encoding, self._encoded = shortest(text)
        self._lines: list[str | list[_Piece]] = []
        for line in re.split(r"\n(?![ \t])", text):
            whole = _FOLD.sub("", line)
            self._lines.append(_pieces(whole, where) if has_fields(whole) else line)

    def written(self, values: Mapping[str, str]) -> str:
        lines = [line if isinstance(line, str) else _filled(line, values) for line in self._lines]
        return self._encoded("\n".join(lines))


def _pieces(line: str, where: str) -> list[_Piece]:
    found = _PROPERTY.fullmatch(line)
    if found is None:
        raise LocalProtocolError(
            f"{where} has a field in {line!r:.60}: in a calendar it stands in the value of a "
            "property or of a parameter"
        )
    # A field is no part of a name, so only every other piece has some.
    pieces = [_fixed(found["name"])]
    for number, text in enumerate(_IN_PARAMETERS.split(found["parameters"])):
        if number % 2 and has_fields(text):
            quotes = text.startswith('"')
            pattern = pattern_of(text.strip('"'), where)
            pieces.append(_Piece(pattern, _in_parameter, quotes))
        else:
            pieces.append(_fixed(text))
    pieces.append(_fixed(":"))
    pieces.append(_Piece(pattern_of(found["value"], where), _way_of(found)))
    return pieces


def _fixed(text: str) -> _Piece:
    return _Piece(fixed(text), _in_text)


def _way_of(found: re.Match[str]) -> Callable[[str, str], str]:
    """How a value of this property is written."""
    name = found["name"].upper()
    kind = _KIND.search(found["parameters"])
    if kind is not None:
        said = kind[1].upper()
        name = {"TEXT": "", "URI": "URL", "CAL-ADDRESS": "URL"}.get(said, "DTSTART")
    if name in _URIS:
        return _in_uri
    return _exactly if name in _EXACT else _in_text


def _filled(line: list[_Piece], values: Mapping[str, str]) -> str:
    return "\n ".join(_folded("".join(_written(line, values))))


def _written(line: list[_Piece], values: Mapping[str, str]) -> Iterator[str]:
    for pattern, written, quotes in line:
        text = pattern.fill({name: written(name, values[name]) for name in pattern.names})
        if quotes or (quotes is False and _NEEDS_QUOTES.search(text)):
            text = f'"{text}"'
        yield text


def _folded(line: str) -> Iterator[str]:
    """A line in pieces of so many octets, none of which parts a character."""
    octets, room = line.encode(), _LINE
    while len(octets) > room:
        at = room
        while octets[at] & 0xC0 == 0x80:
            at -= 1
        yield octets[:at].decode()
        octets, room = octets[at:], _LINE - 1
    yield octets.decode()


def _in_text(name: str, value: str) -> str:
    return _one_line(name, line_feeds(value).translate(_IN_TEXT))


def _in_parameter(name: str, value: str) -> str:
    return _one_line(name, line_feeds(value).translate(_IN_PARAMETER))


def _one_line(name: str, value: str) -> str:
    if fields.breaks_a_line(value):
        raise LocalProtocolError(
            f"field {name!r} is {value!r:.60}, which no calendar can hold: leave out control "
            "characters"
        )
    return value


def _in_uri(name: str, value: str) -> str:
    return _checked(name, value, _NOT_IN_URI, "encode it before by a percent sign")


def _exactly(name: str, value: str) -> str:
    return _checked(
        name, value, _NOT_EXACT, "give a date, a number or the like, as it stands there"
    )


def _checked(name: str, value: str, unfit: re.Pattern[str], remedy: str) -> str:
    found = unfit.search(value)
    if found is not None:
        raise LocalProtocolError(
            f"field {name!r} has {found[0]!r}, which cannot stand there in a calendar: {remedy}"
        )
    return value
