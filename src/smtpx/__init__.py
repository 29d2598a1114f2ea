"""SMTP for Python, done right.

::

    import smtpx

    with smtpx.Client("submission://user:secret@mail.example.com") as client:
        result = client.send(message)

The public names are loaded when they are first used, so that importing smtpx costs next to
nothing; the modules that hold them can be imported by themselves just as well.
"""

from __future__ import annotations

TYPE_CHECKING = False  # known to type checkers; importing `typing` would cost more than all else
if TYPE_CHECKING:
    from smtpx._core.pool import CloseReason as CloseReason
    from smtpx._core.pool import PoolStatistics as PoolStatistics
    from smtpx._faces.aio import AsyncClient as AsyncClient
    from smtpx._faces.aio import AsyncSession as AsyncSession
    from smtpx._faces.aio import asend as asend
    from smtpx._faces.settings import SessionOptions as SessionOptions
    from smtpx._faces.sync import Client as Client
    from smtpx._faces.sync import Session as Session
    from smtpx._faces.sync import send as send
    from smtpx._version import __version__ as __version__
    from smtpx._wire.extensions import Extensions as Extensions
    from smtpx.addresses import Address as Address
    from smtpx.dialogue import Line as Line
    from smtpx.dialogue import Observer as Observer
    from smtpx.dialogue import Speaker as Speaker
    from smtpx.endpoints import Endpoint as Endpoint
    from smtpx.envelope import BodyType as BodyType
    from smtpx.envelope import DeliverBy as DeliverBy
    from smtpx.envelope import Envelope as Envelope
    from smtpx.envelope import Notify as Notify
    from smtpx.envelope import Recipient as Recipient
    from smtpx.envelope import Ret as Ret
    from smtpx.errors import AddressError as AddressError
    from smtpx.errors import AuthenticationRefused as AuthenticationRefused
    from smtpx.errors import ConnectionLost as ConnectionLost
    from smtpx.errors import ContentRefused as ContentRefused
    from smtpx.errors import EndpointError as EndpointError
    from smtpx.errors import ExtensionMissing as ExtensionMissing
    from smtpx.errors import GreetingRefused as GreetingRefused
    from smtpx.errors import HelloRefused as HelloRefused
    from smtpx.errors import LocalProtocolError as LocalProtocolError
    from smtpx.errors import RecipientsRefused as RecipientsRefused
    from smtpx.errors import RemoteProtocolError as RemoteProtocolError
    from smtpx.errors import ReplyError as ReplyError
    from smtpx.errors import SenderRefused as SenderRefused
    from smtpx.errors import SessionFull as SessionFull
    from smtpx.errors import SMTPError as SMTPError
    from smtpx.errors import TimedOut as TimedOut
    from smtpx.errors import TLSPolicyError as TLSPolicyError
    from smtpx.errors import TLSRefused as TLSRefused
    from smtpx.options import Limits as Limits
    from smtpx.options import PoolLimits as PoolLimits
    from smtpx.options import Timeouts as Timeouts
    from smtpx.proxy_protocol import ProxyHeader as ProxyHeader
    from smtpx.replies import EnhancedStatusCode as EnhancedStatusCode
    from smtpx.replies import Reply as Reply
    from smtpx.results import Outcome as Outcome
    from smtpx.results import SendResult as SendResult
    from smtpx.results import Status as Status
    from smtpx.sasl import Credentials as Credentials
    from smtpx.tls import Protection as Protection
    from smtpx.tls import TLSMode as TLSMode
    from smtpx.tls import TLSPolicy as TLSPolicy

_HOMES = {
    "_core.pool": "CloseReason PoolStatistics",
    "_faces.aio": "AsyncClient AsyncSession asend",
    "_faces.settings": "SessionOptions",
    "_faces.sync": "Client Session send",
    "_version": "__version__",
    "_wire.extensions": "Extensions",
    "addresses": "Address",
    "dialogue": "Line Observer Speaker",
    "endpoints": "Endpoint",
    "envelope": "BodyType DeliverBy Envelope Notify Recipient Ret",
    "errors": "AddressError AuthenticationRefused ConnectionLost ContentRefused EndpointError "
    "ExtensionMissing GreetingRefused HelloRefused LocalProtocolError RecipientsRefused "
    "RemoteProtocolError ReplyError SMTPError SenderRefused SessionFull TLSPolicyError TLSRefused "
    "TimedOut",
    "options": "Limits PoolLimits Timeouts",
    "proxy_protocol": "ProxyHeader",
    "replies": "EnhancedStatusCode Reply",
    "results": "Outcome SendResult Status",
    "sasl": "Credentials",
    "tls": "Protection TLSMode TLSPolicy",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Address",
    "AddressError",
    "AsyncClient",
    "AsyncSession",
    "AuthenticationRefused",
    "BodyType",
    "Client",
    "CloseReason",
    "ConnectionLost",
    "ContentRefused",
    "Credentials",
    "DeliverBy",
    "Endpoint",
    "EndpointError",
    "EnhancedStatusCode",
    "Envelope",
    "ExtensionMissing",
    "Extensions",
    "GreetingRefused",
    "HelloRefused",
    "Limits",
    "Line",
    "LocalProtocolError",
    "Notify",
    "Observer",
    "Outcome",
    "PoolLimits",
    "PoolStatistics",
    "Protection",
    "ProxyHeader",
    "Recipient",
    "RecipientsRefused",
    "RemoteProtocolError",
    "Reply",
    "ReplyError",
    "Ret",
    "SMTPError",
    "SendResult",
    "SenderRefused",
    "Session",
    "SessionFull",
    "SessionOptions",
    "Speaker",
    "Status",
    "TLSMode",
    "TLSPolicy",
    "TLSPolicyError",
    "TLSRefused",
    "TimedOut",
    "Timeouts",
    "__version__",
    "asend",
    "send",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'smtpx' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"smtpx.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
