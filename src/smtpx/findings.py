"""What can be wrong with a message, where the rule stands, and what to do."""

from __future__ import annotations

from enum import Enum

from smtpx._values import Value

__all__ = ["Finding", "Rule", "Severity"]


class Severity(Enum):
    """How bad it is."""

    ERROR = "error"
    """It is no message as the standards have it: it is refused, damaged, or tells a secret."""
    WARNING = "warning"
    """It is one, and may be taken for spam or be unreadable to some."""


class Rule(Enum):
    """What a message keeps to; each has its `section` and its `remedy`."""

    section: str
    """Where the rule stands."""
    remedy: str

    def __init__(self, section: str, remedy: str) -> None:
        self.section = section
        self.remedy = remedy

    UNWRITABLE = "RFC 5322 §2.2", "mend what the email package cannot write"
    BARE_LINE_END = "RFC 5321 §2.3.8", "end each line with CRLF, or each with LF"
    LINE_TOO_LONG = "RFC 5321 §4.5.3.1.6", "encode the part as quoted-printable; fold the field"
    NUL = "RFC 2045 §2.8", "encode the part as base64"
    SIZE_EXCEEDED = "RFC 1870 §6", "send less at a time, or a link in place of the attachment"
    EIGHT_BIT = "RFC 6152 §3", "encode it as 7-bit before it is signed"
    EIGHT_BIT_UNDECLARED = "RFC 2045 §6.2", "say its charset, and Content-Transfer-Encoding: 8bit"
    NOT_UTF8 = "RFC 6532 §3.1", "encode the field as RFC 2047 has it"
    SMTPUTF8_NEEDED = "RFC 6531 §3.3", "use an ASCII address, and encoded words in the header"
    HEADER_MALFORMED = "RFC 5322 §2.2", "write each field as name, colon, body"
    FROM_MISSING = "RFC 5322 §3.6.2", "say whom it is from"
    SENDER_MISSING = "RFC 5322 §3.6.2", "with several authors, say in Sender which one sends"
    DATE_MISSING = "RFC 5322 §3.6.1", "add a Date"
    DATE_MALFORMED = "RFC 5322 §3.3", "write the date as email.utils.format_datetime does"
    MESSAGE_ID_MISSING = "RFC 5322 §3.6.4", "add a Message-ID"
    MESSAGE_ID_MALFORMED = "RFC 5322 §3.6.4", "write it as <left@right>"
    IDENTIFIER_ENCODED = "RFC 2047 §5", "fold the field without encoding what is in it"
    URI_MALFORMED = "RFC 2369 §2", "write each as <mailto:…> or <https:…>"
    LIST_ID_MALFORMED = "RFC 2919 §3", "write it as 'A name <list.example.org>'"
    FIELD_REPEATED = "RFC 5322 §3.6", "join them, or leave out all but one"
    ADDRESS_MALFORMED = "RFC 5322 §3.4", "quote the display name; separate addresses by commas"
    ADDRESS_MISSING = "RFC 5322 §3.6.3", "leave the field out"
    GROUP_EMPTY = "RFC 5322 §3.4", "leave the field out: some filters mistrust a group of nobody"
    BCC_PRESENT = "RFC 5322 §3.6.3", "leave Bcc out of the content: whoever gets it can read it"
    RESENT_INCOMPLETE = "RFC 5322 §3.6.6", "set Resent-From and Resent-Date with the other fields"
    RECIPIENTS_MISSING = "RFC 5321 §3.3", "set To, Cc or Bcc, or give an Envelope"
    NOT_ALIGNED = "RFC 7489 §3.1.2", "send from an address of the author's domain, or sign by DKIM"
    ONE_CLICK_INCOMPLETE = "RFC 8058 §3.1", "give List-Unsubscribe one https URI"
    MIME_VERSION_MISSING = "RFC 2045 §4", "add MIME-Version: 1.0"
    MIME_MALFORMED = "RFC 2046 §5.1", "write the part anew"
    TEXT_MISSING = "RFC 2046 §5.1.4", "give a text/plain alternative; smtpx.plain_text makes one"
    ATTACHMENT_REFUSED = "policy of large receivers", "give a link to the file instead"


class Finding(Value):
    """One thing that is wrong."""

    rule: Rule
    severity: Severity
    where: str
    """A field's name, a line's number, or a part."""
    problem: str

    @property
    def section(self) -> str:
        """Where the rule stands."""
        return self.rule.section

    @property
    def remedy(self) -> str:
        """What to do."""
        return self.rule.remedy

    def __str__(self) -> str:
        return (
            f"{self.severity.value}: {self.where}: {self.problem} ({self.section}): {self.remedy}"
        )
