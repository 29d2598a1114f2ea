"""The header section of a message as octets: what is left out of it changes nothing else."""

from __future__ import annotations

import re

__all__ = ["BCC", "FROM", "header_section", "without"]

_BLANK = re.compile(rb"\r?\n\r?\n")


def _fields(names: bytes) -> re.Pattern[bytes]:
    """Fields of these names, each with the lines that it is folded over."""
    pattern = rb"^(?:%s)[ \t]*:.*(?:\r?\n[ \t].*)*(?:\r?\n|\Z)" % names
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


BCC = _fields(rb"(?:resent-)?bcc")
FROM = _fields(rb"from")


def header_section(octets: bytes) -> bytes:
    """The fields of a message, without its body."""
    end = _BLANK.search(octets)
    return octets if end is None else octets[: end.start() + 2]


def without(fields: re.Pattern[bytes], octets: bytes) -> bytes:
    """A message without these fields of its header."""
    header = header_section(octets)
    return fields.sub(b"", header) + octets[len(header) :]
