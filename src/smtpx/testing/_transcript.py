"""The text of a script, read into what is to happen (see `smtpx.testing.script`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Said:
    """Octets that one side says."""

    client: bool
    data: bytes
    unsolicited: bool = False
    """Written ``S!:``: there already, for whoever looks."""


class Event(Enum):
    """What happens other than speech."""

    CLOSE = "<close>"
    RESET = "<reset>"
    SILENCE = "<silence>"
    TLS = "--tls--"
    TLS_FAILURE = "--tls failure--"


@dataclass(frozen=True, slots=True)
class Happening:
    """An event, and whether the server's end of it is there already (``S!: <close>``)."""

    event: Event
    unsolicited: bool = False


Entry: TypeAlias = Said | Happening

_LINE = re.compile(r"(C|S|S!):(?: (.*))?", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES = {"t": b"\t", "r": b"\r", "n": b"\n", "0": b"\0", "\\": b"\\"}
_OF_SERVER = {event.value: event for event in (Event.CLOSE, Event.RESET, Event.SILENCE)}
_OF_BOTH = {event.value: event for event in (Event.TLS, Event.TLS_FAILURE)}


def read_script(text: str) -> list[Entry]:
    """Read a script.

    Raises:
        ValueError: a line is none of those a script may have.
    """
    entries: list[Entry] = []
    speaker = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.lstrip()
        if not line or line.startswith("#"):
            continue
        if line.rstrip() in _OF_BOTH:
            entries.append(Happening(_OF_BOTH[line.rstrip()]))
            continue
        match = _LINE.fullmatch(line)
        if match:
            speaker, said = match[1], match[2] or ""
        elif speaker:
            said = line
        else:
            raise ValueError(f"line {number} of the script has no speaker: {line!r}")
        if speaker != "C" and said.strip() in _OF_SERVER:
            entries.append(Happening(_OF_SERVER[said.strip()], speaker == "S!"))
            continue
        try:
            data = _octets(said)
        except ValueError as error:
            raise ValueError(f"line {number} of the script: {error}") from error
        entries.append(Said(speaker == "C", data, speaker == "S!"))
    return entries


def write_entry(entry: Entry) -> str:
    """Write an entry as it would stand in a script."""
    if isinstance(entry, Said):
        return f"{'C' if entry.client else 'S!' if entry.unsolicited else 'S'}: {shown(entry.data)}"
    if entry.event in _OF_BOTH.values():
        return entry.event.value
    return f"S{'!' if entry.unsolicited else ''}: {entry.event.value}"


def shown(data: bytes) -> str:
    """Write octets as they would stand in a line of a script."""
    whole = data.endswith(b"\r\n")
    text = data.removesuffix(b"\r\n").replace(b"\\", b"\\\\")
    plain = re.sub(rb"[\x00-\x1f\x7f-\xff]", lambda octet: f"\\x{ord(octet[0]):02x}".encode(), text)
    return plain.decode() + ("" if whole else "\\")


def _octets(said: str) -> bytes:
    end = b"\r\n"
    # An odd number of backslashes at the end: the last one is not half of an escape.
    if (len(said) - len(said.rstrip("\\"))) % 2:
        said, end = said[:-1], b""
    parts: list[bytes] = []
    start = 0
    for match in _ESCAPE.finditer(said):
        parts.append(said[start : match.start()].encode())
        start = match.end()
        name = match[1]
        if len(name) == 3:
            parts.append(bytes.fromhex(name[1:]))
        elif name in _ESCAPES:
            parts.append(_ESCAPES[name])
        else:
            raise ValueError(f"unknown escape \\{name}")
    return b"".join([*parts, said[start:].encode(), end])
