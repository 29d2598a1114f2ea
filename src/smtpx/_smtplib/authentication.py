"""AUTH as `smtpx.smtplib` does it: the caller's own exchanges, and the order of the old module."""

from __future__ import annotations

import base64
import binascii
from smtplib import SMTPAuthenticationError, SMTPException, SMTPNotSupportedError
from typing import Protocol

from smtpx._secrecy import without_frames
from smtpx._smtplib.codes import CodeAndText, accepts
from smtpx._smtplib.commands import Commands

__all__ = ["MAXCHALLENGE", "Authentication"]

MAXCHALLENGE = 5
_PREFERENCE = ("CRAM-MD5", "PLAIN", "LOGIN")


class _AuthObject(Protocol):
    def __call__(self, challenge: bytes | None = None, /) -> str | None: ...


class Authentication(Commands):
    """A connection on which the client can say who it is."""

    user: str
    password: str
    _auth_challenge_count: int

    def _has_cram_md5(self) -> bool:
        return False

    def auth(
        self, mechanism: str, authobject: _AuthObject, *, initial_response_ok: bool = True
    ) -> CodeAndText:
        """Authenticate; `authobject` answers each challenge, and ``None`` with what may go first.

        Raises:
            SMTPAuthenticationError: the server refused.
            SMTPException: its challenges are no base64, or do not end.
        """
        try:
            return self._converse(mechanism, authobject, initial_response_ok)
        except SMTPException as error:
            # There are tracebacks that show variables, and those of its frames are secrets.
            raise without_frames(error) from error.__cause__

    def _converse(
        self, mechanism: str, authobject: _AuthObject, initial_response_ok: bool
    ) -> CodeAndText:
        line = mechanism.upper()
        initial = authobject() if initial_response_ok else None
        self._auth_challenge_count = 0
        if initial is not None:
            # RFC 4954 §4: an empty initial response is written as an equals sign.
            line = f"{line} {_base64(initial) or '='}"
            self._auth_challenge_count = 1
        code, reply = self.docmd("AUTH", line)
        try:
            while True:
                if code != 334:
                    break
                self._auth_challenge_count += 1
                response = authobject(base64.decodebytes(reply))
                code, reply = self.docmd(_base64(response or ""))
                if code == 334 and self._auth_challenge_count > MAXCHALLENGE:
                    last = code, self._secrecy.hide(reply)
                    raise SMTPException(
                        f"Server AUTH mechanism infinite loop. Last response: {last!r}"
                    )
        except binascii.Error as error:
            self._cancel_auth()
            raise SMTPException(f"a challenge of AUTH {mechanism} is no base64: {error}") from error
        except Exception:
            self._cancel_auth()
            raise
        if accepts(code) or code == 503:
            return code, reply
        if code == 421:
            self.close()
        raise SMTPAuthenticationError(code, reply)

    def _cancel_auth(self) -> None:
        # RFC 4954 §4: a lone * ends the exchange.
        if not self.sock:
            return
        try:
            code, _ = self.docmd("*")
        except SMTPException:
            return
        if code == 334:
            self.close()

    def auth_plain(self, challenge: bytes | None = None) -> str:
        """PLAIN with `user` and `password`, for `auth`."""
        _check(self.user, self.password)
        return f"\0{self.user}\0{self.password}"

    def auth_login(self, challenge: bytes | None = None) -> str:
        """LOGIN with `user` and `password`, for `auth`."""
        first = challenge is None or self._auth_challenge_count < 2
        return self.user if first else self.password

    def login(self, user: str, password: str, *, initial_response_ok: bool = True) -> CodeAndText:
        """Authenticate by CRAM-MD5, PLAIN or LOGIN, the first of them that the server takes.

        Raises:
            ValueError: there is a control character in user or password.
            SMTPHeloError: the server takes neither EHLO nor HELO.
            SMTPNotSupportedError: it does not offer AUTH.
            SMTPAuthenticationError: it refused; the last refusal is given.
            SMTPException: it offers no mechanism that we have.
        """
        _check(user, password)
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("auth"):
            raise SMTPNotSupportedError("SMTP AUTH extension not supported by server.")
        advertised = self.esmtp_features["auth"].split()
        mechanisms = [name for name in _PREFERENCE if name in advertised]
        if "CRAM-MD5" in mechanisms and not self._has_cram_md5():
            mechanisms.remove("CRAM-MD5")
        self.user, self.password = user, password
        del password  # for `auth`'s reason
        refusal: SMTPException = SMTPException(
            "No suitable authentication method found. "
            f"The server offers: {' '.join(advertised) or 'none'}."
        )
        for mechanism in mechanisms:
            method = getattr(self, "auth_" + mechanism.lower().replace("-", "_"))
            try:
                return self.auth(mechanism, method, initial_response_ok=initial_response_ok)
            except SMTPAuthenticationError as error:
                if error.smtp_code in (-1, 421):  # nobody is there to be asked again
                    raise
                refusal = error
        raise refusal


def _check(user: str, password: str) -> None:
    from smtpx.errors import LocalProtocolError
    from smtpx.sasl.credentials import Credentials

    try:
        _ = Credentials(user, password)
    except LocalProtocolError as error:
        raise ValueError(str(error)) from None


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
