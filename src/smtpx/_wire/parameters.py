"""MAIL and RCPT parameters: each typed option on the right command, in the RFC's form.

What the server does not offer is refused, or dropped where the envelope says so. A MAIL or RCPT
without options costs nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from smtpx._wire.extensions import Extensions
from smtpx.addresses import Address
from smtpx.envelope import BodyType, Envelope, Notify, Recipient
from smtpx.errors import ExtensionMissing, LimitExceeded, LocalProtocolError

if TYPE_CHECKING:
    from datetime import datetime

_NOT_XCHAR = r"[^!-*,-<>-~]"
_ORCPT_TYPE = r"[A-Za-z0-9\-]+;"
# RFC 3461 §4.2, as it is written.
_MAX_ORCPT = 500


def xtext(text: str) -> str:
    """Encode printable ASCII as xtext (RFC 3461 §4): ``+`` and ``=`` become ``+2B`` and ``+3D``.

    Raises:
        LocalProtocolError: the text has a control or a non-ASCII character.
    """
    if not (text.isascii() and text.isprintable()):
        raise LocalProtocolError(f"{text!r} has characters other than printable ASCII")
    return re.sub(_NOT_XCHAR, lambda match: f"+{ord(match[0]):02X}", text)


def size_parameter(size: int | None, extensions: Extensions) -> str:
    """SIZE (RFC 1870 §6), where the server wants to know and the size is known.

    Raises:
        LimitExceeded: the server says that it takes less.
    """
    if size is None or not extensions.states_size:
        return ""
    largest = extensions.size
    if largest is not None and size > largest:
        raise LimitExceeded(
            "SIZE", f"the content has {size} octets, the server takes at most {largest} (SIZE)"
        )
    return f" SIZE={size}"


def mail_parameters(
    envelope: Envelope,
    extensions: Extensions,
    *,
    size: int | None,
    body: BodyType,
    smtputf8: bool,
    tls: bool,
) -> str:
    """The parameters of MAIL, each with a space before it; empty for a server without any.

    `size` is the content's octets where known, `body` what it holds, `tls` whether TLS is on.

    Raises:
        ExtensionMissing: an option is not offered and `envelope.drop_unsupported` is False; or
            it is SMTPUTF8, BODY or REQUIRETLS, which can never be dropped.
        LimitExceeded: a value is out of what the server states.
        LocalProtocolError: a value cannot be written.
    """
    if smtputf8 and not extensions.smtputf8:
        raise ExtensionMissing("SMTPUTF8", "an address or a header is not ASCII")
    written = size_parameter(size, extensions)
    if body is not BodyType.SEVEN_BIT:
        written += _body(body, extensions)
    if smtputf8:
        written += " SMTPUTF8"
    if not envelope.has_options:
        return written
    return " ".join([written, *_options(envelope, extensions, tls)])


def _body(body: BodyType, extensions: Extensions) -> str:
    if body is BodyType.BINARY:
        if not extensions.binary_mime:
            raise ExtensionMissing("BINARYMIME", "the content is binary")
        return " BODY=BINARYMIME"
    if not extensions.eight_bit_mime:
        raise ExtensionMissing(
            "8BITMIME", "the content has octets above 127; encode it as 7-bit MIME"
        )
    return " BODY=8BITMIME"


def _options(envelope: Envelope, extensions: Extensions, tls: bool) -> Iterator[str]:
    offered = _Offered(extensions, envelope.drop_unsupported)
    if envelope.ret is not None and offered("DSN", "ret was asked for"):
        yield f"RET={envelope.ret.value}"
    if envelope.envid is not None and offered("DSN", "envid was asked for"):
        yield f"ENVID={xtext(envelope.envid)}"
    if envelope.auth is not None and offered("AUTH", "auth was asked for"):
        yield f"AUTH={_auth(envelope.auth)}"
    if envelope.require_tls:
        if not tls:
            raise ExtensionMissing("REQUIRETLS", "the connection itself has no TLS (RFC 8689 §4)")
        if not extensions.require_tls:
            # RFC 8689 §4.2.1: not to be sent at all, then.
            raise ExtensionMissing("REQUIRETLS", "require_tls was asked for")
        yield "REQUIRETLS"
    yield from _times(envelope, offered, extensions)
    if envelope.priority is not None and offered("MT-PRIORITY", "priority was asked for"):
        yield f"MT-PRIORITY={envelope.priority}"


def rcpt_parameters(recipient: Recipient, extensions: Extensions, *, drop: bool) -> str:
    """The parameters of one RCPT, each with a space before it.

    Raises:
        ExtensionMissing: an option is not offered and `drop` is False.
    """
    if not recipient.has_options:
        return ""
    offered = _Offered(extensions, drop)
    words: list[str] = []
    if recipient.notify is not None and offered("DSN", f"notify was asked for {recipient}"):
        names = ",".join(str(flag.name) for flag in Notify if flag in recipient.notify)
        words.append(f"NOTIFY={names if recipient.notify else 'NEVER'}")
    if recipient.orcpt is not None and offered("DSN", f"orcpt was asked for {recipient}"):
        words.append(f"ORCPT={_orcpt(recipient.orcpt)}")
    if recipient.unchanged_since is not None and offered(
        "RRVS", f"unchanged_since was asked for {recipient}"
    ):
        words.append(f"RRVS={_date_time(recipient.unchanged_since)}")
    return "".join(f" {word}" for word in words)


class _Offered:
    """Asks whether the server offers a keyword; False = drop it, or raises."""

    def __init__(self, extensions: Extensions, drop: bool) -> None:
        self._extensions = extensions
        self._drop = drop

    def __call__(self, keyword: str, why: str) -> bool:
        if keyword in self._extensions:
            return True
        if self._drop:
            return False
        raise ExtensionMissing(keyword, f"{why}; drop_unsupported=True would leave it out")


def _auth(identity: str) -> str:
    if identity == "<>":
        return identity
    address = str(Address.parse(identity, bare_local_part=True))
    if not address.isascii():
        raise LocalProtocolError(f"auth={identity!r} must be ASCII (RFC 4954 §5)")
    return xtext(address)


def _times(envelope: Envelope, offered: _Offered, extensions: Extensions) -> Iterator[str]:
    by = envelope.deliver_by
    if by is not None and offered("DELIVERBY", "deliver_by was asked for"):
        shortest = extensions.deliver_by or 0
        if by.returned and by.seconds < shortest:
            raise LimitExceeded(
                "DELIVERBY", f"the server delivers by {shortest} seconds or later only"
            )
        yield f"BY={by.seconds};{'R' if by.returned else 'N'}{'T' if by.trace else ''}"
    hold = envelope.hold
    if hold is not None and offered("FUTURERELEASE", "hold was asked for"):
        longest, latest = extensions.future_release or (None, None)
        if isinstance(hold, int):
            if longest is not None and hold > longest:
                raise LimitExceeded(
                    "FUTURERELEASE", f"the server holds a message {longest} seconds at most"
                )
            yield f"HOLDFOR={hold}"
        else:
            if latest is not None and _is_after(hold, latest):
                raise LimitExceeded(
                    "FUTURERELEASE", f"the server holds a message until {latest} at most"
                )
            yield f"HOLDUNTIL={_date_time(hold)}"


def _is_after(moment: datetime, latest: str) -> bool:
    try:
        return moment > type(moment).fromisoformat(latest)
    except (ValueError, TypeError):
        return False  # The server's limit is unreadable: let it judge by itself.


def _date_time(moment: datetime) -> str:
    # RFC 3339 in UTC, whole seconds, as RFC 4865 §4 and RFC 7293 §4 show it.
    from datetime import UTC

    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _orcpt(original: str) -> str:
    match = re.match(_ORCPT_TYPE, original)
    if match is not None:
        kind, value = match[0], original[match.end() :]
    else:
        address = Address.parse(original)
        kind = "utf-8;" if address.needs_smtputf8 else "rfc822;"
        value = str(address)
    if kind.lower() == "utf-8;":
        written = kind + _utf8_address_xtext(value)
    else:
        written = kind + xtext(value)
    if len(written) > _MAX_ORCPT:
        raise LocalProtocolError(f"orcpt is longer than {_MAX_ORCPT} octets (RFC 3461 §4.2)")
    return written


def _utf8_address_xtext(value: str) -> str:
    # RFC 6533 §3: what is no QCHAR becomes \x{HEX}, so that any server can carry it.
    if not value.isprintable():
        raise LocalProtocolError(f"{value!r} has a control character")
    return re.sub(r"[^!-*,-<>-\[\]-~]", lambda match: f"\\x{{{ord(match[0]):X}}}", value)
