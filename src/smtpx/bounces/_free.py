"""Reports for people, in whatever words: who is named, and what is said of them.

A mail system is told by its name in the header, or by the words that it opens with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile

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
from smtpx.bounces._standard import report_in, returned_in
from smtpx.bounces._texts import LINE, text_of
from smtpx.replies import EnhancedStatusCode

_RECIPIENTS = 1000
_COMPLETED = 100
"""Recipients of a delivery status of whom the text is asked."""
_ADDRESSES_IN_A_LINE = 10
_LINES = 50
"""Lines about a recipient that are read."""
_NEAR = 80
"""Characters before an address that say what it is there for."""

_SYSTEM = re.compile(
    r"mailer[-_. ]?daemon|post[-_. ]?master|mail[-_. ]?delivery|delivery[-_. ](?:sub)?system"
    r"|mdaemon|(?:mail|system)[-_. ]administrator|^\s*<>",
    re.IGNORECASE,
)
_NULL = re.compile(r"<>|mailer-daemon", re.IGNORECASE)
# Where a delivery status begins that stands in the text.
_FIELDS = re.compile(r"(?:Reporting-MTA|Final-Recipient|Original-Recipient) ?:", re.IGNORECASE)
_OPENING = re.compile(
    r"Hi\. This is the [\w.-]+ (?:program|mail system) at "
    r"|This is the (?:mail system|Postfix program) at host "
    r"|This is the DragonFly Mail Agent"
    r"|This message was created automatically by (?:the )?(?:mail|SMTP)"
    r"|This is an automatically generated Delivery Status Notification"
    r"|Delivery to the following recipients? (?:failed|has been delayed)"
    r"|\*\* (?:Address not found|Delivery (?:incomplete|failed)|Recipient inbox full"
    r"|Message (?:blocked|delayed|not delivered|rejected|too large)) \*\*"
    r"|Delivery (?:has failed|is delayed) to these recipients"
    r"|Your message did not reach some or all of the intended recipients"
    r"|Sorry, we were unable to deliver your message to the following address"
    r"|[-* ]*Non-Delivery Report|[-* ]*Message from InterScan|[|-]* ?(?:Message log|Failed addresses) follow"
)
_FAILURE = re.compile(
    r"deliver|fail|unknown|reject|refused|returned|bounce|unable|could ?n[o']t|cannot|not reach"
    r"|no such|invalid|exceed|error",
    re.IGNORECASE,
)
_DELAY = re.compile(
    r"warning (?:message )?only|not yet be(?:en)? delivered|not be(?:en)? delivered for more"
    r"|(?:has|have|is|was|message) (?:been )?delayed|delivery (?:is delayed|incomplete)"
    r"|temporary (?:failure report|problem delivering)|still being retried"
    r"|will (?:retry|(?:be|keep|continue) (?:re)?try)|transient non-fatal",
    re.IGNORECASE,
)
_DELAY_BY_SUBJECT = re.compile(
    r"warning: |delayed mail|(?:message|delivery|mail) delayed|[^(]*\((?:mail delivery )?delay",
    re.IGNORECASE,
)

# Possessive, and only from where a word begins, so that no line takes longer than its length.
_ADDRESS = re.compile(
    r"(?<![^\s<>():,;\"'\[\]=|*])(?!['.])"
    r"[^\s<>():,;\"\[\]@|*]++@[^\s<>():,;'\"#@\[\]\\|*]++"
)
_ONLY_MARKS = re.compile(r"[^\w@]*+(?:mailto:)?[<\"']*+")
_LABEL = re.compile(r"\W*+([^:@]{1,60}):\s*+(?:rfc822;\s*+)?[<\"'(\[]*+")
_NEXT_IN_A_LIST = re.compile(r"[>\"')\]]*+\s*+[,;]\s*+[<\"'(\[]*+")
_OWNED = re.compile(r"(?:expanded from|generated (?:from|by)):?\s*+[<\"']*+$", re.IGNORECASE)
_OF_A_RECIPIENT = re.compile(
    r"recipient|address|user|account|mailbox|deliver|fail|unknown|reject|not reach",
    re.IGNORECASE,
)
_OF_ANOTHER = re.compile(
    r"\b(?:from|sender|sent by|reply-?to|contact|message-?id|subject|postmaster|administrator"
    r"|[he]h?lo|return-path|delivered-to|questions?|assistance|support|help|try|write to|e-?mail us)\b|\bif\s*$",
    re.IGNORECASE,
)
_ROLE = re.compile(r"(?:abuse|admin|help|info|noc|post[-_.]?master|support)", re.IGNORECASE)
# A sentence that began in the line above, and does not end with the address.
_IS_OPEN = re.compile(r"[\w,]\s*$")
_GOES_ON = re.compile(r"[>\"')\]]*+\s++[a-z]")
_BEFORE_A_RECIPIENT = re.compile(
    r"(?:smtp[=:]|\b(?:to|for|recipients?|address(?:es)?|user|mailbox|account|rcpt to)\s*:?|[45]\d\d[ -].*)"
    r"\s*[<\"'(\[]*$",
    re.IGNORECASE,
)
_AFTER_A_RECIPIENT = re.compile(
    r"[>\"')\]]*+\s*+(?:\.\.\.|(?:is|was|has|does|did|could|cannot|not|unknown|user"
    r"|mailbox|invalid|rejected|failed)\b)",
    re.IGNORECASE,
)


class Prose:
    """The text of a report: whom it names, and what it says of them."""

    def __init__(self, header: Fields, parts: Sequence[Part]) -> None:
        self.text = text_of(parts)
        self._whole = "\n".join(self.text.lines).strip()
        self._is_of_a_system = _is_of_a_system(header)
        self._subject = header.first("Subject") or ""
        own = self._own = {
            address.lower()
            for name in ("From", "To", "Delivered-To", "X-Original-To")
            for address in addresses_of(header.every(name))
        }
        lines = list(takewhile(lambda line: not _FIELDS.match(line), self.text.lines))
        places = list(_places(lines))
        others = [one for one in places if one.rank <= 3 and one.address.lower() not in own]
        surer = [one for one in places if one.rank < 3]
        self._named = _named(others, lines) or _named(surer, lines)
        self._lines_of: dict[str, list[str]] = {}
        for place in places:
            self._lines_of.setdefault(place.address.lower(), []).append(lines[place.line])

        first = min((one.line for one in self._named.values()), default=len(lines))
        tells_of_a_delay = (
            _DELAY_BY_SUBJECT.match(self._subject) is not None
            or _DELAY.search("\n".join(lines[: first + 1])) is not None
        )
        self._action = Action.DELAYED if tells_of_a_delay else Action.FAILED

    @property
    def opens_as_a_report(self) -> bool:
        """True if it begins as reports do, and as nobody's own mail does."""
        return _OPENING.match(self._whole) is not None

    @property
    def is_a_report(self) -> bool:
        """True if a program wrote it that delivers mail, about a delivery."""
        return self.opens_as_a_report or (
            self._is_of_a_system
            and _FAILURE.search(f"{self._subject}\n{self._whole}") is not None
        )

    @property
    def octets(self) -> bytes:
        """The text, as if it were a part by itself."""
        return self._whole.encode("utf-8", "replace")

    @property
    def addresses(self) -> list[str]:
        """The recipients that are named."""
        return [one.address for one in self._named.values()]

    def written_to(self, returned: Returned | None) -> list[str]:
        """Whom the message that came back was for, if it was for one."""
        if returned is not None:
            for name in ("X-Envelope-To", "Envelope-To", "To"):
                addresses = addresses_of(returned.fields.every(name))
                if len(addresses) == 1 and addresses[0].lower() not in self._own:
                    return addresses
        return []

    def report(
        self,
        address: str | None,
        *,
        is_only: bool,
        action: Action | None = None,
        status: EnhancedStatusCode | None = None,
    ) -> RecipientReport:
        """What is said of an address; all that is said, if it is the only one."""
        named = self._named.get((address or "").lower())
        if named is None and is_only and len(self._named) == 1:
            (named,) = self._named.values()
        said = ["\n".join(named.said[:_LINES])] if named else []
        said.append("\n".join(self._lines_of.get((address or "").lower(), [])[:_LINES]))
        if is_only:
            said.append(self._whole)
        action = action or self._action
        reports = [_report(address, named, words, status, action) for words in said]
        return next((one for one in reports if one.reason is not Reason.OTHER), reports[0])

    def completed(self, one: RecipientReport, *, is_only: bool) -> RecipientReport:
        """The report of a recipient, with what the text says of it."""
        told = self.report(one.final_recipient, status=one.status, is_only=is_only)
        original = one.original_recipient or told.original_recipient
        if original is None and is_only and len(self._named) == 1:
            final = one.final_recipient or ""
            original = self.addresses[0] if "@" not in final.lstrip("@") else None
        return replace(
            one,
            original_recipient=original,
            diagnostic=told.diagnostic,
            reason=reason_of(one.action, one.status, told.diagnostic),
        )


