"""SASL without I/O (RFC 4422): who we are, and how it is shown to the server.

`Credentials` say who we are. A mechanism is one class of a small file; its name is the one that
the server offers. Which of them is used is decided in `smtpx.sasl.choice`: the strongest that
both sides have, or those that the caller names in ``mechanisms=``::

    smtpx.Client(url, credentials=smtpx.Credentials("ann", password), mechanisms=sasl.HASHED)

A mechanism of your own is a class with the attributes and methods of `Mechanism`. It is called with
the credentials and the `Channel`, and named in ``mechanisms=`` like the others.
"""

from __future__ import annotations

_HOMES = {
    "choice": "HASHED MUTUAL STRONGEST_FIRST",
    "cram": "CramMD5",
    "credentials": "Credentials Source",
    "external": "Anonymous External",
    "gss": "GSSAPI NTLM Spnego",
    "mechanism": "Channel Mechanism MechanismFactory",
    "oauth": "OAuthBearer XOAuth2",
    "plain": "Login Plain",
    "scram": "ScramSHA1 ScramSHA1Plus ScramSHA256 ScramSHA256Plus ScramSHA512 ScramSHA512Plus",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll] - the stub has them


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'smtpx.sasl' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"smtpx.sasl.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
