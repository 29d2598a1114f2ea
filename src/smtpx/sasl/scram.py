"""SCRAM (RFC 5802, RFC 7677): each side proves to the other that it knows the password.

The mathematics, and SASLprep, are those of the package scramp (extra: smtpx[scram]). It knows no
authorization identity, so that credentials with one go by another mechanism.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from smtpx import _checks
from smtpx.errors import ExtraMissing, LocalProtocolError, RemoteProtocolError
from smtpx.sasl.binding import scram_binding
from smtpx.sasl.credentials import Credentials
from smtpx.sasl.mechanism import ANY_CHANNEL, Channel, Mechanism, check_given

__all__ = [
    "ScramSHA1",
    "ScramSHA1Plus",
    "ScramSHA256",
    "ScramSHA256Plus",
    "ScramSHA512",
    "ScramSHA512Plus",
]

# A server that asks for more would have us calculate for longer than anyone waits. scramp sees to
# the RFC's minimum of 4096.
_MOST_ITERATIONS = 1_000_000


# RFC 5802 §7.
_NO_BINDING = ("unsupported-channel-binding-type", "channel-binding-not-supported")


class _Scram(Mechanism):
    """One run; `nonce` is drawn unless it is given.

    ::

        C: n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL
        S: r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096
        C: c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=
        S: v=rmF9pqV8S7suAoZWja4dJRkFsKQ=
        C: (nothing)
    """

    reveals_secret = False

    def __init__(
        self,
        credentials: Credentials,
        channel: Channel = ANY_CHANNEL,
        *,
        nonce: str | None = None,
    ) -> None:
        check_given(credentials, channel)
        _checks.text("nonce", nonce, or_none=True)
        try:
            # By name: it has no types, and comes with an extra.
            scramp: Any = import_module("scramp")
        except ImportError:
            raise ExtraMissing("scram", "scramp") from None
        credentials.refuse_authzid()
        binding = scram_binding(channel.protection)
        if self.name.endswith("-PLUS"):
            if binding is None:
                raise LocalProtocolError("needs a channel binding, and this session has none")
        elif any(name.endswith("-PLUS") for name in channel.offered):
            # RFC 5802 §6: "y" would say that the server is not seen to offer it.
            binding = None
        self._password = credentials.known_password
        self._failure: type[Exception] = scramp.ScramException
        self._proof = ""
        self._details: dict[str, str] = {}
        self._is_verified = False
        self._client: Any = None
        try:
            self._client = scramp.ScramClient(
                [self.name],
                credentials.user,
                self._password,
                channel_binding=binding,
                c_nonce=nonce,
            )
        except scramp.ScramException:
            pass  # Its traceback would hold the password.
        if self._client is None:
            raise LocalProtocolError("user or password has a character that SASLprep prohibits")
        self._first: str = self._client.get_client_first()

    def initial(self) -> bytes:
        """Header of GS2, user and nonce."""
        return self._first.encode()

    def respond(self, challenge: bytes) -> bytes:
        """The proof; then nothing, once the server's own proof is right."""
        if self._is_verified:
            raise RemoteProtocolError(f"the server goes on after the end of {self.name}")
        try:
            said = challenge.decode()
            if refusal := re.fullmatch(r"e=([^,]*).*", said):
                self._details = {"error": refusal[1]}
                return b""
            if self._proof:
                self._client.set_server_final(said)
                self._is_verified = True
                return b""
            self._client.set_server_first(said)
            problem = ""
            if int(self._client.iterations) > _MOST_ITERATIONS:
                problem = f"it asks for more than {_MOST_ITERATIONS} iterations"
        except (self._failure, UnicodeDecodeError) as error:
            problem = str(error)
        if problem:
            said = ""  # A traceback with locals would show it: it may be an echo.
            raise RemoteProtocolError(
                f"the server failed to prove itself by {self.name}: {problem}"
            )
        self._proof = self._client.get_client_final()
        return self._proof.encode()

    def conclude(self) -> None:
        """Hear the yes of a server that has proved itself.

        Raises:
            RemoteProtocolError: it has not: whoever it is, it need not know the password.
        """
        if not self._is_verified:
            raise RemoteProtocolError(
                f"the server said yes without having proved itself by {self.name}"
            )

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password, and the proof, from which it can be guessed."""
        if not self._proof:
            return (self._password.encode(),)
        return (
            self._proof.encode(),
            self._proof.rpartition("p=")[2].encode(),
            self._password.encode(),
        )

    @property
    def untried(self) -> bool:
        """True until the proof is said, as long as it may be the binding that is not known."""
        bound = self.name.endswith("-PLUS") and not self._proof
        return bound and self._details.get("error", _NO_BINDING[0]) in _NO_BINDING

    @property
    def details(self) -> Mapping[str, str]:
        """``error``: one of RFC 5802 §7's, such as ``invalid-proof``."""
        return self._details


class ScramSHA1(_Scram):
    """SCRAM-SHA-1 (RFC 5802)."""

    name = "SCRAM-SHA-1"


class ScramSHA1Plus(_Scram):
    """SCRAM-SHA-1 bound to the TLS channel."""

    name = "SCRAM-SHA-1-PLUS"


class ScramSHA256(_Scram):
    """SCRAM-SHA-256 (RFC 7677)."""

    name = "SCRAM-SHA-256"


class ScramSHA256Plus(_Scram):
    """SCRAM-SHA-256 bound to the TLS channel."""

    name = "SCRAM-SHA-256-PLUS"


class ScramSHA512(_Scram):
    """SCRAM-SHA-512."""

    name = "SCRAM-SHA-512"


class ScramSHA512Plus(_Scram):
    """SCRAM-SHA-512 bound to the TLS channel."""

    name = "SCRAM-SHA-512-PLUS"
