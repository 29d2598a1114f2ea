"""What an envelope can ask of the servers on the way of its message."""

from __future__ import annotations

from enum import Enum, Flag, auto

from smtpx import _checks
from smtpx._values import Value
from smtpx.errors import LocalProtocolError


class BodyType(Enum):
    """What the content holds (RFC 6152 §2, RFC 3030 §3)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"
    BINARY = "BINARYMIME"


class Ret(Enum):
    """How much of the message a failure report returns (RFC 3461 §4.3)."""

    FULL = "FULL"
    HEADERS = "HDRS"


class Notify(Flag):
    """When a delivery status notification is wanted (RFC 3461 §4.1); they combine with ``|``."""

    NEVER = 0
    SUCCESS = auto()
    FAILURE = auto()
    DELAY = auto()


class DeliverBy(Value):
    """Deliver within `seconds`, else return the message or tell the sender (RFC 2852 §4).

    Raises:
        LocalProtocolError: the seconds are out of their range.
        TypeError: a field is of another kind.
    """

    seconds: int
    returned: bool = True
    """True: a late message is returned undelivered; False: the sender is notified of the delay."""
    trace: bool = False
    """Ask every relay for a report."""

    def __post_init__(self) -> None:
        try:
            _checks.count("seconds", self.seconds, -999999999, 999999999)
        except ValueError as error:
            raise LocalProtocolError(f"deliver_by: {error} (RFC 2852 §4)") from None
        _checks.flag("returned", self.returned)
        _checks.flag("trace", self.trace)
        if self.returned and self.seconds <= 0:
            raise LocalProtocolError("deliver_by with returned=True needs seconds above 0")


for _each in (BodyType, Ret, Notify, DeliverBy):
    _each.__module__ = "smtpx.envelope"
