"""Delivery status notifications (RFC 3464, and their global form, RFC 6533)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from smtpx.bounces._fields import Fields, printable
from smtpx.bounces._parts import RETURNED, Part
from smtpx.bounces._reasons import reason_of
from smtpx.bounces._reports import (
    Action,
    DeliveryReport,
    Diagnostic,
    RecipientReport,
    Returned,
    status_in,
)

RECIPIENTS = 10_000
"""Recipients of one report that are read."""

_STATUS = ("message/delivery-status", "message/global-delivery-status")
_RECIPIENT = re.compile(rb"^((?:Original|Final)-Recipient)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_EMPTY_LINES = re.compile(rb"\n(?:[ \t]*\n)+")
# "<" [host] " #" status " " diagnostic ">", which may be within another of its kind.
_SUPPLEMENTARY = re.compile(r"#[245]\.[\d.]++ (\S.*?)(?:> #SMTP#)?>?$")
_ACTIONS = {action.value: action for action in Action}
_ACTION_OF_CLASS = {2: Action.DELIVERED, 4: Action.DELAYED, 5: Action.FAILED}
# RFC 6533 §3: what a character that has no place in the field is written as.
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_MAILBOX_TYPES = ("rfc822", "rfc/822", "rfc-822", "utf-8", "")


def delivery_report(parts: Sequence[Part]) -> DeliveryReport | None:
    """What the parts report, if there is a delivery status among them."""
    status = next((part for part in parts if part.type in _STATUS), None)
    return None if status is None else report_in(status.octets, parts, is_standard=True)


def report_in(octets: bytes, parts: Sequence[Part], *, is_standard: bool) -> DeliveryReport:
    """What the fields of RFC 3464 report, in groups that are parted by empty lines."""
    sections = _EMPTY_LINES.split(octets.strip(b"\n"), RECIPIENTS)[:RECIPIENTS]
    groups = [Fields.of(one) for section in sections for one in _parted(section)][:RECIPIENTS]
    # Some write the fields of the message and of its one recipient without an empty line.
    message = next((group for group in groups if group.first("Reporting-MTA")), groups[0])
    # Some write the action there, too.
    named = [group for group in groups if _names_recipient(group)]
    of_recipients = named or [group for group in groups if group.first("Action")]
    return DeliveryReport(
        recipients=tuple(map(_recipient, of_recipients)),
        is_standard=is_standard,
        envid=message.first("Original-Envelope-Id"),
        returned=returned_in(parts),
        reporting_mta=value_of(message.first("Reporting-MTA")),
        received_from=value_of(message.first("Received-From-MTA")),
        arrival=date_of(message.first("Arrival-Date")),
    )


def _parted(section: bytes) -> list[bytes]:
    """The groups in a section, where some write one recipient after the other."""
    first = _RECIPIENT.search(section)
    if first is None:
        return [section]
    begin = rb"^(?=%s[ \t]*:)" % first[1]
    before, *groups = re.split(begin, section, flags=re.IGNORECASE | re.MULTILINE)
    return [before + groups[0], *groups[1:]]


def _names_recipient(group: Fields) -> bool:
    return any(group.first(name) for name in ("Final-Recipient", "Original-Recipient"))


def _recipient(group: Fields) -> RecipientReport:
    stated = group.first("Status") or ""
    status = status_in(stated)
    diagnostic = _diagnostic(group.first("Diagnostic-Code")) or _supplementary(
        group.first("X-Supplementary-Info")
    )
    action = _ACTIONS.get((group.first("Action") or "").split(" ")[0].lower())
    if action is None:
        code = status or (None if diagnostic is None else diagnostic.enhanced)
        action = Action.FAILED if code is None else _ACTION_OF_CLASS[code.class_]
    return RecipientReport(
        action=action,
        final_recipient=recipient_of(group.first("Final-Recipient")),
        original_recipient=recipient_of(group.first("Original-Recipient")),
        status=status,
        diagnostic=diagnostic,
        reason=reason_of(action, status, diagnostic or _comment(stated)),
        remote_mta=value_of(group.first("Remote-MTA")),
        last_attempt=date_of(group.first("Last-Attempt-Date")),
        retried_until=date_of(group.first("Will-Retry-Until")),
        log_id=group.first("Final-Log-ID"),
    )


def _diagnostic(field: str | None) -> Diagnostic | None:
    if field is None:
        return None
    kind, semicolon, text = field.partition(";")
    if not semicolon or " " in kind.strip():
        return Diagnostic("", field)
    return Diagnostic(kind.strip().lower(), text.strip())


def _comment(stated: str) -> Diagnostic | None:
    """What stands behind a status, as in "4.0.0 (host name lookup failure)"."""
    _, opened, comment = stated.partition("(")
    return Diagnostic("", comment) if opened else None


def _supplementary(field: str | None) -> Diagnostic | None:
    """What Exchange writes in place of a Diagnostic-Code ([MS-OXCMAIL] §2.2.3.7.1.2)."""
    match = _SUPPLEMENTARY.search(field or "")
    return _diagnostic(None if match is None else match[1])


def returned_in(parts: Sequence[Part]) -> Returned | None:
    """The header of the message that came back as one of the parts."""
    part = next((part for part in parts if part.type in RETURNED), None)
    return None if part is None else Returned(Fields.of(part.octets.lstrip(b"\n")))


def recipient_of(field: str | None) -> str | None:
    """``type;address``: the address alone if it is one of Internet mail, else both."""
    if field is None:
        return None
    kind, semicolon, address = field.partition(";")
    if not semicolon:
        kind, address = "", field
    kind, address = kind.strip().lower(), _without_comment(address)
    if address[:7].lower() == "rfc822;":  # An ORCPT that was given its type once more.
        address = address[7:].lstrip()
    if kind == "utf-8":
        address = printable(_EMBEDDED.sub(_embedded, address))
    if address.endswith(">"):  # Beside a name, and with or without the other bracket.
        address = address[address.rfind("<") + 1 : -1]
    address = address.removeprefix("<")
    if not address:
        return None
    return address if kind in _MAILBOX_TYPES else f"{kind};{address}"


def _embedded(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else match[0]


def value_of(field: str | None) -> str | None:
    """``type;value`` without the type."""
    if field is None:
        return None
    return _without_comment(field.rpartition(";")[2]) or None


def _without_comment(text: str) -> str:
    text = text.strip()
    if text.endswith(")") and "(" in text:
        text = text[: text.rindex("(")].rstrip() or text
    return text


def date_of(field: str | None) -> datetime | None:
    """A date of RFC 5322 §3.3, aware; ``None`` if it cannot be read."""
    try:
        moment = parsedate_to_datetime((field or "")[:100])
        # Without a zone that is known (-0000), it is in UTC all the same.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    except Exception:  # What is malformed makes the `email` package fail in many ways.
        return None
