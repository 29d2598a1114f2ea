"""How the embedded server behaves: what it offers, whom it knows, what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from smtpx import _checks

from ._extensions import USUAL_EXTENSIONS, Extension
from ._mailbox import ReceivedMessage
from ._mechanisms import STANDARD_MECHANISMS, ServerMechanism

Refusals: TypeAlias = Mapping[str, str] | Callable[[str], str | None]
"""Address to reply text (``"550 5.1.1 no such user"``); nothing, or None, accepts."""

ContentRefusal: TypeAlias = str | Callable[[ReceivedMessage], str | None] | None


class AuthForm(Enum):
    """How EHLO shows AUTH."""

    STANDARD = "AUTH PLAIN LOGIN"
    OLD = "AUTH=PLAIN LOGIN"
    """As before RFC 2554, and nothing else."""
    BOTH = "AUTH PLAIN LOGIN, AUTH=PLAIN LOGIN"
    """As many servers do for the sake of old clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Everything a `ServerProtocol` can be told."""

    lmtp: bool = False
    hostname: str = "mail.test"
    greeting: str | None = None
    """The whole greeting reply; None makes a usual one."""

    extensions: AbstractSet[Extension] = USUAL_EXTENSIONS
    ehlo_lines: Sequence[str] = ()
    """Further lines of the EHLO reply, verbatim and without their code."""

    refuse_ehlo: bool = False
    """Answer EHLO with 502: the client must say HELO."""

    starttls: bool = False
    """TLS can be started, so that STARTTLS may be offered."""

    users: Mapping[str, str] = field(default_factory=dict[str, str])
    """User name to password (or token)."""

    mechanisms: Sequence[ServerMechanism] = STANDARD_MECHANISMS
    auth_form: AuthForm = AuthForm.STANDARD
    auth_needs_tls: bool = False
    """Offer AUTH under TLS only."""

    require_authentication: bool = False
    """Answer MAIL with 530 before the client has authenticated."""

    size_limit: int | None = None
    """Octets of content; None is no limit."""

    mail_limit: int | None = None
    """Mail transactions in one session; shown by LIMITS as MAILMAX."""

    recipient_limit: int | None = None
    """Recipients of one transaction; shown by LIMITS as RCPTMAX."""

    domain_limit: int | None = None
    """Domains of recipients in one session; shown by LIMITS as RCPTDOMAINMAX."""

    data_without_recipients: bool = False
    """Answer DATA with 354 although no recipient was accepted, as some servers do
    (RFC 2920 §3.1); the end of data is then refused."""

    refuse_senders: Refusals = field(default_factory=dict[str, str])
    refuse_recipients: Refusals = field(default_factory=dict[str, str])
    refuse_content: ContentRefusal = None
    lmtp_replies: Refusals = field(default_factory=dict[str, str])
    """What LMTP says for a recipient after the end of data, in place of 250."""

    def __post_init__(self) -> None:
        for name in _FLAGS:
            _checks.flag(name, getattr(self, name))
        for name in ("size_limit", "mail_limit", "recipient_limit", "domain_limit"):
            _checks.count(name, getattr(self, name), 1, or_none=True)
        _checks.text("hostname", self.hostname)
        _checks.text("greeting", self.greeting, or_none=True)
        _checks.instance("auth_form", self.auth_form, AuthForm)
        _checks.instance("users", self.users, Mapping)
        _checks.each("extensions", self.extensions, "Extension", Extension)
        _checks.each("ehlo_lines", self.ehlo_lines, "str", str)
        _checks.each("mechanisms", self.mechanisms, "ServerMechanism", ServerMechanism)
        for name in ("refuse_senders", "refuse_recipients", "lmtp_replies"):
            refusals = getattr(self, name)
            if not (callable(refusals) or isinstance(refusals, Mapping)):
                raise _checks.complaint(name, refusals, "a dict, or what can be called")
        refused = self.refuse_content
        if not (refused is None or isinstance(refused, str) or callable(refused)):  # pyright: ignore[reportUnnecessaryComparison] - callers
            raise _checks.complaint(
                "refuse_content", refused, "a reply, what can be called, or None"
            )


_FLAGS = (
    *("lmtp", "refuse_ehlo", "starttls", "auth_needs_tls", "require_authentication"),
    "data_without_recipients",
)


def refusal(refusals: Refusals, address: str) -> str | None:
    """Look up what is to be said to `address`."""
    if callable(refusals):
        return refusals(address)
    return refusals.get(address)


def format_reply(text: str) -> bytes:
    """Make a reply of its text: ``550 5.1.1 no such user``, or several such lines.

    The code stands on the first line only; further lines take it over.
    """
    code, lines = text[:3], text[4:].split("\n")
    last = len(lines) - 1
    return "".join(
        f"{code}{' ' if number == last else '-'}{line}\r\n" for number, line in enumerate(lines)
    ).encode()