def free_report(
    header: Fields, parts: Sequence[Part], otherwise: Callable[[], dict[str, Action]]
) -> DeliveryReport | None:
    """What the text says, if it is a report; or a header that Exim and Gmail add.

    `otherwise` finds recipients where neither names any.
    """
    prose = Prose(header, parts)
    failed = (header.first("X-Failed-Recipients") or "").replace(",", " ").split()
    returned = returned_in(parts) or prose.text.returned
    recipients = list(dict.fromkeys(failed))
    actions: dict[str, Action] = {}
    if not failed and prose.is_a_report:
        written = report_in(prose.octets, parts, is_standard=False)
        if written.recipients:
            return with_words(written, header, parts)
        recipients = prose.addresses or prose.written_to(returned)
    if not recipients:
        actions = otherwise()
        recipients = list(actions)
    if not recipients and not (prose.is_a_report and (returned or prose.opens_as_a_report)):
        return None
    alone = len(recipients) == 1
    return DeliveryReport(
        recipients=tuple(
            prose.report(address, action=actions.get(address), is_only=alone)
            for address in recipients
        ),
        is_standard=False,
        returned=returned,
    )


def with_words(report: DeliveryReport, header: Fields, parts: Sequence[Part]) -> DeliveryReport:
    """The same report, with what only its text says of recipients whose fields say too little."""
    if all(_says_why(one) for one in report.recipients):
        return report
    prose = Prose(header, parts)
    first, others = report.recipients[:_COMPLETED], report.recipients[_COMPLETED:]
    alone = len(report.recipients) == 1
    completed = (
        one if _says_why(one) else prose.completed(one, is_only=alone) for one in first
    )
    return replace(
        report,
        recipients=(*completed, *others),
        returned=report.returned or prose.text.returned,
    )


