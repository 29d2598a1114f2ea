"""What a mechanism is to the AUTH exchange, and what it may know of the session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from smtpx.sasl.credentials import Credentials
from smtpx.tls import Protection

__all__ = ["ANY_CHANNEL", "Channel", "Mechanism", "MechanismFactory"]

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Channel:
    """The session in which a mechanism runs."""

    host: str = ""
    """The server as the caller named it."""
    port: int = 0
    lmtp: bool = False
    protection: Protection | None = None
    """What TLS agreed on; ``None`` without TLS."""
    offered: frozenset[str] = frozenset()
    """The mechanisms that the server offers, under the protection the session has now."""


ANY_CHANNEL = Channel()
"""For mechanisms that do not care."""


class Mechanism(Protocol):
    """One run of a mechanism. A subclass need only have what differs from what is here.

    What a method raises ends the exchange, by ``*``, and the session.
    """

    name: str
    """As in the EHLO keyword AUTH."""
    reveals_secret: bool = True
    """What it sends is as good as the password: only under TLS, or on this machine."""

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
