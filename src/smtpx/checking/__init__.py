"""What is wrong with a message, before it is sent."""

from __future__ import annotations

from collections.abc import Iterator

from smtpx import _checks
from smtpx._headers import BCC
from smtpx._message.encodings import as_octets, seven_bit
from smtpx._message.messages import AnyMessage, is_message, not_too_deep, refuse_too_many
from smtpx._message.sections import cut_off, parsed
from smtpx._wire.content import Content
from smtpx._wire.extensions import Extensions
from smtpx.checking._content import check_lines, check_parts
from smtpx.checking._header import (
    SHOWN,
    check_alignment,
    check_header,
    check_names,
    is_utf8,
)
from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError, SMTPError
from smtpx.findings import Finding, Rule, Severity

__all__ = ["check"]


def check(
    message: AnyMessage | bytes,
    envelope: Envelope | None = None,
    extensions: Extensions | None = None,
) -> tuple[Finding, ...]:
    """Find what is wrong with a message as it would be sent; nothing means that it is well-formed.

    `envelope` is by default what an `EmailMessage` has in its header. With the `extensions` of a
    server (`Session.extensions`), it is also checked what this server can take. The message stays
    as it is.

    Raises:
        TypeError: it is neither an `EmailMessage` nor bytes; a file or an iterator can be read
            once only, by whoever sends it.
    """
    _checks.instance("envelope", envelope, Envelope, or_none=True)
    _checks.instance("extensions", extensions, Extensions, or_none=True)
    findings: list[Finding] = []
    if isinstance(message, (bytes, bytearray, memoryview)):
        octets = bytes(message)
    elif is_message(message):
        try:
            envelope = envelope or Envelope.from_message(message)
        except SMTPError as error:
            findings.append(_error(Rule.RECIPIENTS_MISSING, "the header", str(error)))
        utf8 = envelope is not None and envelope.needs_smtputf8
        try:
            octets, _ = as_octets(message, smtputf8=utf8, eight_bit=True, binary=False)
        except LocalProtocolError as error:
            if BCC.search(cut_off(message)):
                return (*findings, _error(Rule.BCC_PRESENT, "Bcc", SHOWN))
            return (*findings, _error(Rule.UNWRITABLE, "the message", str(error)))
    else:
        raise TypeError(
            f"message: give an EmailMessage or bytes, not {type(message).__name__}: what can be "
            "read only once must be left to the one who sends it"
        )
    findings += check_lines(octets)
    try:
        findings += _check_parsed(octets, envelope, extensions)
    except LocalProtocolError as error:
        findings.append(_error(Rule.MIME_MALFORMED, "the message", str(error)))
    return tuple(findings)


@not_too_deep()
def _check_parsed(
    octets: bytes, envelope: Envelope | None, extensions: Extensions | None
) -> list[Finding]:
    refuse_too_many(octets)
    message = parsed(octets)
    findings = [*check_names(octets), *check_header(message), *check_parts(message)]
    if envelope is not None:
        findings += check_alignment(message, envelope)
    return [*findings, *_check_server(octets, message, envelope, extensions)]


def _check_server(
    octets: bytes, parsed: AnyMessage, envelope: Envelope | None, extensions: Extensions | None
) -> Iterator[Finding]:
    """What asks for more than every server offers, or than this one does."""
    if extensions is None or not extensions.smtputf8:
        severity = Severity.WARNING if extensions is None else Severity.ERROR
        if envelope is not None and envelope.needs_smtputf8:
            problem = "an address is not ASCII"
            yield Finding(Rule.SMTPUTF8_NEEDED, severity, "the envelope", problem)
        for number, part in enumerate(parsed.walk()):
            for name, value in part.raw_items():
                if not str(value).isascii() and is_utf8(str(value)):
                    where = f"{name} of part {number}" if number else name
                    yield Finding(Rule.SMTPUTF8_NEEDED, severity, where, "it is not ASCII")
    if extensions is None:
        return
    if not extensions.eight_bit_mime and not octets.isascii():
        try:
            _ = seven_bit(octets)
        except LocalProtocolError as error:
            yield _error(Rule.EIGHT_BIT, "the message", str(error))
    size = Content(octets).size
    if extensions.size is not None and size is not None and size > extensions.size:
        problem = f"it has {size} octets, the server takes {extensions.size}"
        yield _error(Rule.SIZE_EXCEEDED, "the message", problem)


def _error(rule: Rule, where: str, problem: str) -> Finding:
    return Finding(rule, Severity.ERROR, where, problem)
