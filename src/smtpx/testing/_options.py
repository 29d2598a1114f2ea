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
from ._replies import FINAL, REFUSALS, check_reply

Refusals: TypeAlias = Mapping[str, str] | Callable[[str], str | None]
"""Address to reply text (``"550 5.1.1 no such user"``); nothing, or None, accepts."""

ContentRefusal: TypeAlias = str | Callable[[ReceivedMessage], str | None] | None


class AuthForm(Enum):
    """How EHLO shows AUTH."""

    __module__ = "smtpx.testing"

    STANDARD = "AUTH PLAIN LOGIN"
    OLD = "AUTH=PLAIN LOGIN"
    """As before RFC 2554, and nothing else."""
    BOTH = "AUTH PLAIN LOGIN, AUTH=PLAIN LOGIN"
    """As many servers do for the sake of old clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Everything a `ServerProtocol` can be told."""

    __module__ = "smtpx.testing"

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

    any_login: bool = False
    """Take whatever user and password come, and offer AUTH though there are no users."""

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
    """By address, as the client writes it; ``""`` is the null reverse-path."""
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
        if self.greeting is not None:
            check_reply("greeting", self.greeting, FINAL)
        _checks.instance("auth_form", self.auth_form, AuthForm)
        _checks.instance("users", self.users, Mapping)
        _checks.each("extensions", self.extensions, "Extension", Extension)
        for user, password in self.users.items():
            _checks.text("users: a name", user)
            _checks.text("users: a password", password)
        _checks.each("ehlo_lines", self.ehlo_lines, "str", str)
        for line in self.ehlo_lines:
            if "\r" in line or "\n" in line:
                raise ValueError(f"ehlo_lines: {_checks.shown(line)} is not one line")
        _checks.each("mechanisms", self.mechanisms, "ServerMechanism", ServerMechanism)
        _check_refusals("refuse_senders", self.refuse_senders)
        _check_refusals("refuse_recipients", self.refuse_recipients)
        _check_refusals("lmtp_replies", self.lmtp_replies, FINAL)
        refused = self.refuse_content
        if isinstance(refused, str):
            check_reply("refuse_content", refused, REFUSALS)
        elif not (refused is None or callable(refused)):
            raise _checks.complaint(
                "refuse_content", refused, "a reply, what can be called, or None"
            )
        if self.lmtp_replies and not self.lmtp:
            raise ValueError("lmtp_replies without lmtp=True: nothing would come of them")
        if self.refuse_ehlo and self.lmtp:
            raise ValueError("refuse_ehlo with lmtp=True: a client of LMTP says LHLO, never HELO")


_FLAGS = (
    *("lmtp", "refuse_ehlo", "starttls", "auth_needs_tls", "require_authentication"),
    *("data_without_recipients", "any_login"),
)


def _check_refusals(name: str, refusals: Refusals, begins: tuple[str, ...] = REFUSALS) -> None:
    if callable(refusals):
        return
    if not isinstance(refusals, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _checks.complaint(name, refusals, "a dict, or what can be called")
    for address, reply in refusals.items():
        _checks.text(f"{name}: an address", address)
        if address.startswith("<") or address.endswith(">"):
            raise ValueError(f"{name}: {_checks.shown(address)}: give the address alone")
        check_reply(f"{name}: {address}", reply, begins)


def refusal(
    name: str, refusals: Refusals, address: str, begins: tuple[str, ...] = REFUSALS
) -> str | None:
    """Look up what is to be said to `address`; `name` is whose `refusals` they are.

    Raises:
        TypeError: a callable returned neither a `str` nor None.
        ValueError: it returned no reply, or one that refuses nothing.
    """
    if not callable(refusals):
        return refusals.get(address)
    reply = refusals(address)
    if reply is not None:
        check_reply(f"{name}: {address}", reply, begins)
    return reply
