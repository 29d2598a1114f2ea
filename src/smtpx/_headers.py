"""The header section of a message as octets: where it ends, and what a field is.

It goes up to the first empty line (RFC 5322 §2.1), and a line ends with CRLF, LF or CR alone. White
space before a colon makes the field an obsolete one, and a field all the same (§4.5).
"""

from __future__ import annotations

import re

__all__ = [
    "BCC",
    "FIELD",
    "FROM",
    "RECIPIENTS",
    "header_section",
    "with_plain_names",
    "without",
]

_EOL = rb"(?:\r\n?+|\n)"
_BEGIN = rb"(?:\A|(?<=[\r\n]))"
_EMPTY_LINE = re.compile(rb"(%b)%b" % (_EOL, _EOL))
_OBSOLETE = re.compile(rb"%b([!-9;-~]++)[ \t]++:" % _BEGIN)


def _fields(names: bytes) -> re.Pattern[bytes]:
    """Fields of these names, each with the lines that it is folded over."""
    body = rb"[ \t]*+:[^\r\n]*+(?:%b[ \t][^\r\n]*+)*+(?:%b|\Z)" % (_EOL, _EOL)
    return re.compile(rb"%b(?:%b)%b" % (_BEGIN, names, body), re.IGNORECASE)


BCC = _fields(rb"(?:resent-)?bcc")
FROM = _fields(rb"from")
RECIPIENTS = _fields(rb"(?:resent-)?(?:to|b?cc)")
FIELD = _fields(rb"[^\s:]++")
"""Any field, and what reads like one though its name has octets in it that no name may have."""


def header_section(octets: bytes) -> bytes:
    """The fields of a message, without its body and the empty line before it."""
    if octets[:1] in (b"\r", b"\n"):
        return b""
    end = _EMPTY_LINE.search(octets)
    return octets if end is None else octets[: end.end(1)]


def without(fields: re.Pattern[bytes], octets: bytes) -> bytes:
    """A message without these fields of its header."""
    header = header_section(octets)
    return fields.sub(b"", header) + octets[len(header) :]


def with_plain_names(octets: bytes) -> bytes:
    """A message whose fields have no white space before the colon; what is none stays as it is."""
    header = header_section(octets)
    return _OBSOLETE.sub(rb"\1:", header) + octets[len(header) :]
