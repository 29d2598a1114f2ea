"""SASL without I/O (RFC 4422): who we are, and how it is shown to the server.

`Credentials` say who we are. A mechanism is one class of a small file; its name is the one that
the server offers. Which of them is used is decided in `smtpx.sasl.choice`: the strongest that
both sides have, or those that the caller names in ``mechanisms=``::

    smtpx.Client(url, credentials=smtpx.Credentials("ann", password), mechanisms=sasl.HASHED)

A mechanism of your own is a class with the attributes and methods of `Mechanism`, called with the
credentials and the `Channel`, and named in ``mechanisms=`` like the others.
"""

from __future__ import annotations

TYPE_CHECKING = False  # known to type checkers; as in smtpx itself
if TYPE_CHECKING:
    from smtpx.sasl.choice import HASHED as HASHED
    from smtpx.sasl.choice import MUTUAL as MUTUAL
    from smtpx.sasl.choice import STRONGEST_FIRST as STRONGEST_FIRST
    from smtpx.sasl.cram import CramMD5 as CramMD5
    from smtpx.sasl.credentials import Credentials as Credentials
    from smtpx.sasl.credentials import Source as Source
    from smtpx.sasl.external import Anonymous as Anonymous
    from smtpx.sasl.external import External as External
    from smtpx.sasl.gss import GSSAPI as GSSAPI
    from smtpx.sasl.gss import NTLM as NTLM
    from smtpx.sasl.gss import Spnego as Spnego
    from smtpx.sasl.mechanism import Channel as Channel
    from smtpx.sasl.mechanism import Mechanism as Mechanism
    from smtpx.sasl.mechanism import MechanismFactory as MechanismFactory
    from smtpx.sasl.oauth import OAuthBearer as OAuthBearer
    from smtpx.sasl.oauth import XOAuth2 as XOAuth2
    from smtpx.sasl.plain import Login as Login
    from smtpx.sasl.plain import Plain as Plain
    from smtpx.sasl.scram import ScramSHA1 as ScramSHA1
    from smtpx.sasl.scram import ScramSHA1Plus as ScramSHA1Plus
    from smtpx.sasl.scram import ScramSHA256 as ScramSHA256
    from smtpx.sasl.scram import ScramSHA256Plus as ScramSHA256Plus
    from smtpx.sasl.scram import ScramSHA512 as ScramSHA512
    from smtpx.sasl.scram import ScramSHA512Plus as ScramSHA512Plus

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

__all__ = [
    "GSSAPI",
    "HASHED",
    "MUTUAL",
    "NTLM",
    "STRONGEST_FIRST",
    "Anonymous",
    "Channel",
    "CramMD5",
    "Credentials",
    "External",
    "Login",
    "Mechanism",
    "MechanismFactory",
    "OAuthBearer",
    "Plain",
    "ScramSHA1",
    "ScramSHA1Plus",
    "ScramSHA256",
    "ScramSHA256Plus",
    "ScramSHA512",
    "ScramSHA512Plus",
    "Source",
    "Spnego",
    "XOAuth2",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'smtpx.sasl' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"smtpx.sasl.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
