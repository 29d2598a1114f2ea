"""Everything smtpx raises, in one tree.

::

    SMTPError                      .server .result .in_doubt
    ├── ReplyError                 the server said no; .reply .command .transient
    │   ├── GreetingRefused        … to the connection
    │   ├── HelloRefused           … to EHLO and HELO
    │   ├── TLSRefused             … to STARTTLS
    │   ├── AuthenticationRefused  … to AUTH
    │   ├── SenderRefused          … to MAIL
    │   ├── RecipientsRefused      … to every RCPT
    │   └── ContentRefused         … to DATA, BDAT or the end of data
    ├── LocalProtocolError         we were asked for something illegal; nothing of it was sent
    │   ├── SessionFull            … of this session; another one can
    │   ├── LimitExceeded          … of this server; another one may; .keyword
    │   ├── CheckFailed            the message is not as it should be; .findings
    │   ├── MarkRefused            the caller's `mark` said no
    │   ├── SignerFailed           the caller's `signer` did not work; another time it may
    │   └── ExtraMissing           (also ModuleNotFoundError) a package is not installed; .extra
    ├── RemoteProtocolError        the peer broke the protocol; the session is over
    │   └── MalformedReply         … by what is no reply; .line
    ├── ExtensionMissing           the server does not offer what the request needs
    ├── TLSPolicyError             the peer cannot give the protection that was asked for; .reason
    ├── ConnectionLost             (also OSError) no connection, or no longer; .phase
    ├── TimedOut                   (also TimeoutError) too slow; .phase
    ├── AddressError               (also ValueError) not an address
    └── EndpointError              (also ValueError) not a URL of a server

A leaf is something a caller handles differently. All of them pickle and copy.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpx.findings import Finding
    from smtpx.replies import Reply
    from smtpx.results import SendResult

__all__ = [
    "AddressError",
    "AuthenticationRefused",
    "CheckFailed",
    "ConnectionLost",
    "ContentRefused",
    "EndpointError",
    "ExtensionMissing",
    "ExtraMissing",
    "GreetingRefused",
    "HelloRefused",
    "LimitExceeded",
    "LocalProtocolError",
    "MalformedReply",
    "MarkRefused",
    "RecipientsRefused",
    "RemoteProtocolError",
    "ReplyError",
    "SMTPError",
    "SenderRefused",
    "SessionFull",
    "SignerFailed",
    "TLSFailure",
    "TLSPolicyError",
    "TLSRefused",
    "TimedOut",
]


def _blank(kind: type[SMTPError], args: tuple[Any, ...]) -> SMTPError:
    error = kind.__new__(kind)
    error.args = args
    return error


class SMTPError(Exception):
    """Something about sending mail failed."""

    result: SendResult | None = None
    """What became of each recipient, if a mail transaction had begun."""

    server: str | None = None
    """The server that it happened with, as ``host:port`` or the path of a unix socket.

    ``None`` before a session is opened with one. The message names it once.
    """

    @property
    def in_doubt(self) -> bool:
        """True if the message may have been accepted for someone, unknown to us (RFC 1047).

        `result.in_doubt` says for whom. Sending it again may deliver it twice.
        """
        return self.result is not None and bool(self.result.in_doubt)

    def __str__(self) -> str:
        text = super().__str__()
        if self.server is None or self.server in text:
            return text
        return f"{text} (with {self.server})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (type(self), self.args), self.__dict__


class ReplyError(SMTPError):
    """The server refused a command with a 4yz or 5yz reply (RFC 5321 §4.2.1)."""

    reply: Reply
    """The reply, whole."""

    command: str | None
    """The command it answers, without its line end; secrets left out.

    ``None`` where it answers none, but the connection or the content.
    """

    hint: str = ""
    """What to do about it, where something more is known than the reply; the message has it."""

    _refused = "the request"

    def __init__(self, command: str | None, reply: Reply, *, refused: str = "") -> None:
        what = command or f"{refused or self._refused} was"
        super().__init__(f"{what} refused: {reply}")
        self.command = command
        self.reply = reply

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}: {self.hint}" if self.hint else text

    @property
    def transient(self) -> bool:
        """True for a 4yz reply: the same request may succeed later."""
        return self.reply.transient


class GreetingRefused(ReplyError):
    """The server does not want this connection (RFC 5321 §3.1)."""

    _refused = "the connection"


class HelloRefused(ReplyError):
    """The server takes neither our EHLO nor our HELO (RFC 5321 §4.1.1.1)."""


class TLSRefused(ReplyError):
    """The server offers STARTTLS and refuses it now (RFC 3207 §4)."""


class AuthenticationRefused(ReplyError):
    """The server does not take the credentials (RFC 4954 §4, §6).

    For now, if it is `transient` (454): they may be right, and can be tried again later.
    """

    details: Mapping[str, str]
    """What the mechanism itself says of it.

    OAuth: the server's JSON, ``status``, ``scope``, ``schemes`` (RFC 7628 §3.2.2); SCRAM:
    ``error`` (RFC 5802 §7).
    """

    def __init__(
        self, command: str | None, reply: Reply, details: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(command, reply)
        self.details = dict(details or {})
        if details:
            # A stranger's words: none of them shall end the line.
            listed = ", ".join(f"{name}: {value}" for name, value in details.items())
            shown = listed if listed.isprintable() else ascii(listed)
            self.args = (f"{self.args[0]} ({shown[:300]})",)


class SenderRefused(ReplyError):
    """MAIL was refused: nobody gets the message."""


class RecipientsRefused(ReplyError):
    """Every recipient was refused; `reply` is the first of the refusals."""


class ContentRefused(ReplyError):
    """DATA, BDAT or the end of data was refused: nobody gets the message."""

    _refused = "the content"


class LocalProtocolError(SMTPError):
    """We were asked for something that must not be sent; nothing of it was."""


class SessionFull(LocalProtocolError):
    """The server lets one session name no more domains (RCPTDOMAINMAX); another session can."""


class LimitExceeded(LocalProtocolError):
    """The server takes less than the message needs; another one may take it. Nothing was sent."""

    keyword: str
    """The EHLO keyword by which a server takes more, e.g. ``SIZE`` or ``8BITMIME``."""

    def __init__(self, keyword: str, message: str) -> None:
        super().__init__(message)
        self.keyword = keyword


class MarkRefused(LocalProtocolError):
    """The `mark` of `send_many` said no, before the last octet of the message had left."""


class SignerFailed(LocalProtocolError):
    """The `signer` raised an error of its own, or returned no bytes; nothing was sent.

    It says nothing of the message: another time the signer may work. One that does not want a
    message raises a `LocalProtocolError`, which goes through as it is.
    """


class CheckFailed(LocalProtocolError):
    """The message is not as it should be, and `Check.REFUSE` or `Check.FIX` was asked for."""

    findings: tuple[Finding, ...]
    """The errors that were found, or could not be mended."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("the message was not sent: " + "; ".join(map(str, findings)))
        self.findings = findings


