"""What became of a message on its way to the mail exchangers of its recipients."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from smtpx import _checks
from smtpx.addresses import Address
from smtpx.errors import SMTPError
from smtpx.replies import EnhancedStatusCode, Reply
from smtpx.results import Outcome, SendResult, Status

from ._terms import Terms

__all__ = ["Attempt", "DeliveryFailed", "DeliveryOutcome", "DeliveryResult", "Failure"]


class Failure(Enum):
    """Why there is no word of a server."""

    NO_SUCH_DOMAIN = "there is no such domain"
    NULL_MX = "the domain takes no mail: it has a null MX"
    """It says so by a null MX (RFC 7505)."""
    NO_ADDRESS = "no mail exchanger has an address"
    ADDRESS_REFUSED = "no mail exchanger has an address that may be dialled"
    LOOPS = "we are the best mail exchanger ourselves"
    NO_REQUIRETLS = "no mail exchanger keeps REQUIRETLS"
    """RFC 8689 §4.2.1."""
    NO_EXTENSION = "every mail exchanger lacks what the message needs"
    TOO_LARGE = "every mail exchanger takes smaller messages only"
    LOOKUP_FAILED = "the DNS did not say"
    NO_ROUTE = "better mail exchangers than ourselves did not take it"
    UNREACHABLE = "no mail exchanger could be spoken to"
    TLS_POLICY = "nobody gave the protection that is asked for"
    """By DANE, MTA-STS or `minimum`."""

    @property
    def enhanced(self) -> EnhancedStatusCode:
        """What it is in the RFCs' codes (RFC 3463)."""
        return _CODES[self]

    @property
    def transient(self) -> bool:
        """True if another time it may be otherwise."""
        return self.enhanced.class_ == 4


_CODES = {
    Failure.NO_SUCH_DOMAIN: EnhancedStatusCode(5, 1, 2),
    Failure.NULL_MX: EnhancedStatusCode(5, 1, 10),
    Failure.NO_ADDRESS: EnhancedStatusCode(5, 4, 4),
    Failure.ADDRESS_REFUSED: EnhancedStatusCode(5, 4, 4),
    Failure.LOOPS: EnhancedStatusCode(5, 4, 6),
    Failure.NO_REQUIRETLS: EnhancedStatusCode(5, 7, 30),
    Failure.NO_EXTENSION: EnhancedStatusCode(5, 6, 3),
    Failure.TOO_LARGE: EnhancedStatusCode(5, 3, 4),
    Failure.LOOKUP_FAILED: EnhancedStatusCode(4, 4, 3),
    Failure.NO_ROUTE: EnhancedStatusCode(4, 4, 4),
    Failure.UNREACHABLE: EnhancedStatusCode(4, 4, 1),
    Failure.TLS_POLICY: EnhancedStatusCode(4, 7, 5),
}


class DeliveryFailed(SMTPError):
    """No mail exchanger has said what becomes of the message."""

    failure: Failure
    """Why."""

    def __init__(self, message: str, failure: Failure) -> None:
        super().__init__(f"{message} ({failure.enhanced})")
        self.failure = failure

    @property
    def transient(self) -> bool:
        """True if sending it again later may succeed."""
        return self.failure.transient


@dataclass(frozen=True, slots=True)
class Attempt:
    """One session at one address of one mail exchanger."""

    host: str
    address: str
    terms: Terms
    error: SMTPError | None = None
    """Why the message did not go out here; ``None`` where each recipient had a reply."""
    source: str = ""
    """Our own address, as this machine has it; empty where there was no session."""

    def __str__(self) -> str:
        told = f"{self.host} [{self.address}], {self.terms}"
        if self.error is None:
            return told
        return f"{told}{_from(self.source)}: {self.error}"


class DeliveryOutcome(Outcome):
    """What became of the message for one recipient, and who said so."""

    recipient: Address
    status: Status
    reply: Reply | None
    """The reply that decided it; ``None`` where there was none."""
    host: str | None = None
    """The mail exchanger that took or refused it."""
    address: str | None = None
    """The IP address at which it did."""
    terms: Terms | None = None
    """What TLS had to be there."""
    attempts: tuple[Attempt, ...] = ()
    """All that was attempted for it, in order."""
    failure: Failure | None = None
    """Why nobody took or refused it, where nobody did."""

    @property
    def source(self) -> str:
        """Our own address in the session that decided it; empty where none did."""
        those = (one for one in reversed(self.attempts) if one.address == self.address)
        return next((one.source for one in those), "")

    @property
    def enhanced(self) -> EnhancedStatusCode | None:
        """The enhanced status code of the reply, or of the failure."""
        if self.reply is not None:
            return self.reply.enhanced
        return None if self.failure is None else self.failure.enhanced

    def __str__(self) -> str:
        told = f"{self.recipient} {self.status.value}"
        if self.host is not None:
            told += f" by {self.host} [{self.address}]"
            if self.status is Status.REFUSED:
                told += _from(self.source)
        if self.reply is not None:
            return f"{told}: {self.reply}"
        return told if self.failure is None else f"{told}: {self.failure.value} ({self.enhanced})"


class DeliveryResult(SendResult):
    """A `SendResult` whose outcomes tell which host took or refused it, and what was tried."""

    __slots__ = ()

    @property
    def outcomes(self) -> tuple[DeliveryOutcome, ...]:
        """One for each recipient of the envelope, in its order."""
        return tuple(one for one in super().outcomes if isinstance(one, DeliveryOutcome))

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<DeliveryResult {self}>"


def _from(source: str) -> str:
    """As whom we were refused: it may be for want of a PTR record (5.7.25)."""
    return f" from {source}" if source else ""