def _says_why(one: RecipientReport) -> bool:
    return one.reason is None or one.diagnostic is not None


def _is_of_a_system(header: Fields) -> bool:
    sender = header.first("From")
    if sender is not None:
        return _SYSTEM.search(sender) is not None
    null = _NULL.search(header.first("Return-Path") or "") is not None
    return null or (header.first("Content-Type") or "").lower().startswith("multipart/report")


def addresses_of(bodies: Iterable[str]) -> list[str]:
    """The addresses in the bodies of fields, as far as they are plain ones."""
    return [address for body in bodies for address in _ADDRESS.findall(body[:LINE])]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an address stands."""

    line: int
    address: str
    rank: int
    """How surely it is a recipient: 1 heads what is said, 2 is in a sentence, 9 is none."""
    rest: str
    """What its line says of it."""
    is_original: bool = False
    """It stands for the recipient before it, which is what became of it."""


@dataclass(slots=True)
class _Named:
    """A recipient that a text names."""

    line: int
    address: str
    said: list[str]
    original: str | None = None


def _places(lines: Sequence[str]) -> Iterator[_Place]:
    above = ""
    for number, line in enumerate(lines):
        if "@" in line:
            yield from _places_in(number, line, above)
        above = line


def _places_in(number: int, line: str, above: str) -> Iterator[_Place]:
    end = rank = 0
    for match in islice(_ADDRESS.finditer(line), _ADDRESSES_IN_A_LINE):
        before, between, after = line[: match.start()], line[end : match.start()], line[match.end() :]
        only_marks = _ONLY_MARKS.fullmatch(before) is not None
        near = (f"{above} {before}" if only_marks else before)[-_NEAR:]
        address, rest = match[0].rstrip(".-"), line
        label = _LABEL.fullmatch(before)
        if _OWNED.search(near):
            yield _Place(number, address, 1, rest, is_original=True)
            continue
        if end and _NEXT_IN_A_LIST.fullmatch(between):
            pass  # As the one before it.
        elif only_marks and not (_GOES_ON.match(after) and _IS_OPEN.search(above)):
            rank, rest = 1, after
        elif before.strip().lower() == "to:":
            rank = 3  # Of the message that is reported on.
        elif label and _OF_A_RECIPIENT.search(label[1]) and not _OF_ANOTHER.search(label[1]):
            rank = 1
        elif _OF_ANOTHER.search(near[-_NEAR // 2 :]):
            rank = 9
        elif _BEFORE_A_RECIPIENT.search(near) or _AFTER_A_RECIPIENT.match(after):
            rank = 2
        else:
            rank = 3
        end = match.end()
        if rank == 3 and _ROLE.match(address):
            rank = 9
        yield _Place(number, address, rank, rest)


def _named(places: Sequence[_Place], lines: Sequence[str]) -> dict[str, _Named]:
    """Those of the best rank, each with what follows up to the next one."""
    rank = min((place.rank for place in places), default=0)
    depth: int | None = None
    by_address: dict[str, _Named] = {}
    begun: list[_Named] = []  # Those who stand in the last line that names somebody.
    begin = 0
    for place in places:
        if place.rank != rank or len(by_address) == _RECIPIENTS:
            continue
        if place.is_original and begun and place.line <= begin + 1:
            begun[-1].original = place.address
            continue
        indentation = len(lines[place.line]) - len(lines[place.line].lstrip())
        depth = indentation if depth is None else depth
        if rank == 1 and indentation > depth and not place.is_original:
            continue  # It is part of what is said.
        if place.line != begin:
            for one in begun:
                one.said += lines[begin + 1 : place.line]
            begun = []
        begin = place.line
        one = by_address.setdefault(place.address.lower(), _Named(place.line, place.address, []))
        one.said.append(place.rest)
        begun.append(one)
    for one in begun:
        one.said += lines[begin + 1 :]
    return by_address if rank < 3 or len(by_address) == 1 else {}


def _report(
    address: str | None,
    named: _Named | None,
    said: str,
    status: EnhancedStatusCode | None,
    action: Action,
) -> RecipientReport:
    text = printable(said.lstrip("#>:\"')]. \n"))
    diagnostic = Diagnostic("", text) if text else None
    status = status or (None if diagnostic is None else diagnostic.enhanced)
    original = None if named is None or named.original is None else printable(named.original)
    return RecipientReport(
        action=action,
        final_recipient=None if address is None else printable(address),
        original_recipient=original,
        status=status,
        diagnostic=diagnostic,
        reason=reason_of(action, status, diagnostic),
    )