class ExtraMissing(LocalProtocolError, ModuleNotFoundError):
    """A package is not installed that only some users need: smtpx has it as an extra."""

    extra: str
    """What to install, as in ``smtpx[dkim]``."""

    def __init__(self, extra: str, package: str, what: str = "") -> None:
        super().__init__(f"{what} needs {package}: install smtpx[{extra}]".lstrip())
        self.extra = extra


# Octets of what is no reply that an error shows.
_QUOTED = 80
# By what the others on a mail host, or before it, are known; all but HTTP speak first.
_OTHERS = {
    b"* OK": "IMAP",
    b"* PREAUTH": "IMAP",
    b"* BYE": "IMAP",
    b"+OK": "POP3",
    b"-ERR": "POP3",
    b"SSH-": "SSH",
    b"HTTP/": "HTTP",
    b'"IMPLEMENTATION"': "ManageSieve",
}
WHERE_TO_SUBMIT = "messages are submitted at port 587 (submission://) or 465 (smtps://)"


class RemoteProtocolError(SMTPError):
    """The peer broke the protocol. The session is over: what it says can no longer be trusted."""


class MalformedReply(RemoteProtocolError):
    """The server sent something that is no reply (RFC 5321 §4.2)."""

    line: bytes
    """What came, or its beginning; secrets left out."""

    def __init__(self, why: str, line: bytes) -> None:
        protocol = next((name for start, name in _OTHERS.items() if line.startswith(start)), None)
        said = repr(line[:_QUOTED])[1:]
        if protocol is None:
            text = f"the server broke the protocol: {why}: {said}"
        else:
            text = (
                f"the server speaks {protocol} on this port, and not SMTP ({said}): "
                f"{WHERE_TO_SUBMIT}"
            )
        super().__init__(text)
        self.line = line


