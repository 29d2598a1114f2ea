"""The public names of `smtpx.sasl`, for editors and type checkers."""

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
