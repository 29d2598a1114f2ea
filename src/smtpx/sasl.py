"""SASL mechanisms without I/O (RFC 4422): PLAIN (4616), CRAM-MD5 (2195), LOGIN."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from smtpx.errors import LocalProtocolError

__all__ = ["CramMD5", "Credentials", "Login", "Mechanism", "Plain"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are. The password is in no `repr`."""

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        # RFC 4616 §2: NUL separates the fields of PLAIN; RFC 4013 §2.3 prohibits its kin as well.
        if _CONTROL.search(self.user) or _CONTROL.search(self.password):
            raise LocalProtocolError(
                "neither user nor password may contain a control character, such as NUL or the "
                "line end of a file they were read from"
            )
        if any("\ud800" <= character <= "\udfff" for character in self.user + self.password):
            raise LocalProtocolError("user and password must be Unicode text without surrogates")


class Mechanism(Protocol):
    """One run of a mechanism; make a new one for each try."""

    name: str
    """As in the EHLO keyword AUTH."""
    reveals_secret: bool
    """What it sends is as good as the password: only under TLS, or on this machine."""

    def initial(self) -> bytes | None:
        """The initial response; ``None`` if the server speaks first."""
        ...

    def respond(self, challenge: bytes) -> bytes:
        """The answer to one challenge."""
        ...

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What must appear nowhere, should the server echo it."""
        ...


class Plain:
    """PLAIN (RFC 4616): user and password in one message, UTF-8."""

    name = "PLAIN"
    reveals_secret = True

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def initial(self) -> bytes:
        """``NUL user NUL password``."""
        return f"\0{self._credentials.user}\0{self._credentials.password}".encode()

    def respond(self, challenge: bytes) -> bytes:
        """Nothing is left to say; an empty answer lets the server end the exchange."""
        return b""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The message and the password."""
        return self.initial(), self._credentials.password.encode()


class Login:
    """LOGIN (draft-murchison-sasl-login): the server asks for user, then for password."""

    name = "LOGIN"
    reveals_secret = True

    def __init__(self, credentials: Credentials) -> None:
        self._answers = iter((credentials.user.encode(), credentials.password.encode()))
        self._credentials = credentials

    def initial(self) -> None:
        """The server speaks first."""

    def respond(self, challenge: bytes) -> bytes:
        """The user, then the password, whatever the prompts say."""
        return next(self._answers, b"")

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password."""
        return (self._credentials.password.encode(),)


class CramMD5:
    """CRAM-MD5 (RFC 2195): a keyed digest of the server's challenge."""

    name = "CRAM-MD5"
    reveals_secret = False

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def initial(self) -> None:
        """The server speaks first."""

    def respond(self, challenge: bytes) -> bytes:
        """``user digest``."""
        import hmac

        digest = hmac.new(self._credentials.password.encode(), challenge, "md5").hexdigest()
        return f"{self._credentials.user} {digest}".encode()

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The password."""
        return (self._credentials.password.encode(),)

    @staticmethod
    def works_here() -> bool:
        """False on a Python whose OpenSSL has no MD5 (FIPS)."""
        import hmac

        try:
            _ = hmac.new(b"", b"", "md5")
        except ValueError:
            return False
        return True


def usable(
    offered: Iterable[str], credentials: Credentials, *, protected: bool
) -> Iterator[Mechanism]:
    """The mechanisms to try, strongest first.

    `protected` is whether the password may be shown to the peer's line: TLS, or this machine.
    """
    names = set(offered)
    if CramMD5.name in names and CramMD5.works_here():
        yield CramMD5(credentials)
    if protected:
        for mechanism in (Plain, Login):
            if mechanism.name in names:
                yield mechanism(credentials)