class ExtensionMissing(SMTPError):
    """The request needs a service extension that this server does not offer."""

    keyword: str
    """The EHLO keyword that is missing, e.g. ``SMTPUTF8``."""

    def __init__(self, keyword: str, why: str) -> None:
        super().__init__(f"the server does not offer {keyword}: {why}")
        self.keyword = keyword


class TLSFailure(Enum):
    """Why a connection cannot be protected."""

    STARTTLS_MISSING = "STARTTLS is not offered"
    CERTIFICATE_EXPIRED = "a certificate has expired"
    CERTIFICATE_NOT_YET_VALID = "a certificate is not valid yet"
    CERTIFICATE_OF_ANOTHER_HOST = "the certificate is for other names"
    CERTIFICATE_SELF_SIGNED = "nobody but itself vouches for the certificate"
    UNKNOWN_AUTHORITY = "the certificate's authority is not known"
    NO_AUTHORITIES = "this Python has no authorities to trust"
    CERTIFICATE_INVALID = "the certificate is not accepted for another reason"
    PIN_MISMATCH = "neither certificate nor key is pinned"
    DANE_MISMATCH = "no TLSA record matches the certificate"
    CLIENT_CERTIFICATE = "the server wants another certificate of ours"
    NO_COMMON_VERSION = "there is no TLS version that both sides speak"
    NO_COMMON_CIPHER = "there is nothing else that both sides speak"
    NOT_TLS = "the server speaks plain text where TLS should begin"
    TLS_EXPECTED = "the server speaks TLS where plain text should begin"
    OTHER = "something else"


class TLSPolicyError(SMTPError):
    """The connection cannot be protected as the policy asks; nothing secret was sent."""

    reason: TLSFailure
    """What is wrong, for programs; the message says what to do about it."""

    def __init__(self, message: str, reason: TLSFailure = TLSFailure.OTHER) -> None:
        super().__init__(message)
        self.reason = reason


class ConnectionLost(SMTPError, OSError):
    """There is no connection to the server, or no longer one."""

    phase: str
    """What we were waiting for, in the words of `smtpx.Timeouts`' fields."""

    reply: Reply | None
    """The server's parting words (421), where it left some."""

    def __init__(self, message: str, *, phase: str, reply: Reply | None = None) -> None:
        super().__init__(message)
        self.phase = phase
        self.reply = reply


class TimedOut(SMTPError, TimeoutError):
    """The server, or the network, took longer than we were told to wait. The session is over."""

    phase: str
    """What we were waiting for, in the words of `smtpx.Timeouts`' fields."""

    def __init__(self, message: str, *, phase: str) -> None:
        super().__init__(message)
        self.phase = phase


class AddressError(SMTPError, ValueError):
    """A string is not a mailbox address that SMTP can carry; nothing was sent."""


class EndpointError(SMTPError, ValueError):
    """A string is not the URL of a mail server, or of a proxy."""
