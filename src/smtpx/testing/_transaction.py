"""The mail transaction on the server: its state, and the judgement of its content."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._content import body_of, has_long_line, line_end_faults

EIGHT_BIT = "8-bit content without BODY=8BITMIME (RFC 6152 §3)"


@dataclass(slots=True)
class Transaction:
    """From an accepted MAIL to the end of the content (RFC 5321 §3.3)."""

    sender: str
    parameters: dict[str, str]
    recipients: list[str] = field(default_factory=list[str])
    recipient_parameters: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    chunks: list[bytes] = field(default_factory=list[bytes])
    held: int = 0
    """About how many octets it takes."""
    chunked: bool = False
    """A BDAT was performed: DATA and RCPT come too late."""

    broken: bool = False
    """A BDAT was refused: only RSET helps (RFC 3030 §2)."""

    @property
    def smtputf8(self) -> bool:
        """The client said SMTPUTF8."""
        return "SMTPUTF8" in self.parameters

    @property
    def body(self) -> str:
        """The body type, ``7BIT`` unless said otherwise."""
        return self.parameters.get("BODY", "7BIT").upper()

    def content_faults(self, content: bytes) -> list[str]:
        """Name what is wrong with `content`, given what MAIL declared."""
        if self.body == "BINARYMIME":
            return []
        faults = line_end_faults(content)
        if has_long_line(content):
            faults.append("content line longer than 998 octets and CRLF (RFC 5321 §4.5.3.1.6)")
        # RFC 6531 §3.6: SMTPUTF8 lets the header section have UTF-8, and only that.
        judged = body_of(content) if self.smtputf8 else content
        if self.body == "7BIT" and not judged.isascii():
            faults.append(EIGHT_BIT)
        return faults
