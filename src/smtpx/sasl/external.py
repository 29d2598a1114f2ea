"""The mechanisms that send no secret: EXTERNAL (RFC 4422, appendix A), ANONYMOUS (RFC 4505)."""

from __future__ import annotations

from smtpx.sasl.credentials import Credentials
from smtpx.sasl.mechanism import ANY_CHANNEL, Channel, Mechanism, check_given

__all__ = ["Anonymous", "External"]


class External(Mechanism):
    """EXTERNAL: the server knows us already, mostly by the client certificate."""

    name = "EXTERNAL"
    reveals_secret = False

    def __init__(self, credentials: Credentials, channel: Channel = ANY_CHANNEL) -> None:
        check_given(credentials, channel)
        self._whom = credentials.authzid or credentials.user

    def initial(self) -> bytes:
        """Whom to act for; empty: whoever the server takes us for."""
        return self._whom.encode()

    def respond(self, challenge: bytes) -> bytes:
        """Nothing is left to say."""
        return b""


class Anonymous(Mechanism):
    """ANONYMOUS: nobody in particular, with a trace such as an address in place of a user."""

    name = "ANONYMOUS"
    reveals_secret = False

    def __init__(self, credentials: Credentials, channel: Channel = ANY_CHANNEL) -> None:
        check_given(credentials, channel)
        self._trace = credentials.user

    def initial(self) -> bytes:
        """The trace."""
        return self._trace.encode()

    def respond(self, challenge: bytes) -> bytes:
        """Nothing is left to say."""
        return b""
