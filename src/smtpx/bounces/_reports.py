"""What a report says: the values that `parse` returns."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from itertools import islice

from smtpx.bounces._fields import Fields
from smtpx.replies import EnhancedStatusCode


class Action(Enum):
    """What became of the message for a recipient (RFC 3464 §2.3.3)."""

    __module__ = "smtpx.bounces"

    FAILED = "failed"
    DELAYED = "delayed"
    """Not yet delivered; it is still tried."""
    DELIVERED = "delivered"
    RELAYED = "relayed"
    """It went on to a system that sends no reports of success."""
    EXPANDED = "expanded"
    """It was delivered to an alias, or the like, which has more than one member."""


class Reason(Enum):
    """Why a message was not delivered, in the terms of whoever has to do something about it."""

    __module__ = "smtpx.bounces"

    BAD_MAILBOX = "bad mailbox"
    """The domain has no such mailbox; never for a 4yz reply, or where words leave it open."""
    BAD_DOMAIN = "bad domain"
    """There is no such domain, or it takes no mail."""
    INACTIVE = "inactive"
    """The mailbox exists and is disabled."""
    MAILBOX_FULL = "mailbox full"
    TOO_LARGE = "too large"
    CONTENT = "content"
    """What was sent is taken for spam or malware, or is of a kind that is not accepted."""
    AUTHENTICATION = "authentication"
    """SPF, DKIM, DMARC or ARC failed, or there was none (RFC 7372)."""
    REPUTATION = "reputation"
    """The sending address or domain is on a list, or known for bad mail."""
    RATE = "rate"
    """Too much at a time, or too soon: a limit, greylisting, an address still being verified."""
    POLICY = "policy"
    """The receiver does not want it, for another reason or without one, or asks for AUTH."""
    NETWORK = "network"
    """The receiving system, or the DNS, could not be reached."""
    SYSTEM = "system"
    """Something is out of order on the way: a full disk, a loop, a protocol error."""
    OTHER = "other"
    """The report does not tell, or not in words that are known."""


# The first one that refuses; 2yz where none does.
_REPLY_CODES = tuple(
    re.compile(
        r"(?:^|[;#'(\"] ?|: |<<< |\b(?:said|error|returned|reply|response) |code ?:? ?)"
        rf"({digits})(?=[ \-:,]|$)|(?<![\d.])({digits})[ \-]['#]?[245]\.\d",
        re.IGNORECASE,
    )
    for digits in (r"[45][0-5]\d", r"2[0-5]\d")
)
# RFC 3463 §2, §3: there are subjects up to 7.
_ENHANCED = re.compile(r"(?<![\w.])([245])\.([0-7])\.(\d{1,3})(?![\w.]*\d)")
_AFTER_A_REPLY_CODE = re.compile(r"\d\d\d[ \-:,]{1,2}['#(]?$")
# "Exim 4.2.1", "MTA 2.5.3", "v4.0.0": a version, unless the word says that it is a code.
_AFTER_A_WORD = re.compile(
    r"(?<![\w.-])(?!(?:status|code|error|dsn|e?smtp|said|reply|response|failure|failed|with|is|was"
    r"|rejected|reason|returned|user)\b)[a-z][\w-]{0,20}[ /-]v?$",
    re.IGNORECASE,
)
_NEAR = 24
_LOOKED_AT = 20
_LETTERS = re.compile(r"[^\W\d_]{3}")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """The words of the system that did not take the message."""

    __module__ = "smtpx.bounces"

    type: str
    """``smtp`` for what an SMTP server replied; empty where the report does not tell."""
    text: str
    """On one line."""

    @property
    def reply_code(self) -> int | None:
        """The three digits of the SMTP reply in the text."""
        match = _reply_in(self.text)
        return None if match is None else int(match[1] or match[2])

    @property
    def enhanced(self) -> EnhancedStatusCode | None:
        """The enhanced status code in the text, of the same class as the reply code."""
        return status_in(self.text, self.reply_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientReport:
    """What became of the message for one recipient."""

    __module__ = "smtpx.bounces"

    action: Action
    final_recipient: str | None
    """The address that delivery was tried to: another than was sent to, where mail is forwarded."""
    original_recipient: str | None = None
    """The `orcpt` of the `smtpx.Recipient`: an address, or ``type;value``."""
    status: EnhancedStatusCode | None = None
    diagnostic: Diagnostic | None = None
    reason: Reason | None = None
    """Why not; ``None`` for what was delivered, relayed or expanded."""
    remote_mta: str | None = None
    """The host that was tried."""
    last_attempt: datetime | None = None
    retried_until: datetime | None = None
    """When the reporting system gives up, if it is a delay that it reports."""
    log_id: str | None = None

    @property
    def recipient(self) -> str | None:
        """The address that the message was sent to, as far as the report tells."""
        return self.original_recipient or self.final_recipient

    @property
    def transient(self) -> bool:
        """True if another message may well be delivered: a delay, or a 4yz reply."""
        if self.action is Action.DELAYED:
            return True
        # What the server replied goes before what the reporter states.
        code = None if self.diagnostic is None else self.diagnostic.reply_code
        if code is not None:
            return 400 <= code < 500
        return self.status is not None and self.status.class_ == 4


@dataclass(frozen=True, slots=True)
class Returned:
    """The header section of the message that was sent, as far as it came back."""

    __module__ = "smtpx.bounces"

    fields: Fields = field(repr=False)

    @property
    def message_id(self) -> str | None:
        """With its angle brackets."""
        return self.first("Message-ID")

    def first(self, name: str) -> str | None:
        """The body of the first field of that name, unfolded, not decoded."""
        return self.fields.first(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What became of a message that was sent (RFC 3464)."""

    __module__ = "smtpx.bounces"

    recipients: tuple[RecipientReport, ...]
    """Empty if a text for people does not tell; `returned` may."""
    is_standard: bool
    """False: it was read out of a text for people."""
    envid: str | None = None
    """The `envid` of the `smtpx.Envelope` (RFC 3461 §4.4)."""
    verp_recipient: str | None = None
    """Whom the message was sent to, by the address that the report came to."""
    returned: Returned | None = None
    reporting_mta: str | None = None
    received_from: str | None = None
    """The host that the reporting one had it from."""
    arrival: datetime | None = None
    """When the reporting system got the message; aware."""

    @property
    def failed(self) -> tuple[RecipientReport, ...]:
        """Those who did not get it, and will not."""
        return tuple(report for report in self.recipients if report.action is Action.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackReport:
    """A recipient, or a receiver, says something about a message that arrived (RFC 5965)."""

    __module__ = "smtpx.bounces"

    feedback_type: str
    """``abuse`` for a complaint; ``fraud``, ``virus``, ``not-spam``, ``auth-failure`` (RFC 6591) …

    In lower case.
    """
    recipients: tuple[str, ...] = ()
    """Whom the message was sent to, where the reporter tells."""
    sender: str | None = None
    """The reverse-path it came with."""
    envid: str | None = None
    verp_recipient: str | None = None
    returned: Returned | None = None
    source_ip: str | None = None
    reporting_mta: str | None = None
    user_agent: str | None = None
    arrival: datetime | None = None
    incidents: int = 1
    reported_domains: tuple[str, ...] = ()
    authentication_results: tuple[str, ...] = ()


def status_in(text: str, reply: int | None = None) -> EnhancedStatusCode | None:
    """The enhanced status code in a text: what follows a reply code, or else the first one.

    Its class is the first digit of `reply`, the reply code in the text, if there is one.
    """
    first: EnhancedStatusCode | None = None
    for match in islice(_ENHANCED.finditer(text), _LOOKED_AT):
        code = EnhancedStatusCode(int(match[1]), int(match[2]), int(match[3]))
        before = text[max(0, match.start() - _NEAR) : match.start()]
        if (reply is not None and code.class_ != reply // 100) or _AFTER_A_WORD.search(before):
            continue
        if _AFTER_A_REPLY_CODE.search(before):
            return code
        first = first or code
    return first


def said_in(text: str) -> str:
    """What the server said: from its reply code on, if words follow that."""
    match = _reply_in(text)
    said = "" if match is None else text[match.start() :]
    return said if _LETTERS.search(said) else text


def _reply_in(text: str) -> re.Match[str] | None:
    return next((match for code in _REPLY_CODES if (match := code.search(text))), None)
