"""SMTP for Python, done right.

::

    import smtpx

    with smtpx.Client("submission://user:secret@mail.example.com") as client:
        result = client.send(message)

The public names are loaded when they are first used: importing smtpx costs next to nothing. The
modules that hold them can be imported by themselves just as well.
"""

from __future__ import annotations

_HOMES = {
    "_faces.asynchronous.client": "AsyncClient asend",
    "_faces.asynchronous.session": "AsyncSession",
    "_faces.blocking.client": "Client send",
    "_faces.blocking.session": "Session",
    "_envelope_options": "EnvelopeOptions",
    "_faces.keywords": "SessionOptions",
    "_version": "__version__",
    "_wire.extensions": "Extensions",
    "addresses": "Address",
    "bounces": "bounces",  # a module that is a name itself
    "checking": "check",
    "composing": "Attachment compose plain_text",
    "delivery": "delivery",
    "delivery.asynchronous": "AsyncDelivery",
    "delivery.blocking": "Delivery deliver",
    "endpoints": "Endpoint",
    "envelope": "BodyType DeliverBy Envelope Notify Recipient Ret",
    "errors": "AddressError AuthenticationRefused CheckFailed ConnectionLost ContentRefused "
    "EndpointError ExtensionMissing ExtraMissing GreetingRefused HelloRefused LimitExceeded "
    "LocalProtocolError MalformedReply MarkRefused RecipientsRefused RemoteProtocolError "
    "ReplyError SMTPError SenderRefused SessionFull SignerFailed TLSFailure "
    "TLSPolicyError TLSRefused TimedOut",
    "findings": "Finding Rule Severity",
    "marking": "Alone Mark",
    "mending": "mend",
    "merging": "Template",
    "observing": "Event Line MessageBegun MessageEnded Observer Protected SessionBegun "
    "SessionClosed SessionOpened Speaker",
    "messages": "flatten",
    "options": "Check Limits PoolLimits Timeouts",
    "outbox": "AsyncOutbox Outbox outbox",
    "pausing": "NOTHING_YET",
    "pins": "Pin PinKind",
    "pooling": "CloseReason PoolStatistics",
    "proxy_protocol": "ProxyHeader",
    "replies": "EnhancedStatusCode Reply",
    "results": "Outcome SendResult Status",
    "sasl": "sasl",
    "sasl.credentials": "Credentials",
    "services": "services",
    "signing": "DKIMKey DKIMSigner Signer",
    "testing": "testing",
    "tls": "ClientCertificate Protection TLSMode TLSPolicy TLSVersion",
    "transcripts": "Transcript",
    "verp": "verp",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll] - the stub has them


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'smtpx' has no attribute {name!r}")
    from importlib import import_module

    home = import_module(f"smtpx.{_HOME_OF[name]}")
    value = home if _HOME_OF[name] == name else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
