"""The rules of lines, octets and parts (RFC 5321 §4.5.3.1, RFC 2045, RFC 2046)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from smtpx._message.names import PARAMETERS
from smtpx.findings import Finding, Rule, Severity

if TYPE_CHECKING:
    from smtpx._message.messages import AnyMessage

__all__ = ["LONGEST_LINE", "check_lines", "check_parts", "long_line"]

LONGEST_LINE = 998
"""Octets, the CRLF left out (RFC 5322 §2.1.1)."""
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BARE_CR = re.compile(rb"\r(?!\n)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_ENCODINGS = frozenset({"7bit", "8bit", "binary", "base64", "quoted-printable"})
# File names that Gmail and Outlook do not let in.
_REFUSED = re.compile(
    r"""\.(?: ade|adp|apk|appx|appxbundle|bat|cab|chm|cmd|com|cpl|diagcab|diagcfg|diagpkg|dll|dmg
      |ex|ex_|exe|hlp|hta|img|ins|iso|isp|jar|jnlp|js|jse|lib|lnk|mde|mjs|msc|msi|msix|msixbundle
      |msp|mst|nsh|pif|ps1|psc1|reg|scr|sct|shb|shs|sys|vb|vbe|vbs|vhd|vxd|wsc|wsf|wsh|xll )[. ]*\Z
    """,
    re.VERBOSE | re.IGNORECASE,
)


def check_lines(octets: bytes) -> Iterator[Finding]:
    """Look at the lines of content."""
    bare = _BARE_CR.search(octets)
    # Content that has LF alone is how Python has it; it is made canonical when it is sent.
    if bare is None and b"\r\n" in octets:
        bare = _BARE_LF.search(octets)
    if bare is not None:
        name = "CR" if bare[0] == b"\r" else "LF"
        yield _found(Rule.BARE_LINE_END, octets, bare.start(), f"it ends with {name} alone")
    nul = octets.find(b"\0")
    if nul >= 0:
        yield _found(Rule.NUL, octets, nul, "it has a NUL octet")
    long = long_line(octets)
    if long is not None:
        end = _LINE_END.search(octets, long)
        length = (len(octets) if end is None else end.start()) - long
        problem = f"it has {length} octets, {LONGEST_LINE} are allowed"
        yield _found(Rule.LINE_TOO_LONG, octets, long, problem)


def long_line(octets: bytes) -> int | None:
    """Where the first line begins that is too long; None if there is none."""
    begin, most = 0, LONGEST_LINE + 1
    while begin + most <= len(octets):
        # A search from each octet on would take a time that grows with the length of lines.
        end = max(octets.rfind(each, begin, begin + most) for each in (b"\n", b"\r"))
        if end < 0:
            return begin
        begin = end + 1
    return None


def check_parts(message: AnyMessage) -> Iterator[Finding]:
    """Look at the parts of a message that was parsed by the older policy."""
    texts = 0
    for number, part in enumerate(message.walk()):
        kind = part.get_content_type()
        where = f"part {number} ({kind})" if number else f"the body ({kind})"
        for defect in part.defects:
            if "Header" not in type(defect).__name__:
                problem = str(defect) or type(defect).__name__
                yield Finding(Rule.MIME_MALFORMED, Severity.WARNING, where, problem)
        for field, value in part.raw_items():
            if field.lower() in PARAMETERS and str(value).lstrip().startswith("=?"):
                problem = f"its {field} is encoded as a whole"
                yield Finding(Rule.IDENTIFIER_ENCODED, Severity.ERROR, where, problem)
        name = _file_name(part)
        if name is not None and _REFUSED.search(name):
            problem = f"files named like {name!r} are refused"
            yield Finding(Rule.ATTACHMENT_REFUSED, Severity.WARNING, where, problem)
        payload: Any = vars(part)["_payload"]  # get_payload() spoils octets above 127
        if not isinstance(payload, str):
            continue
        encoding = str(part.get("Content-Transfer-Encoding", "7bit")).strip().lower()
        if encoding not in _ENCODINGS:
            problem = f"its transfer encoding {encoding!r} is unknown"
            yield Finding(Rule.MIME_MALFORMED, Severity.WARNING, where, problem)
        elif encoding not in ("8bit", "binary") and not payload.isascii():
            problem = f"it has octets above 127, and says that it is {encoding}"
            yield Finding(Rule.EIGHT_BIT_UNDECLARED, Severity.ERROR, where, problem)
        if kind == "text/plain" and part.get_content_disposition() != "attachment":
            texts += 1
    if not texts:
        problem = "there is no plain text in it"
        yield Finding(Rule.TEXT_MISSING, Severity.WARNING, "the message", problem)


def _found(rule: Rule, octets: bytes, position: int, problem: str) -> Finding:
    number = 1 + sum(1 for _ in _LINE_END.finditer(octets, 0, position))
    return Finding(rule, Severity.ERROR, f"line {number}", problem)


def _file_name(part: AnyMessage) -> str | None:
    try:
        return part.get_filename()
    except (ValueError, LookupError, TypeError):
        return None  # Told by the defects of its part.
