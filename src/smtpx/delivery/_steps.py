"""What the procedures of delivery ask of the outside."""

from __future__ import annotations

from collections.abc import Callable, Generator
from email.message import EmailMessage
from typing import Any, NamedTuple, TypeAlias, TypeVar

from smtpx.envelope import Envelope
from smtpx.errors import SMTPError
from smtpx.results import SendResult
from smtpx.sansio import Steps as Dialogue
from smtpx.tls import Protection

from ._places import Site
from ._terms import Terms
from .mta_sts import StoredPolicy
from .resolver import Question
from .tls_reports import AppliedPolicy, SessionFailure

__all__ = [
    "Allowance",
    "Away",
    "Begin",
    "Count",
    "Fetch",
    "Keep",
    "Known",
    "LookUps",
    "Mail",
    "Marked",
    "Recall",
    "Renew",
    "Said",
    "Step",
    "Steps",
    "Try",
]

T = TypeVar("T")


class Begin(NamedTuple):
    """Another next hop has its turn, and with it all of the time that the DNS may take for one.

    Where it is not the last, that is no more than half of what is left for the message.
    """

    next_hop: str
    is_last: bool = True


class LookUps(NamedTuple):
    """Answer these questions together; answered with as many of `Answer`."""

    questions: tuple[Question, ...]
    fresh: bool = False
    """Nothing that was answered before will do."""
    needed: int = 0
    """So many of the first may take all of the time that is left, and the others half of it."""


class Fetch(NamedTuple):
    """Speak HTTPS with a host at one of these addresses; answered with what it said.

    A `FetchFailed` is thrown in where that cannot be had.
    """

    host: str
    addresses: tuple[str, ...]
    dialogue: Callable[[], Dialogue[bytes]]
    """Begins anew at each address."""


class Recall(NamedTuple):
    """Tell what is known of the policy of a domain; answered with `Known`."""

    domain: str


class Known(NamedTuple):
    """What is known of the policy of a domain."""

    now: float
    """Seconds since 1970."""
    stored: StoredPolicy | None = None
    failed_id: str = ""
    """The id under which nothing was to be had, a short time ago."""
    why: str = ""
    """Why it was not."""


class Keep(NamedTuple):
    """Keep the policy of a domain; or, without one, that it was not to be had under this id."""

    domain: str
    id: str
    stored: StoredPolicy | None
    why: str = ""
    """Why it was not."""


class Renew(NamedTuple):
    """Have the policy of a domain be fetched and kept, once for all who ask for it.

    With `waits` that is done by the time of the answer, or takes too long to be waited for.
    """

    domain: str
    id: str
    waits: bool


class Marked(NamedTuple):
    """Ask the caller's mark, before anything of the message may leave.

    What it raises is thrown in; an `SMTPError` where it says no.
    """


class Away(NamedTuple):
    """Tell which of these addresses were not reached lately; answered with a `frozenset`."""

    addresses: tuple[str, ...]


class Count(NamedTuple):
    """Count a session for the report to the recipient's domain (RFC 8460)."""

    policy: AppliedPolicy
    failure: SessionFailure | None = None
    """What was wrong with it, if anything was."""


class Allowance(NamedTuple):
    """Tell whether one more report may go to a place today; answered with a `bool`."""

    place: str
    """The domain of a mail address, or the host of a URL."""


class Mail(NamedTuple):
    """Deliver a message of our own; an `SMTPError` is thrown in where nobody takes it."""

    message: EmailMessage
    envelope: Envelope


class Try(NamedTuple):
    """Send the message in one session at whichever of these addresses answers first.

    Answered with `Said`, and never fails.
    """

    host: str
    addresses: tuple[str, ...]
    terms: Terms
    site: Site
    envelope: Envelope
    """All of its recipients have one domain."""
    heard: list[SendResult]
    """What became of the message, as soon as that is known: whatever interrupts the answer."""
    is_probe: bool = False
    """They were not reached lately: one message at a time tries them."""


class Said(NamedTuple):
    """What an attempt has come to."""

    result: SendResult | None = None
    """What became of the message, where a transaction was begun."""
    error: SMTPError | None = None
    """Why none was, or why nobody accepted."""
    protection: Protection | None = None
    is_repeated: bool = False
    """The session had carried mail for the same domain before."""
    address: str = ""
    """Where there was a session; else the empty string."""
    source: str = ""
    """Our own address there."""
    begun: tuple[str, ...] = ()
    """All addresses that were dialled."""
    unreached: tuple[tuple[str, SMTPError], ...] = ()
    """Those of them that did not answer."""

    @property
    def is_lost_in_tls(self) -> bool:
        """True if the session was lost in the handshake, or before it had any use.

        By TLS 1.3 a server may hang up after what its client takes for the end of the handshake.
        """
        phase = None if self.error is None else vars(self.error).get("phase")
        return phase == "tls" or (phase == "hello" and self.protection is not None)


Step: TypeAlias = (
    Allowance | Away | Begin | Count | Fetch | Keep | LookUps | Mail | Marked | Recall | Renew | Try
)
Steps: TypeAlias = Generator[Step, Any, T]
"""A procedure that returns a `T`."""
