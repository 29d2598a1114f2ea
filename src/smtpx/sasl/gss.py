"""NTLM, Kerberos (GSSAPI, RFC 4752) and either of them negotiated (GSS-SPNEGO, RFC 4178).

Kerberos asks its key distribution center by itself, and holds up the loop meanwhile.

All that is said in them is the package pyspnego's (extra: smtpx[spnego]; for Kerberos on other
systems than Windows smtpx[kerberos]).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from smtpx.errors import ExtraMissing, LocalProtocolError, RemoteProtocolError, SMTPError
from smtpx.sasl.binding import endpoint_binding
from smtpx.sasl.credentials import Credentials
from smtpx.sasl.mechanism import ANY_CHANNEL, Channel, Mechanism, check_given

__all__ = ["GSSAPI", "NTLM", "Spnego"]

# RFC 4752 §3.1: bit 1 = no security layer; TLS is ours. The size is then 0.
_NO_LAYER = 1


class _Gss(Mechanism):
    """One security context, and for GSSAPI what it negotiates afterwards."""

    reveals_secret = False
    _protocol = ""

    def __init__(self, credentials: Credentials, channel: Channel = ANY_CHANNEL) -> None:
        check_given(credentials, channel)
        try:
            spnego: Any = import_module("spnego")
            bindings: Any = import_module("spnego.channel_bindings")
        except ImportError:
            raise ExtraMissing("spnego", "pyspnego") from None
        self._password = None if credentials.password is None else credentials.known_password
        if self._protocol != "kerberos":
            credentials.refuse_authzid()
        self._authzid = credentials.authzid
        self._has_settled = False
        endpoint = endpoint_binding(channel.protection)
        bound = None
        if endpoint is not None:
            bound = bindings.GssChannelBindings(
                application_data=b"tls-server-end-point:" + endpoint
            )
        problem, is_missing = "", False
        try:
            self._context: Any = spnego.client(
                credentials.user or None,
                self._password,
                hostname=channel.host,
                service="lmtp" if channel.lmtp else "smtp",
                channel_bindings=bound,
                protocol=self._protocol,
            )
            self._first: bytes = self._context.step() or b""
        except Exception as error:  # The libraries below pyspnego have errors of their own.
            # Its traceback would hold the password.
            problem = f"cannot begin: {type(error).__name__}: {error}"
            is_missing = self._password is None or isinstance(error, ImportError)
        if is_missing:
            raise LocalProtocolError(problem)
        if problem:
            # The key distribution center may have refused the password: it goes nowhere else.
            raise SMTPError(f"AUTH {self.name} {problem}")

    def initial(self) -> bytes:
        """The first token."""
        return self._first

    def respond(self, challenge: bytes) -> bytes:
        """The next token; at the end, that no security layer is wanted."""
        try:
            if not self._context.complete:
                return self._context.step(challenge) or b""
            if self._has_settled:
                problem = "it goes on after the end"
            else:
                offer: bytes = self._context.unwrap(challenge).data
                if len(offer) == 4 and offer[0] & _NO_LAYER:
                    self._has_settled = True
                    answer = bytes([_NO_LAYER, 0, 0, 0]) + self._authzid.encode()
                    settled: bytes = self._context.wrap(answer, encrypt=False).data
                    return settled
                problem = "it insists on a security layer"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        raise RemoteProtocolError(f"AUTH {self.name} failed at what the server said: {problem}")

    def conclude(self) -> None:
        """Hear the yes of a server with which the context was completed.

        Raises:
            RemoteProtocolError: it was not.
        """
        if not self._context.complete:
            raise RemoteProtocolError(f"the server said yes before the end of {self.name}")

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password, if it is known here."""
        return () if self._password is None else (self._password.encode(),)


class GSSAPI(_Gss):
    """GSSAPI (RFC 4752): Kerberos, by the password or by the ticket that is there."""

    name = "GSSAPI"
    _protocol = "kerberos"


class Spnego(_Gss):
    """GSS-SPNEGO: Kerberos, or NTLM where there is no ticket."""

    name = "GSS-SPNEGO"
    _protocol = "negotiate"


class NTLM(_Gss):
    """NTLM ([MS-SMTPNTLM]): a challenge and its answer, which is all that it has."""

    name = "NTLM"
    _protocol = "ntlm"
