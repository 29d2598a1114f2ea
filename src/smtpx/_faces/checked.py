"""What a face does with a message before it takes a connection for it."""

from __future__ import annotations

from smtpx._core.given import Message
from smtpx._loading import loading
from smtpx._message.messages import is_message
from smtpx.envelope import Envelope
from smtpx.errors import CheckFailed, LocalProtocolError
from smtpx.options import Check


def checked(check: Check, message: Message, envelope: Envelope | None) -> Message:
    """The message, or a copy that is mended, where the caller wants it checked.

    Raises:
        CheckFailed: there are errors in it.
        LocalProtocolError: it can be read only once.
    """
    with loading("a check"):
        from smtpx._stamps import date_field, new_message_id
        from smtpx.checking import check as find
        from smtpx.checking._mending import Stamps, mended
        from smtpx.findings import Severity

    if isinstance(message, (bytearray, memoryview)):
        message = bytes(message)
    if not (isinstance(message, bytes) or is_message(message)):
        raise LocalProtocolError(
            "a file or an iterator cannot be checked before it is sent: give bytes, or take a "
            "client with check=smtpx.Check.PASS for it"
        )
    findings = find(message, envelope)
    if check is Check.FIX and findings:
        message = mended(message, findings, Stamps(date_field, new_message_id))
        findings = find(message, envelope)
    errors = tuple(finding for finding in findings if finding.severity is Severity.ERROR)
    if errors:
        raise CheckFailed(errors)
    return message
