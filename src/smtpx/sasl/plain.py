"""The mechanisms that send the password: PLAIN (RFC 4616), LOGIN."""

from __future__ import annotations

from smtpx.sasl.credentials import Credentials
from smtpx.sasl.mechanism import ANY_CHANNEL, Channel, Mechanism, check_given

__all__ = ["Login", "Plain"]


class Plain(Mechanism):
    """PLAIN (RFC 4616): user and password in one message, UTF-8."""

    name = "PLAIN"
    reveals_secret = True
    reads_challenges = False

    def __init__(self, credentials: Credentials, channel: Channel = ANY_CHANNEL) -> None:
        check_given(credentials, channel)
        self._password = credentials.known_password
        self._credentials = credentials
        self._unheard = True

    def initial(self) -> bytes:
        """``authzid NUL user NUL password``."""
        who = self._credentials
        return f"{who.authzid}\0{who.user}\0{self._password}".encode()

    def respond(self, challenge: bytes) -> bytes:
        """The message once more, for a server that asks though it has it; then nothing."""
        again, self._unheard = self._unheard, False
        return self.initial() if again else b""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The message and the password."""
        return self.initial(), self._password.encode()


class Login(Mechanism):
    """LOGIN (draft-murchison-sasl-login): the server asks for user, then for password.

    Some servers ask in plain text, though RFC 4954 §4 wants base64.
    """

    name = "LOGIN"
    reveals_secret = True
    reads_challenges = False

    def __init__(self, credentials: Credentials, channel: Channel = ANY_CHANNEL) -> None:
        check_given(credentials, channel)
        credentials.refuse_authzid()
        self._password = credentials.known_password.encode()
        self._answers = iter((credentials.user.encode(), self._password))

    def respond(self, challenge: bytes) -> bytes:
        """The user, then the password, whatever the prompts say."""
        return next(self._answers, b"")

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password."""
        return (self._password,)
