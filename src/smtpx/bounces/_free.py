"""Reports written for people: qmail's (QSBMF), Exim's, Postfix's, Gmail's and Exchange's.

Each is told by the words it opens with, which nobody's own mail does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smtpx.bounces._fields import Fields, printable
from smtpx.bounces._parts import Part
from smtpx.bounces._reasons import reason_of
from smtpx.bounces._reports import (
    Action,
    DeliveryReport,
    Diagnostic,
    Reason,
    RecipientReport,
    Returned,
)
from smtpx.bounces._standard import returned_in

TEXT = 262_144
"""Octets of a text that are read."""
_RECIPIENTS = 1000

# Possessive, so that no line takes longer than its length.
_ADDRESS = r"(?P<address>[^\s<>():,;'\"#@]++@[^\s<>():,;'\"#@]++)"


@dataclass(frozen=True, slots=True)
class _Form:
    """How a mail system words its reports; patterns are matched from the start of a line."""

    opening: str
    """Of the text."""
    recipient: str
    """A line that names a recipient; what they say of it follows, up to the next such line."""
    begin: str = ""
    """The line after which recipients come, if it is not the opening."""
    end: str = r"(?!)"
    """The line after which the message that was sent comes."""
    delay: str = r"(?!)"
    """Words, up to where the recipients begin, that make it a delay and no failure."""


_FORMS = [
    _Form(  # qmail's, and whoever follows QSBMF
        opening=r"Hi\. This is the [\w.-]+ (?:program|mail system) at ",
        recipient=r"<(?P<address>[^<>\s]+)>:(?P<rest>.*)",
        end=r"---",
    ),
    _Form(  # Postfix
        opening=r"This is the (?:mail system|Postfix program) at host ",
        begin=r"\s+The (?:mail system|Postfix program)$",
        recipient=r"<(?P<address>[^<>\s]+)>(?: \(expanded from <(?P<original>[^<>]+)>\))?:"
        r"(?P<rest>.*)",
        delay=r"THIS IS A WARNING ONLY|not (?:yet )?be(?:en)? delivered for more than",
    ),
    _Form(  # Exim
        opening=r"This message was created automatically by mail delivery software",
        recipient=rf" {{2,3}}{_ADDRESS}:?$",
        end=r"---.*(?:copy of|body of|headers)",
        delay=r"not (?:yet )?been delivered|delayed",
    ),
    _Form(  # Gmail, the older ones
        opening=r"(?:This is an automatically generated Delivery Status Notification"
        r"|Delivery to the following recipients? (?:failed|has been delayed))",
        recipient=rf"\s+{_ADDRESS}$",
        end=r"-{3,}+ ?(?:Original|Forwarded) message",
        delay=r"delayed|THIS IS A WARNING MESSAGE ONLY",
    ),
    _Form(  # Gmail, the newer ones
        opening=r"\*\* (?:Address not found|Delivery (?:incomplete|failed)|Recipient inbox full"
        r"|Message (?:blocked|delayed|not delivered|rejected|too large)) \*\*",
        recipient=rf".*?\b(?:delivered to|message to) {_ADDRESS}(?P<rest>.*)",
        end=r"-{3,}+ ?(?:Original|Forwarded) message",
        delay=r"\*\* (?:Delivery incomplete|Message delayed) \*\*",
    ),
    _Form(  # Exchange, from 2007 on
        opening=r"Delivery (?:has failed|is delayed) to these recipients",
        begin=r"Diagnostic information for administrators:",
        recipient=rf"{_ADDRESS}$",
        end=r"Original message headers:",
        delay=r"Delivery is delayed",
    ),
    _Form(  # Exchange, before
        opening=r"Your message did not reach some or all of the intended recipients",
        begin=r"The following recipient",
        recipient=rf"\s+'?{_ADDRESS}'? on \d",
    ),
]


def free_report(header: Fields, parts: Sequence[Part]) -> DeliveryReport | None:
    """What the text says, if it is of one of the forms; or a header that Exim and Gmail add."""
    part = next((part for part in parts if part.type == "text/plain"), None)
    text = "" if part is None else part.octets[:TEXT].decode("utf-8", "replace").lstrip()
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    failed = header.first("X-Failed-Recipients")
    form = next((form for form in _FORMS if re.match(form.opening, text)), None)
    if form is None and failed is None:
        return None
    recipients: list[RecipientReport] = []
    returned = returned_in(parts)
    if form is not None:
        lines = text.split("\n")
        recipients = list(_recipients(form, lines))
        returned = returned or _returned(form, lines)
    if not recipients and failed is not None:
        recipients = [
            RecipientReport(action=Action.FAILED, final_recipient=address, reason=Reason.OTHER)
            for address in failed.replace(",", " ").split()
        ]
    return DeliveryReport(recipients=tuple(recipients), is_standard=False, returned=returned)


def _recipients(form: _Form, lines: Sequence[str]) -> Iterator[RecipientReport]:
    action = Action.FAILED
    begun = not form.begin
    match: re.Match[str] | None = None
    said: list[str] = []
    found = 0
    for line in lines:
        if re.match(form.end, line) or found == _RECIPIENTS:
            break
        if match is None and re.search(form.delay, line):
            action = Action.DELAYED
        if not begun:
            begun = bool(re.match(form.begin, line))
            continue
        named = re.match(form.recipient, line)
        if named is None:
            said.append(line)
            continue
        if match is not None:
            found += 1
            yield _recipient(match, said, action)
        match = named
        said = [named.groupdict().get("rest") or ""]
    if match is not None:
        yield _recipient(match, said, action)


def _recipient(match: re.Match[str], said: Sequence[str], action: Action) -> RecipientReport:
    text = printable("\n".join(said).lstrip("#\n "))
    diagnostic = Diagnostic("", text) if text else None
    status = None if diagnostic is None else diagnostic.enhanced
    original = match.groupdict().get("original")
    return RecipientReport(
        action=action,
        final_recipient=printable(match["address"]).rstrip("."),
        original_recipient=None if original is None else printable(original),
        status=status,
        diagnostic=diagnostic,
        reason=reason_of(action, status, diagnostic),
    )


def _returned(form: _Form, lines: Sequence[str]) -> Returned | None:
    for number, line in enumerate(lines):
        if re.match(form.end, line):
            header = "\n".join(lines[number + 1 :]).lstrip("\n")
            return Returned(Fields.of(header.encode("utf-8", "replace")))
    return None
