"""The grammar of RFC 5321 §4.1.2 and §4.1.3, as the embedded server reads it.

Written from the RFCs and from nothing else: it judges the client, so it shares no line with it.
All patterns work on text; non-ASCII characters are part of the grammar as RFC 6531 §3.3 adds
them, and whether the client was entitled to them is the protocol's question.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_WIDE = "\u0080-\U0010ffff"
_ATEXT = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~\-{_WIDE}]"
_DOT_STRING = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_QUOTED_STRING = rf'"(?:[ !#-\[\]-~{_WIDE}]|\\[ -~])*"'
_SUB_DOMAIN = rf"[A-Za-z0-9{_WIDE}](?:[A-Za-z0-9\-{_WIDE}]*[A-Za-z0-9{_WIDE}])?"
_DOMAIN = rf"{_SUB_DOMAIN}(?:\.{_SUB_DOMAIN})*"
_LITERAL = r"\[[!-Z^-~]+\]"
_ROUTE = rf"@{_DOMAIN}(?:,@{_DOMAIN})*:"

_PATH = re.compile(
    rf"<(?:(?:{_ROUTE})?(?P<mailbox>(?P<local>{_DOT_STRING}|{_QUOTED_STRING})"
    rf"@(?P<domain>{_DOMAIN}|{_LITERAL})))?>"
)
_POSTMASTER = re.compile(r"<(postmaster)>", re.IGNORECASE)
_IDENTIFICATION = re.compile(rf"{_DOMAIN}|{_LITERAL}")
_GENERAL_LITERAL = re.compile(r"[A-Za-z0-9-]*[A-Za-z0-9]:[!-Z^-~]+")

_LOCAL_PART_LIMIT = 64
_DOMAIN_LIMIT = 255
_PATH_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Path:
    """A reverse-path or forward-path that fits the grammar."""

    address: str
    """The mailbox without angle brackets and source route; ``""`` is the null reverse-path."""

    end: int
    """Where the path ends in the text it was read from."""

    faults: tuple[str, ...]
    """Limits of RFC 5321 §4.5.3.1 that it breaks."""


def read_path(text: str, *, null: bool) -> Path | None:
    """Read the path that `text` begins with, or say None when there is none.

    `null` is true for MAIL, where ``<>`` is a path and ``<Postmaster>`` is not; for RCPT it is
    the other way round (RFC 5321 §4.1.1.3).
    """
    if not null and (bare := _POSTMASTER.match(text)):
        return Path(bare[1], bare.end(), ())
    match = _PATH.match(text)
    if match is None:
        return None
    mailbox: str | None = match["mailbox"]
    if mailbox is None:
        return Path("", match.end(), ()) if null else None
    if match["domain"].startswith("[") and not is_literal(match["domain"]):
        return None
    faults: list[str] = []
    if len(match["local"].encode()) > _LOCAL_PART_LIMIT:
        faults.append("local-part longer than 64 octets (RFC 5321 §4.5.3.1.1)")
    if len(match["domain"].encode()) > _DOMAIN_LIMIT:
        faults.append("domain longer than 255 octets (RFC 5321 §4.5.3.1.2)")
    if len(match[0].encode()) > _PATH_LIMIT:
        faults.append("path longer than 256 octets (RFC 5321 §4.5.3.1.3)")
    return Path(mailbox, match.end(), tuple(faults))


def is_literal(text: str) -> bool:
    """Say whether `text` is an address literal in its brackets (RFC 5321 §4.1.3)."""
    inner = text[1:-1]
    try:
        if inner[:5].upper() == "IPV6:":
            return bool(ipaddress.IPv6Address(inner[5:]))
        if ":" not in inner:
            return bool(ipaddress.IPv4Address(inner))
    except ValueError:
        return False
    return _GENERAL_LITERAL.fullmatch(inner) is not None


def is_identification(text: str) -> bool:
    """Say whether `text` may be the argument of EHLO: a domain or an address literal."""
    if _IDENTIFICATION.fullmatch(text) is None:
        return False
    return not text.startswith("[") or is_literal(text)
