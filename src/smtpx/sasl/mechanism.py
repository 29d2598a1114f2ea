"""What a mechanism is to the AUTH exchange, and what it may know of the session."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from smtpx import _checks
from smtpx._values import Value
from smtpx.sasl.credentials import Credentials
from smtpx.tls import Protection

__all__ = ["ANY_CHANNEL", "Channel", "Mechanism", "MechanismFactory", "check_given"]

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Channel(Value):
    """The session in which a mechanism runs."""

    host: str = ""
    """The server as the caller named it."""
    port: int = 0
    lmtp: bool = False
    protection: Protection | None = None
    """What TLS agreed on; ``None`` without TLS."""
    offered: frozenset[str] = frozenset()
    """The mechanisms that the server offers, under the protection the session has now."""

    def __post_init__(self) -> None:
        _checks.text("host", self.host)
        _checks.count("port", self.port, 0, 65535)
        _checks.flag("lmtp", self.lmtp)
        _checks.instance("protection", self.protection, Protection, or_none=True)
        _checks.instance("offered", self.offered, frozenset)


ANY_CHANNEL = Channel()
"""For mechanisms that do not care."""


def check_given(credentials: Credentials, channel: Channel) -> None:
    """Look at what a mechanism is made of.

    Raises:
        TypeError: one of them is of another kind.
    """
    _checks.instance("credentials", credentials, Credentials)
    _checks.instance("channel", channel, Channel)


class Mechanism(Protocol):
    """One run of a mechanism. A subclass need only have what differs from what is here.

    What a method raises ends the exchange, by ``*``, and the session.
    """

    name: str
    """As in the EHLO keyword AUTH."""
    reveals_secret: bool = True
    """What it sends is as good as the password: only under TLS, or on this machine."""
    reads_challenges: bool = True
    """False: the challenges are prompts for people, and may be no base64 either."""

    def initial(self) -> bytes | None:
        """The initial response; ``None`` if the server speaks first."""
        return None

    def respond(self, challenge: bytes) -> bytes:
        """The answer to one challenge.

        Raises:
            RemoteProtocolError: it is none that an honest server would send.
        """
        ...

    def conclude(self) -> None:
        """Hear that the server said yes.

        Raises:
            RemoteProtocolError: it has not shown what the mechanism asks of it first.
        """
        return

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What must appear nowhere, should the server echo it; it may grow as the exchange goes."""
        return ()

    @property
    def untried(self) -> bool:
        """True while a refusal would say nothing of the secret, only of the channel binding."""
        return False

    @property
    def details(self) -> Mapping[str, str]:
        """Why the server is going to say no, where the mechanism can tell."""
        return _NOTHING


class MechanismFactory(Protocol):
    """Makes a mechanism for one run; the mechanism's class does."""

    @property
    def name(self) -> str:
        """As in the EHLO keyword AUTH."""
        ...

    @property
    def reveals_secret(self) -> bool:
        """As `Mechanism.reveals_secret`."""
        ...

    def __call__(self, credentials: Credentials, channel: Channel, /) -> Mechanism:
        """Begin.

        Raises:
            LocalProtocolError: it cannot be used here, and why; the next one may.
        """
        ...
