"""The server's half of SASL: one generator for each mechanism (RFC 4954, RFC 4422).

A dialogue yields challenges and is sent the client's responses; it returns the name of the user,
or None when the credentials are wrong. It raises `MechanismError` when a response is malformed.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from smtpx import _checks

Dialogue: TypeAlias = Generator[bytes, bytes, str | None]


class MechanismError(Exception):
    """A response does not have the form that its mechanism asks for."""

    __module__ = "smtpx.testing"


@dataclass(frozen=True, slots=True)
class AuthContext:
    """What the server knows when an AUTH exchange begins."""

    __module__ = "smtpx.testing"

    users: Mapping[str, str]
    """Name to password, or token."""

    offered: frozenset[str] = frozenset()
    """The names of all mechanisms."""

    bindings: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """The channel bindings that TLS has, type to data (RFC 5929)."""

    certificate_user: str | None = None
    """Whom the client's certificate names."""

    any_login: bool = False
    """Whatever name and password, or token, are right."""


@dataclass(frozen=True, slots=True)
class ServerMechanism:
    """A SASL mechanism, seen from the server."""

    __module__ = "smtpx.testing"

    name: str
    dialogue: Callable[[AuthContext], Dialogue]

    client_first: bool = True
    """An initial response answers the first challenge; otherwise it is not allowed."""

    def __post_init__(self) -> None:
        _checks.text("name", self.name)
        if not callable(self.dialogue):
            raise _checks.complaint("dialogue", self.dialogue, "what can be called")
        _checks.flag("client_first", self.client_first)


def _plain(context: AuthContext) -> Dialogue:
    """RFC 4616."""
    response = yield b""
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise MechanismError("PLAIN needs authzid NUL authcid NUL password (RFC 4616 §2)")
    return _check(context, parts[1].decode(), parts[2].decode())


def _login(context: AuthContext) -> Dialogue:
    name = yield b"Username:"
    password = yield b"Password:"
    return _check(context, name.decode(), password.decode())


def _cram_md5(context: AuthContext) -> Dialogue:
    """RFC 2195."""
    challenge = b"<1896.697170952@mail.test>"
    response = yield challenge
    name, space, digest = response.rpartition(b" ")
    if not space:
        raise MechanismError("CRAM-MD5 needs a user name and a digest (RFC 2195 §2)")
    if context.any_login:
        return name.decode()
    password = context.users.get(name.decode())
    if password is None:
        return None
    expected = hmac.new(password.encode(), challenge, "md5").hexdigest().encode()
    return name.decode() if hmac.compare_digest(expected, digest) else None


def _xoauth2(context: AuthContext) -> Dialogue:
    """Google's and Microsoft's mechanism: a refused token is explained before the 535."""
    response = yield b""
    parts = response.split(b"\x01")
    if len(parts) != 4 or parts[2:] != [b"", b""] or not parts[0].startswith(b"user="):
        raise MechanismError("XOAUTH2 needs user=… ^A auth=Bearer … ^A ^A")
    user = _bearer(context, parts[0].removeprefix(b"user=").decode(), parts[1])
    if user is None:
        _ = yield b'{"status":"401","schemes":"bearer","scope":"https://mail.test/"}'
    return user


def _oauthbearer(context: AuthContext) -> Dialogue:
    """RFC 7628: a refused token is explained, and the client answers ^A before the 535."""
    response = yield b""
    header, *pairs = response.split(b"\x01")
    fields = header.split(b",")
    if len(fields) != 3 or not fields[1].startswith(b"a=") or pairs[-2:] != [b"", b""]:
        raise MechanismError("OAUTHBEARER needs n,a=user,^A…^A^A (RFC 7628 §3.1)")
    bearer = next((pair for pair in pairs if pair.startswith(b"auth=")), b"")
    name = fields[1].removeprefix(b"a=").replace(b"=2C", b",").replace(b"=3D", b"=").decode()
    user = _bearer(context, name, bearer)
    if user is None:
        ending = yield b'{"status":"invalid_token"}'
        if ending != b"\x01":
            raise MechanismError("the answer to an OAUTHBEARER error is ^A (RFC 7628 §3.2.3)")
    return user


def _external(context: AuthContext) -> Dialogue:
    """RFC 4422, appendix A: the client may name nobody but whom its certificate names."""
    whom = (yield b"").decode()
    return context.certificate_user if whom in ("", context.certificate_user) else None


def _anonymous(_context: AuthContext) -> Dialogue:
    """RFC 4505: whoever leaves a trace."""
    _ = yield b""
    return "anonymous"


def _bearer(context: AuthContext, name: str, pair: bytes) -> str | None:
    scheme, _, token = pair.removeprefix(b"auth=").partition(b" ")
    return _check(context, name, token.decode()) if scheme.lower() == b"bearer" else None


def _check(context: AuthContext, name: str, password: str) -> str | None:
    return name if context.any_login or context.users.get(name) == password else None


PLAIN = ServerMechanism("PLAIN", _plain)
LOGIN = ServerMechanism("LOGIN", _login)
CRAM_MD5 = ServerMechanism("CRAM-MD5", _cram_md5, client_first=False)
XOAUTH2 = ServerMechanism("XOAUTH2", _xoauth2)
OAUTHBEARER = ServerMechanism("OAUTHBEARER", _oauthbearer)
EXTERNAL = ServerMechanism("EXTERNAL", _external)
ANONYMOUS = ServerMechanism("ANONYMOUS", _anonymous)

STANDARD_MECHANISMS = (PLAIN, LOGIN, CRAM_MD5)
