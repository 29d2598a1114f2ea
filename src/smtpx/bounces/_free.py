"""Reports for people, in whatever words.

A mail system is told by its name in the header, or by the words that it opens with; nobody's own
mail is taken for a report because it speaks of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import takewhile

from smtpx.bounces._fields import Fields, printable
from smtpx.bounces._naming import Named, Rank, addresses_of, is_address, named_in, places_in
from smtpx.bounces._parts import Part
from smtpx.bounces._reasons import OF_RECIPIENTS, reason_of
from smtpx.bounces._reports import (
    Action,
    DeliveryReport,
    Diagnostic,
    Reason,
    RecipientReport,
    Returned,
)
from smtpx.bounces._standard import report_in, returned_in
from smtpx.bounces._texts import text_of
from smtpx.bounces._words import TO_CONTENT, TO_SENDER, surely
from smtpx.replies import EnhancedStatusCode

_COMPLETED = 100
"""Recipients of a delivery status of whom the text is asked."""
_LINES = 50
"""Lines about a recipient that are read."""
_NEARBY = 12
"""Lines that may tell of a delay, from the first recipient on."""

_DAEMON = re.compile(r"mailer[-_. ]?daemon", re.IGNORECASE)
_MAILER = re.compile(
    r"mailer[-_. ]?daemon|mail[-_. ]?delivery|delivery[-_. ](?:sub)?system|^\s*<>"
    r"|microsoftexchange[0-9a-f]{32}@",
    re.IGNORECASE,
)
_SYSTEM = re.compile(
    rf"{_MAILER.pattern}|post[-_. ]?master|mdaemon|(?:mail|system)[-_. ]administrator",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"undeliver|not delivered|non[- ]?(?:delivery|remis)|fail(?:ed|ure)|returned|bounce"
    r"|delivery (?:report|status|notification|problem)|user unknown|unknown user"
    r"|unzustellbar|退信",
    re.IGNORECASE,
)
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
    r"|An error occurred while trying to deliver the mail to the following recipients"
    r"|Your (?:message|mail)\b[^@]{0,200}?could not be delivered to the following recipients?:"
    r"|[^@]{0,900}?Your mail sent on: [^@<>]{0,60}Could not be delivered to: <"
    r"|[-* ]*(?:Non-Delivery Report|Message from InterScan|Failed Recipients -)"
    r"|[|-]+ ?(?:Message log|Failed addresses) follow"
)
_FAILURE = re.compile(
    r"deliver|fail|unknown|reject|refused|returned|bounce|unable|could ?n[o']t|cannot|not reach"
    r"|no such|invalid|not (?:a )?valid|exceed|error",
    re.IGNORECASE,
)
_DELAY = re.compile(
    r"warning (?:message )?only|not yet be(?:en)? delivered|not be(?:en)? delivered for more"
    r"|(?:has|have|is|was|message) (?:been )?delayed|delivery (?:is delayed|incomplete)"
    r"|temporary (?:failure report|problem delivering)|still being retried"
    r"|will (?:retry|(?:be|keep|continue) (?:re)?try)|transient non-fatal",
    re.IGNORECASE,
)
# Said after whom it is about.
_STILL_TRYING = re.compile(
    r"(?<!no further )(?:delivery )?attempts will continue|\bwill (?:continue|keep) (?:to )?try"
    r"|\bhas been postponed",
    re.IGNORECASE,
)
_DELAY_BY_SUBJECT = re.compile(
    r"warning: |delayed mail|(?:message|delivery|mail) delayed|[^(]*\((?:mail delivery )?delay",
    re.IGNORECASE,
)
# What becomes of mail, and not of a person.
_OF_A_MESSAGE = re.compile(
    r"\b(?:message|e?-?mail)\b[^.]{0,50}?"
    r"\b(?:reject|discard|returned|undeliver|bounce|fail"
    r"|(?:could|was)(?:n't| not)(?: be)? deliver)",
    re.IGNORECASE,
)
# RFC 3834 §5. Exim and others say it of their reports, too, though never with such a comment.
_ANSWER = re.compile(
    r"\s*auto-replied\b([^\n]*\b(?:vacation|holiday|out of office)\b)?", re.IGNORECASE
)
# A quotation, in a person's mail; but ">>> RCPT" is from a transcript.
_QUOTED = re.compile(r" ?>(?!>> [A-Z]{4}\b)")
# Where a delivery status begins that stands in the text.
_STATUS = re.compile(r"(?:Reporting-MTA|Final-Recipient|Original-Recipient) ?:", re.IGNORECASE)


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
            return with_words(written, header, parts, prose)
        recipients = prose.addresses or prose.written_to(returned)
    if not recipients and not prose.is_an_answer:
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


def with_words(
    report: DeliveryReport, header: Fields, parts: Sequence[Part], prose: Prose | None = None
) -> DeliveryReport:
    """The same report, with what only its text says of recipients whose fields do not say why.

    `prose` is that text, where it has been read.
    """
    if all(_says_why(one) and one.reason not in OF_RECIPIENTS for one in report.recipients):
        return report
    prose = prose or Prose(header, parts)
    alone = len(report.recipients) == 1
    recipients = (prose.corrected(one, is_only=alone) for one in report.recipients)
    return replace(
        report,
        recipients=tuple(
            prose.completed(one, is_only=alone)
            if number < _COMPLETED and not _says_why(one)
            else one
            for number, one in enumerate(recipients)
        ),
        returned=report.returned or prose.text.returned,
    )


def _says_why(one: RecipientReport) -> bool:
    return one.reason is None or (one.diagnostic is not None and one.reason is not Reason.OTHER)


def says_failure(header: Fields) -> bool:
    """Whether the reverse-path is the null one, or the subject speaks of a failure."""
    return _is_null(header) or _speaks_of_a_failure(header)


def _is_null(header: Fields) -> bool:
    return (header.first("Return-Path") or "").strip() == "<>"


def _speaks_of_a_failure(header: Fields) -> bool:
    return _SUBJECT.search(header.first("Subject") or "") is not None


class Prose:
    """The text of a report: whom it names, and what it says of them."""

    def __init__(self, header: Fields, parts: Sequence[Part]) -> None:
        self.text = text_of(parts)
        self._header = header
        self._sender = header.first("From")
        self._is_of_a_person = self._sender is not None and not _SYSTEM.search(self._sender)
        told = [
            line for line in self.text.lines if not (self._is_of_a_person and _QUOTED.match(line))
        ]
        self._whole = "\n".join(told).strip()
        self._own = {
            address.lower()
            for name in ("From", "To", "Delivered-To", "X-Original-To")
            for address in addresses_of(header.every(name))
        }
        lines = list(takewhile(lambda line: not _STATUS.match(line), told))
        places = list(places_in(lines))
        others = (place for place in places if place.address.lower() not in self._own)
        surer = (place for place in places if place.rank < Rank.ALONE)
        self._named = named_in(others, lines)
        if not (self._named or self._is_of_a_person):  # Who writes of his own address reads mail.
            self._named = named_in(surer, lines)
        self._lines_of: dict[str, list[str]] = {}
        for place in places:
            self._lines_of.setdefault(place.address.lower(), []).append(lines[place.line])
        first = min((one.line for one in self._named.values()), default=len(lines))
        is_a_delay = (
            _DELAY_BY_SUBJECT.match(header.first("Subject") or "")
            or _DELAY.search("\n".join(lines[: first + 1]))
            or _STILL_TRYING.search("\n".join(lines[: first + _NEARBY]))
        )
        self._action = Action.DELAYED if is_a_delay else Action.FAILED

    @property
    def opens_as_a_report(self) -> bool:
        """True if it begins as reports do, and as nobody's own mail does."""
        return _OPENING.match(self._whole) is not None

    @property
    def is_a_report(self) -> bool:
        """True if a program wrote it that delivers mail, about a delivery."""
        if self.is_an_answer:
            return False
        sender = self._sender
        if self.opens_as_a_report or _DAEMON.search(sender or ""):
            return True
        if sender is None:
            kind = (self._header.first("Content-Type") or "").lower()
            is_of_a_system = _is_null(self._header) or kind.startswith("multipart/report")
        else:
            is_of_a_system = not self._is_of_a_person
        if is_of_a_system and (_FAILURE.search(self._whole) or self._gives_codes):
            return True
        return (is_of_a_system or _is_null(self._header)) and _speaks_of_a_failure(self._header)

    @cached_property
    def is_an_answer(self) -> bool:
        """True if it says that it is an automatic answer, and has no strong mark of a report."""
        kind = _ANSWER.match(self._header.first("Auto-Submitted") or "")
        if kind is None:
            return False
        if kind[1] or self._is_of_a_person:
            return True
        if self._gives_codes or self.opens_as_a_report:
            return False
        strong = _FAILURE if _MAILER.search(self._sender or "") else _OF_A_MESSAGE
        return strong.search(self._whole) is None

    @property
    def _gives_codes(self) -> bool:
        """True if it quotes an SMTP reply with its enhanced status code, in whatever language."""
        said = Diagnostic("", self._whole)
        return said.reply_code is not None and said.enhanced is not None

    @property
    def octets(self) -> bytes:
        """The text, as if it were a part by itself."""
        return self._whole.encode("utf-8", "replace")

    @property
    def addresses(self) -> list[str]:
        """The recipients that are named."""
        return [one.address for one in self._named.values()]

    def written_to(self, returned: Returned | None) -> list[str]:
        """Whom the message that came back was for, if it was for one, and not for a list's many."""
        if returned is not None and returned.first("List-Post") is None:
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
        key = (address or "").lower()
        named = self._named.get(key)
        if named is None and is_only and len(self._named) == 1:
            (named,) = self._named.values()
        said = [
            self._replies() if is_only else "",
            "\n".join(named.said[:_LINES]) if named else "",
            "\n".join(self._lines_of.get(key, [])[:_LINES]),
            self._whole if is_only else "",
        ]
        reports = [_report(address, named, words, status, action or self._action) for words in said]
        if reports[-1].reason is Reason.BAD_MAILBOX and not _is_sure(reports[-1]):
            _ = reports.pop()  # What is said of nobody may be said of many.
        # The first that tells why, or else the first that says anything.
        return min(reports, key=lambda one: (one.reason is Reason.OTHER, one.diagnostic is None))

    def _replies(self) -> str:
        """What the server said in a transcript, from its refusal on, and what it replied to."""
        command = ""
        replies: list[str] = []
        for line in map(str.strip, self.text.lines):
            if line.startswith(">>> ") and not replies:
                command = line
            elif line.startswith("<<< ") and (replies or line[4:5] in "45"):
                replies.append(line[4:])
        return "\n".join((*replies[:_LINES], command)) if replies else ""

    def corrected(self, one: RecipientReport, *, is_only: bool) -> RecipientReport:
        """The report of a recipient, where only the text says what the server replied to."""
        if one.reason not in OF_RECIPIENTS or one.diagnostic is None:
            return one
        keys = (
            (address or "").lower() for address in (one.final_recipient, one.original_recipient)
        )
        named = next((self._named[key] for key in keys if key in self._named), None)
        said = "\n".join(named.said[:_LINES]) if named else self._whole if is_only else ""
        said = " ".join(said.split())
        told = TO_SENDER.search(said) or TO_CONTENT.search(said)
        if told is None:
            return one
        diagnostic = replace(one.diagnostic, text=f"{one.diagnostic.text} ({told[0]})")
        return replace(one, reason=reason_of(one.action, one.status, diagnostic))

    def completed(self, one: RecipientReport, *, is_only: bool) -> RecipientReport:
        """The report of a recipient, with what the text says of it."""
        # Beside a diagnostic the status was weighed already, and what is said of nobody is no help.
        is_bare = one.diagnostic is None
        status = one.status if is_bare else None
        told = self.report(one.final_recipient, status=status, is_only=is_only and is_bare)
        original = one.original_recipient or told.original_recipient
        if original is None and is_only and len(self._named) == 1:
            original = None if is_address(one.final_recipient or "") else self.addresses[0]
        reason = reason_of(one.action, status, told.diagnostic)
        return replace(
            one,
            original_recipient=original,
            diagnostic=one.diagnostic or told.diagnostic,
            reason=one.reason if reason is Reason.OTHER else reason,
        )


def _is_sure(one: RecipientReport) -> bool:
    words = "" if one.diagnostic is None else one.diagnostic.text
    return one.status is not None or Reason.BAD_MAILBOX in surely(words)


def _report(
    address: str | None,
    named: Named | None,
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
