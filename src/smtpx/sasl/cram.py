"""CRAM-MD5 (RFC 2195): a keyed digest of the server's challenge."""

from __future__ import annotations

import hmac

from smtpx.errors import LocalProtocolError
from smtpx.sasl.credentials import Credentials
from smtpx.sasl.mechanism import ANY_CHANNEL, Channel, Mechanism, check_given

__all__ = ["CramMD5"]


class CramMD5(Mechanism):
    """CRAM-MD5; not on a Python whose OpenSSL has no MD5 (FIPS)."""

    name = "CRAM-MD5"
    reveals_secret = False

    def __init__(self, credentials: Credentials, channel: Channel = ANY_CHANNEL) -> None:
        check_given(credentials, channel)
        credentials.refuse_authzid()
        self._user = credentials.user.encode()
        self._password = credentials.known_password.encode()
        self._digest = b""
        try:
            _ = hmac.new(b"", b"", "md5")
        except ValueError:
            raise LocalProtocolError("this Python has no MD5") from None

    def respond(self, challenge: bytes) -> bytes:
        """``user digest``."""
        self._digest = hmac.new(self._password, challenge, "md5").hexdigest().encode()
        return self._user + b" " + self._digest

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password, and the digest, from which it can be guessed."""
        if not self._digest:
            return (self._password,)
        return self._user + b" " + self._digest, self._digest, self._password
