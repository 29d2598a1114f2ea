"""The envelope of a message: who sends it, who gets it, what is asked of the servers on its way.

RFC 5321 §2.3.1; the options are those of RFC 3461 (DSN), 8689 (REQUIRETLS), 2852 (DELIVERBY),
4865 (FUTURERELEASE), 6710 (MT-PRIORITY), 7293 (RRVS), 4954 (AUTH) and 6152/3030 (BODY).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from typing import TYPE_CHECKING, NamedTuple

from smtpx.addresses import Address
from smtpx.errors import LocalProtocolError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["BodyType", "DeliverBy", "Envelope", "Notify", "Recipient", "Ret"]


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


class DeliverBy(NamedTuple):
    """Deliver within `seconds`, else return the message or tell the sender (RFC 2852 §4)."""

    seconds: int
    returned: bool = True
    """True: a late message is returned undelivered; False: the sender is notified of the delay."""
    trace: bool = False
    """Ask every relay for a report."""


@dataclass(frozen=True, slots=True, init=False)
class Recipient:
    """One recipient, with what is asked for it alone."""

    address: Address
    notify: Notify | None
    orcpt: str | None
    """Whom it was first sent to: an address, or ``type;value`` (RFC 3461 §4.2)."""
    unchanged_since: datetime | None
    """Deliver only if the mailbox has had one owner since (RRVS, RFC 7293); an aware datetime."""

    def __init__(
        self,
        address: str | Address,
        *,
        notify: Notify | None = None,
        orcpt: str | None = None,
        unchanged_since: datetime | None = None,
    ) -> None:
        if isinstance(address, str):
            address = Address.parse(address)
        if unchanged_since is not None:
            _check_aware("unchanged_since", unchanged_since)
        put = object.__setattr__
        put(self, "address", address)
        put(self, "notify", notify)
        put(self, "orcpt", orcpt)
        put(self, "unchanged_since", unchanged_since)

    @property
    def has_options(self) -> bool:
        """True if RCPT carries more than the address."""
        return not (self.notify is None and self.orcpt is None and self.unchanged_since is None)

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True, init=False)
class Envelope:
    """Sender, recipients and the options of one message."""

    sender: Address | None
    """The reverse-path; ``None`` is the null reverse-path of a report (RFC 5321 §4.5.5)."""
    recipients: tuple[Recipient, ...]
    body: BodyType | None
    """``None``: what the content turns out to be."""
    ret: Ret | None
    envid: str | None
    """Comes back in every report about this message (RFC 3461 §4.4); at most 100 characters."""
    auth: str | None
    """Who submitted the message, as far as the sending server vouches for it; ``<>`` = unknown."""
    require_tls: bool
    deliver_by: DeliverBy | None
    hold: int | datetime | None
    """Hold it for so many seconds, or until an aware datetime (FUTURERELEASE)."""
    priority: int | None
    """-9 to 9 (MT-PRIORITY)."""
    drop_unsupported: bool
    """Leave out what the server does not offer, instead of refusing to send."""
    is_plain: bool = field(repr=False, compare=False)
    """True if neither it nor a recipient has options; the addresses and the content say all."""
    needs_smtputf8: bool = field(repr=False, compare=False)
    """True if an address needs SMTPUTF8 (RFC 6531 §3.3)."""

    def __init__(
        self,
        sender: str | Address | None,
        recipients: str | Address | Recipient | Iterable[str | Address | Recipient],
        *,
        body: BodyType | None = None,
        ret: Ret | None = None,
        envid: str | None = None,
        auth: str | None = None,
        require_tls: bool = False,
        deliver_by: DeliverBy | None = None,
        hold: int | datetime | None = None,
        priority: int | None = None,
        drop_unsupported: bool = False,
    ) -> None:
        """Take addresses as strings or values; a sender of ``None``, ``""`` or ``"<>"`` is null.

        Raises:
            AddressError: one of them is not an address.
            LocalProtocolError: there is no recipient, or an option is out of its range.
        """
        if isinstance(recipients, (str, Address, Recipient)):
            recipients = (recipients,)
        everyone: list[Recipient] = []
        plain, utf8 = True, False
        for recipient in recipients:
            if not isinstance(recipient, Recipient):
                recipient = Recipient(recipient)
            elif recipient.has_options:
                plain = False
            if recipient.address.needs_smtputf8:
                utf8 = True
            everyone.append(recipient)
        if not everyone:
            raise LocalProtocolError("an envelope needs at least one recipient")
        if deliver_by is not None and not -999999999 <= deliver_by.seconds <= 999999999:
            raise LocalProtocolError("deliver_by takes up to nine digits of seconds (RFC 2852 §4)")
        if deliver_by is not None and deliver_by.returned and deliver_by.seconds <= 0:
            raise LocalProtocolError("deliver_by with returned=True needs seconds above 0")
        if isinstance(hold, int) and not 0 < hold <= 999999999:
            raise LocalProtocolError("hold takes 1 to 999999999 seconds (RFC 4865 §4)")
        if priority is not None and not -9 <= priority <= 9:
            raise LocalProtocolError("priority goes from -9 to 9 (RFC 6710 §5)")
        if envid is not None and not 0 < len(envid) <= 100:
            raise LocalProtocolError("envid takes 1 to 100 characters (RFC 3461 §4.4)")
        if isinstance(sender, str):
            sender = None if sender in ("", "<>") else Address.parse(sender)
        if hold is not None and not isinstance(hold, int):
            _check_aware("hold", hold)
        put = object.__setattr__
        put(self, "sender", sender)
        put(self, "recipients", tuple(everyone))
        put(self, "body", body)
        put(self, "ret", ret)
        put(self, "envid", envid)
        put(self, "auth", auth)
        put(self, "require_tls", require_tls)
        put(self, "deliver_by", deliver_by)
        put(self, "hold", hold)
        put(self, "priority", priority)
        put(self, "drop_unsupported", drop_unsupported)
        put(self, "is_plain", plain and not self.has_options)
        put(self, "needs_smtputf8", utf8 or (sender is not None and sender.needs_smtputf8))

    def to(self, recipients: Iterable[Recipient]) -> Envelope:
        """The same for other recipients."""
        return Envelope(
            self.sender,
            recipients,
            body=self.body,
            ret=self.ret,
            envid=self.envid,
            auth=self.auth,
            require_tls=self.require_tls,
            deliver_by=self.deliver_by,
            hold=self.hold,
            priority=self.priority,
            drop_unsupported=self.drop_unsupported,
        )

    @property
    def has_options(self) -> bool:
        """True if MAIL carries more than what the content and the addresses ask for."""
        return (
            self.require_tls
            or self.ret is not None
            or self.envid is not None
            or self.auth is not None
            or self.deliver_by is not None
            or self.hold is not None
            or self.priority is not None
        )


def _check_aware(name: str, moment: datetime) -> None:
    if moment.tzinfo is None:
        raise LocalProtocolError(f"{name} needs a datetime with a time zone, e.g. datetime.UTC")
