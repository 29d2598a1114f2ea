"""Content as a server can take it: parts encoded anew, or left binary (RFC 2045 §6, RFC 3030 §3).

A part that is encoded anew says the same to whoever decodes it. What is signed is never changed:
it is refused.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from smtpx._loading import loading
from smtpx._message.messages import AnyMessage, not_too_deep, refuse_too_many
from smtpx._message.sections import parsed, refuse_shown_bcc
from smtpx._message.serialising import serialise
from smtpx.errors import LimitExceeded, LocalProtocolError

__all__ = ["as_octets", "encoded_anew", "has_signed_header", "octets_of", "seven_bit"]

Unfit: TypeAlias = Callable[[bytes, bool], bool]
"""Of the octets of a part, and whether it is binary: True if they have to be encoded."""

_ENCODED = frozenset({"base64", "quoted-printable"})
_DECODED = _ENCODED | {"x-uuencode", "uuencode", "uue", "x-uue"}  # by the `email` package
_SIGNATURES = frozenset({"dkim-signature", "arc-message-signature"})
# Where a part is to be written as it is, this stands until the rest has been written.
_PLACE = rb"smtpx-binary-part-[0-9]+-of-the-message"


@not_too_deep()
def as_octets(
    message: AnyMessage, *, smtputf8: bool, eight_bit: bool, binary: bool
) -> tuple[bytes, bool]:
    """The message as octets for a server that takes `eight_bit`, or even `binary` content.

    The second value is True if the content is binary: some of it has no lines.

    Raises:
        LimitExceeded: it is signed, and would have to be changed.
        LocalProtocolError: it cannot be written, or a Bcc stands in what readers see.
    """
    refuse_shown_bcc(message)
    if not eight_bit:
        message = encoded_anew(message, lambda data, is_binary: is_binary or not data.isascii())
    elif any(_encoding(part) == "binary" for part in message.walk()):
        if binary:
            return _with_binary_parts(message, smtputf8), True
        message = encoded_anew(message, lambda _, is_binary: is_binary)
    try:
        return serialise(message, smtputf8=smtputf8, seven_bit=not eight_bit), False
    except LocalProtocolError as error:
        if smtputf8 or not isinstance(error.__cause__, UnicodeEncodeError):
            raise
    # An address that is in the header alone is not ASCII.
    return serialise(message, smtputf8=True, seven_bit=not eight_bit), False


@not_too_deep()
def seven_bit(content: bytes) -> bytes:
    """Content with its 8-bit parts encoded anew, if there are any.

    Raises:
        LimitExceeded: it is signed, or has octets above 127 where none can be encoded.
        LocalProtocolError: it cannot be written anew.
    """
    if content.isascii():
        return content
    refuse_too_many(content)
    with loading("a message"):
        message = parsed(content)
    if not all(_is_ascii_header(part) for part in message.walk()):
        raise LimitExceeded(
            "8BITMIME",
            "the server takes no octets above 127, and a header of the content has some: write it "
            "with encoded words (RFC 2047), as an EmailMessage does",
        )
    octets, _ = as_octets(message, smtputf8=False, eight_bit=False, binary=False)
    if not octets.isascii():
        raise LimitExceeded(
            "8BITMIME",
            "the server takes no octets above 127, and the content has some outside of its parts: "
            "give an EmailMessage, or 7-bit content",
        )
    return octets


@not_too_deep()
def encoded_anew(message: AnyMessage, unfit: Unfit) -> AnyMessage:
    """A copy whose unfit parts are encoded; the message itself if all are fit.

    Raises:
        LimitExceeded: a signature covers one of them.
        LocalProtocolError: parts are nested too deep.
    """
    encoded = _encoded(message, unfit)
    if encoded is not message and "MIME-Version" not in encoded:
        encoded["MIME-Version"] = "1.0"
    return encoded


def has_signed_header(message: AnyMessage) -> bool:
    """True if a signature in the header covers it and the body (RFC 6376, RFC 8617)."""
    return any(name.lower() in _SIGNATURES for name, _ in message.raw_items())


def _is_signed(part: AnyMessage) -> bool:
    """True if a signature in this very part covers all of it (RFC 1847 too)."""
    return part.get_content_type() == "multipart/signed" or has_signed_header(part)


def _encoded(part: AnyMessage, unfit: Unfit) -> AnyMessage:
    payload: Any = vars(part)["_payload"]  # get_payload() spoils octets above 127
    if isinstance(payload, list):
        inner = cast("list[AnyMessage]", payload)
        changed = [_encoded(each, unfit) for each in inner]
        if all(new is old for new, old in zip(changed, inner, strict=True)):
            return part
        _check_unsigned(part)
        twin = copy.copy(part)
        twin.set_payload(cast("Any", changed))
        if _encoding(part) in ("8bit", "binary"):
            _label(twin, "7bit")  # RFC 2045 §6.4: a container says what its parts need.
        return twin
    encoding = _encoding(part)
    if not isinstance(payload, str) or encoding in _ENCODED:
        return part
    is_binary = encoding == "binary"
    data = _octets(part, payload)
    if not unfit(data, is_binary):
        return part
    _check_unsigned(part)
    return _with_payload(part, data, is_binary)


def _with_payload(part: AnyMessage, data: bytes, is_binary: bool) -> AnyMessage:
    """A copy of a leaf, its octets in the shorter of two encodings."""
    with loading("a message"):
        import base64
        import binascii

    if not is_binary:
        # Its lines end as they would on the wire, whatever they end in here.
        data = re.sub(rb"\r\n?", b"\n", data)
    is_text = part.get_content_maintype() == "text"
    encoding, written = "base64", b""
    if is_text and not is_binary:
        written = binascii.b2a_qp(data, istext=True)
        if len(written) * 3 <= len(data) * 4:
            encoding = "quoted-printable"
    if encoding == "base64":
        written = base64.encodebytes(data if is_binary else data.replace(b"\n", b"\r\n"))
    twin = copy.copy(part)
    _label(twin, encoding)
    if is_text and not data.isascii() and part.get_param("charset") is None and _is_utf8(data):
        twin.set_param("charset", "utf-8")
    twin.set_payload(written.decode("ascii"))
    return twin


def _with_binary_parts(message: AnyMessage, smtputf8: bool) -> bytes:
    """The message as octets, its binary parts as they are."""
    kept: list[bytes] = []
    boundaries: list[AnyMessage] = []

    def keep(part: AnyMessage) -> AnyMessage:
        payload: Any = vars(part)["_payload"]  # get_payload() spoils octets above 127
        twin = copy.copy(part)
        if isinstance(payload, list):
            before = len(kept)
            twin.set_payload(
                cast("Any", [keep(each) for each in cast("list[AnyMessage]", payload)])
            )
            if len(kept) > before and not _is_signed(part):
                _label(twin, "binary")  # RFC 2045 §6.4: a container says what its parts need.
            boundaries.append(twin)
        elif isinstance(payload, str) and _encoding(part) == "binary":
            twin.set_payload(f"smtpx-binary-part-{len(kept)}-of-the-message")
            kept.append(_octets(part, payload))
        return twin

    pieces = re.split(_PLACE, serialise(keep(message), smtputf8=smtputf8))
    if len(pieces) != len(kept) + 1:
        raise LocalProtocolError("the message's text has a mark that smtpx uses: encode that part")
    # The writer has chosen a boundary where there was none; it has not seen the binary parts.
    for boundary in [str(each.get_boundary("")).encode() for each in boundaries]:
        if boundary and any(boundary in data for data in kept):
            raise LocalProtocolError("a multipart boundary occurs in a binary part: choose another")
    whole = [pieces[0]]
    for data, following in zip(kept, pieces[1:], strict=True):
        whole += data, following
    return b"".join(whole)


def _check_unsigned(part: AnyMessage) -> None:
    if _is_signed(part):
        raise LimitExceeded(
            "8BITMIME",
            "the server cannot take the message as it is, and it is signed: encode its parts as "
            "7-bit with short lines before it is signed (RFC 1847 §2.1, RFC 6376 §5.3)",
        )


def _encoding(part: AnyMessage) -> str:
    # As the fields are kept: to ask for one by its name would have the package parse it.
    for name, value in part.raw_items():
        if name.lower() == "content-transfer-encoding":
            return str(value).strip().lower()
    return "7bit"


def _is_ascii_header(part: AnyMessage) -> bool:
    return all(str(value).isascii() for _, value in part.raw_items())


def _is_utf8(data: bytes) -> bool:
    try:
        return bool(data.decode())
    except UnicodeDecodeError:
        return False


def octets_of(part: AnyMessage) -> bytes:
    """What a leaf holds, decoded.

    Raises:
        LocalProtocolError: it is no text in its charset.
    """
    payload: Any = vars(part)["_payload"]  # get_payload() spoils octets above 127
    if isinstance(payload, str) and _encoding(part) not in _DECODED:
        return _octets(part, payload)
    decoded: Any = part.get_payload(decode=True)
    return bytes(decoded or b"")


def _octets(part: AnyMessage, payload: str) -> bytes:
    """What a payload that is not encoded stands for."""
    if payload.isascii():
        return payload.encode("ascii")
    try:
        return payload.encode("ascii", "surrogateescape")
    except UnicodeEncodeError:
        charset = part.get_content_charset("utf-8")
        try:
            return payload.encode(charset, "surrogateescape")
        except (LookupError, UnicodeEncodeError) as error:
            raise LocalProtocolError(f"the text of a part is not {charset}: {error}") from error


def _label(twin: AnyMessage, encoding: str) -> None:
    # Deleting gives a copy a list of fields of its own; adding alone would change the original's.
    del twin["Content-Transfer-Encoding"]
    twin["Content-Transfer-Encoding"] = encoding
