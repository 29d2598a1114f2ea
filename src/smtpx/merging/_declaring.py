"""Octets above 127 of a letter as text: in the charset that it declares, or else in UTF-8."""

from __future__ import annotations

import codecs
import re
from typing import Any

from smtpx._message.encodings import octets_of
from smtpx.errors import LocalProtocolError

__all__ = ["declare_header", "declared_text"]

_OCTETS = re.compile("[\udc80-\udcff]")


def declare_header(part: Any) -> None:
    """Write anew what a parser has left as octets in the fields of a part.

    Raises:
        LocalProtocolError: it is not UTF-8; the message names the field.
    """
    fields = list(part.raw_items())
    if not any(_is_octets(value) for _, value in fields):
        return
    for name, _ in fields:
        del part[name]
    for name, value in fields:
        part.set_raw(name, _declared(part, name, value) if _is_octets(value) else value)


def declared_text(part: Any) -> str:
    """The text of a part, which says from now on in which charset it is.

    Raises:
        LocalProtocolError: it is not what it says, or says nothing and is not UTF-8.
    """
    octets = octets_of(part)
    charset = part.get_content_charset("us-ascii")
    where = f"the {part.get_content_type()} part"
    try:
        if octets.isascii() or codecs.lookup(charset).name != "ascii":
            return octets.decode(charset)
    except LookupError:
        raise LocalProtocolError(
            f"{where} cannot be read: nobody knows the charset {charset!r} of its Content-Type"
        ) from None
    except UnicodeDecodeError:
        raise LocalProtocolError(
            f"{where} is not {charset}, as its Content-Type says: declare what it is, or save it so"
        ) from None
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise LocalProtocolError(
            f"{where} is not UTF-8, and declares no other charset: save it as UTF-8, or name its "
            "charset in Content-Type"
        ) from None
    part.set_param("charset", "utf-8")
    return text


def _is_octets(value: Any) -> bool:
    return type(value) is str and _OCTETS.search(value) is not None


def _declared(part: Any, name: str, value: str) -> Any:
    try:
        text = value.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        raise LocalProtocolError(
            f"the field {name} is not UTF-8: save the letter as UTF-8, or write the field with "
            "encoded words (RFC 2047)"
        ) from None
    return part.policy.header_fetch_parse(name, text)
