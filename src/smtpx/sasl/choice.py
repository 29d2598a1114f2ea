"""Which mechanisms are used, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TypeAlias, cast

from smtpx import _checks
from smtpx._loading import loading
from smtpx.errors import LocalProtocolError
from smtpx.sasl.credentials import Credentials
from smtpx.sasl.mechanism import MechanismFactory

__all__ = ["HASHED", "MUTUAL", "STRONGEST_FIRST", "Mechanisms", "allowed", "check"]

Mechanisms: TypeAlias = Sequence["str | MechanismFactory"]
"""Names, or classes of one's own, in the order in which they are to be tried."""

MUTUAL: tuple[str, ...] = (
    "SCRAM-SHA-512-PLUS",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-512",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
)
"""Those that do not send the password, and by which the server proves that it knows it."""

HASHED: tuple[str, ...] = (*MUTUAL, "CRAM-MD5")
"""Those that do not send the password, nor anything as good as it."""

STRONGEST_FIRST: tuple[str, ...] = (*HASHED, "PLAIN", "LOGIN")
"""What is tried where there is a password, and the caller names no mechanisms."""

_FOR_TOKENS = ("OAUTHBEARER", "XOAUTH2")
_FOR_NEITHER = ("EXTERNAL",)
_IF_NAMED = ("GSSAPI", "GSS-SPNEGO", "NTLM", "ANONYMOUS")

_HOMES = {
    "SCRAM-SHA-512-PLUS": ("scram", "ScramSHA512Plus"),
    "SCRAM-SHA-256-PLUS": ("scram", "ScramSHA256Plus"),
    "SCRAM-SHA-1-PLUS": ("scram", "ScramSHA1Plus"),
    "SCRAM-SHA-512": ("scram", "ScramSHA512"),
    "SCRAM-SHA-256": ("scram", "ScramSHA256"),
    "SCRAM-SHA-1": ("scram", "ScramSHA1"),
    "CRAM-MD5": ("cram", "CramMD5"),
    "PLAIN": ("plain", "Plain"),
    "LOGIN": ("plain", "Login"),
    "OAUTHBEARER": ("oauth", "OAuthBearer"),
    "XOAUTH2": ("oauth", "XOAuth2"),
    "EXTERNAL": ("external", "External"),
    "ANONYMOUS": ("external", "Anonymous"),
    "GSSAPI": ("gss", "GSSAPI"),
    "GSS-SPNEGO": ("gss", "Spnego"),
    "NTLM": ("gss", "NTLM"),
}


def check(mechanisms: Mechanisms | None) -> None:
    """Look whether all that the caller named are there.

    Raises:
        LocalProtocolError: one is not.
        TypeError: it is no sequence of names and classes.
    """
    if mechanisms is None:
        return
    if isinstance(mechanisms, str):
        raise LocalProtocolError(f"mechanisms={mechanisms!r}: give a sequence of names")
    if not isinstance(mechanisms, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _checks.complaint("mechanisms", mechanisms, "a list or tuple of names, or None")
    for mechanism in mechanisms:
        if not (isinstance(mechanism, str) or _makes_mechanisms(mechanism)):
            raise _checks.complaint("mechanisms", mechanism, "names, or classes of mechanisms")
        if isinstance(mechanism, str) and mechanism not in _HOMES:
            raise LocalProtocolError(
                f"mechanisms has {mechanism!r}, which is none of {', '.join(_HOMES)}"
            )
    if not mechanisms:
        raise LocalProtocolError("mechanisms is empty: name one, or leave it out")


def allowed(
    offered: Iterable[str], credentials: Credentials, mechanisms: Mechanisms | None = None
) -> list[MechanismFactory]:
    """Those of the server's mechanisms that may be tried, strongest first.

    ANONYMOUS, and those that go through pyspnego, are used only by a caller that names them.
    """
    if mechanisms is None:
        if credentials.token is not None:
            mechanisms = _FOR_TOKENS
        elif credentials.password is not None:
            mechanisms = STRONGEST_FIRST
        else:
            mechanisms = _FOR_NEITHER
    names = {name.upper() for name in offered}
    return [
        _named(mechanism) if isinstance(mechanism, str) else mechanism
        for mechanism in mechanisms
        if (mechanism if isinstance(mechanism, str) else mechanism.name) in names
    ]


def advice(offered: Iterable[str], credentials: Credentials) -> str:
    """What would do for a server of whose mechanisms none takes what was given."""
    names = {name.upper() for name in offered}
    if credentials.token is None and not names.isdisjoint(_FOR_TOKENS):
        return ": it wants a token, Credentials(user, token=…)"
    if credentials.password is None and not names.isdisjoint(STRONGEST_FIRST):
        return ": it wants a password, Credentials(user, password)"
    for name in _IF_NAMED:
        if name in names:
            return f": {name} is used where you name it, by mechanisms=[{name!r}]"
    return ""


def _makes_mechanisms(value: object) -> bool:
    return callable(value) and isinstance(getattr(value, "name", None), str)


def _named(name: str) -> MechanismFactory:
    home, kind = _HOMES[name]
    with loading(name):
        return cast("MechanismFactory", getattr(import_module(f"smtpx.sasl.{home}"), kind))
