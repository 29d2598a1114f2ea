"""The public names of smtpx, for editors and type checkers: at run time they are loaded lazily."""

from smtpx import bounces as bounces
from smtpx import delivery as delivery
from smtpx import outbox as outbox
from smtpx import sasl as sasl
from smtpx import services as services
from smtpx import testing as testing
from smtpx import verp as verp
from smtpx._envelope_options import EnvelopeOptions as EnvelopeOptions
from smtpx._faces.asynchronous.client import AsyncClient as AsyncClient
from smtpx._faces.asynchronous.client import asend as asend
from smtpx._faces.asynchronous.session import AsyncSession as AsyncSession
from smtpx._faces.blocking.client import Client as Client
from smtpx._faces.blocking.client import send as send
from smtpx._faces.blocking.session import Session as Session
from smtpx._faces.keywords import SessionOptions as SessionOptions
from smtpx._version import __version__ as __version__
from smtpx._wire.extensions import Extensions as Extensions
from smtpx.addresses import Address as Address
from smtpx.checking import check as check
from smtpx.composing import Attachment as Attachment
from smtpx.composing import compose as compose
from smtpx.composing import plain_text as plain_text
from smtpx.delivery.asynchronous import AsyncDelivery as AsyncDelivery
from smtpx.delivery.blocking import Delivery as Delivery
from smtpx.delivery.blocking import deliver as deliver
from smtpx.endpoints import Endpoint as Endpoint
from smtpx.envelope import BodyType as BodyType
from smtpx.envelope import DeliverBy as DeliverBy
from smtpx.envelope import Envelope as Envelope
from smtpx.envelope import Notify as Notify
from smtpx.envelope import Recipient as Recipient
from smtpx.envelope import Ret as Ret
from smtpx.errors import AddressError as AddressError
from smtpx.errors import AuthenticationRefused as AuthenticationRefused
from smtpx.errors import CheckFailed as CheckFailed
from smtpx.errors import ConnectionLost as ConnectionLost
from smtpx.errors import ContentRefused as ContentRefused
from smtpx.errors import EndpointError as EndpointError
from smtpx.errors import ExtensionMissing as ExtensionMissing
from smtpx.errors import ExtraMissing as ExtraMissing
from smtpx.errors import GreetingRefused as GreetingRefused
from smtpx.errors import HelloRefused as HelloRefused
from smtpx.errors import LimitExceeded as LimitExceeded
from smtpx.errors import LocalProtocolError as LocalProtocolError
from smtpx.errors import MalformedReply as MalformedReply
from smtpx.errors import MarkRefused as MarkRefused
from smtpx.errors import RecipientsRefused as RecipientsRefused
from smtpx.errors import RemoteProtocolError as RemoteProtocolError
from smtpx.errors import ReplyError as ReplyError
from smtpx.errors import SenderRefused as SenderRefused
from smtpx.errors import SessionFull as SessionFull
from smtpx.errors import SignerFailed as SignerFailed
from smtpx.errors import SMTPError as SMTPError
from smtpx.errors import TimedOut as TimedOut
from smtpx.errors import TLSFailure as TLSFailure
from smtpx.errors import TLSPolicyError as TLSPolicyError
from smtpx.errors import TLSRefused as TLSRefused
from smtpx.findings import Finding as Finding
from smtpx.findings import Rule as Rule
from smtpx.findings import Severity as Severity
from smtpx.marking import Alone as Alone
from smtpx.marking import Mark as Mark
from smtpx.mending import mend as mend
from smtpx.merging import Template as Template
from smtpx.messages import flatten as flatten
from smtpx.observing import Event as Event
from smtpx.observing import Line as Line
from smtpx.observing import MessageBegun as MessageBegun
from smtpx.observing import MessageEnded as MessageEnded
from smtpx.observing import Observer as Observer
from smtpx.observing import Protected as Protected
from smtpx.observing import SessionBegun as SessionBegun
from smtpx.observing import SessionClosed as SessionClosed
from smtpx.observing import SessionOpened as SessionOpened
from smtpx.observing import Speaker as Speaker
from smtpx.options import Check as Check
from smtpx.options import Limits as Limits
from smtpx.options import PoolLimits as PoolLimits
from smtpx.options import Timeouts as Timeouts
from smtpx.outbox import AsyncOutbox as AsyncOutbox
from smtpx.outbox import Outbox as Outbox
from smtpx.pausing import NOTHING_YET as NOTHING_YET
from smtpx.pins import Pin as Pin
from smtpx.pins import PinKind as PinKind
from smtpx.pooling import CloseReason as CloseReason
from smtpx.pooling import PoolStatistics as PoolStatistics
from smtpx.proxy_protocol import ProxyHeader as ProxyHeader
from smtpx.replies import EnhancedStatusCode as EnhancedStatusCode
from smtpx.replies import Reply as Reply
from smtpx.results import Outcome as Outcome
from smtpx.results import SendResult as SendResult
from smtpx.results import Status as Status
from smtpx.sasl.credentials import Credentials as Credentials
from smtpx.signing import DKIMKey as DKIMKey
from smtpx.signing import DKIMSigner as DKIMSigner
from smtpx.signing import Signer as Signer
from smtpx.tls import ClientCertificate as ClientCertificate
from smtpx.tls import Protection as Protection
from smtpx.tls import TLSMode as TLSMode
from smtpx.tls import TLSPolicy as TLSPolicy
from smtpx.tls import TLSVersion as TLSVersion
from smtpx.transcripts import Transcript as Transcript

__all__ = [
    "NOTHING_YET",
    "Address",
    "AddressError",
    "Alone",
    "AsyncClient",
    "AsyncDelivery",
    "AsyncOutbox",
    "AsyncSession",
    "Attachment",
    "AuthenticationRefused",
    "BodyType",
    "Check",
    "CheckFailed",
    "Client",
    "ClientCertificate",
    "CloseReason",
    "ConnectionLost",
    "ContentRefused",
    "Credentials",
    "DKIMKey",
    "DKIMSigner",
    "DeliverBy",
    "Delivery",
    "Endpoint",
    "EndpointError",
    "EnhancedStatusCode",
    "Envelope",
    "EnvelopeOptions",
    "Event",
    "ExtensionMissing",
    "Extensions",
    "ExtraMissing",
    "Finding",
    "GreetingRefused",
    "HelloRefused",
    "LimitExceeded",
    "Limits",
    "Line",
    "LocalProtocolError",
    "MalformedReply",
    "Mark",
    "MarkRefused",
    "MessageBegun",
    "MessageEnded",
    "Notify",
    "Observer",
    "Outbox",
    "Outcome",
    "Pin",
    "PinKind",
    "PoolLimits",
    "PoolStatistics",
    "Protected",
    "Protection",
    "ProxyHeader",
    "Recipient",
    "RecipientsRefused",
    "RemoteProtocolError",
    "Reply",
    "ReplyError",
    "Ret",
    "Rule",
    "SMTPError",
    "SendResult",
    "SenderRefused",
    "Session",
    "SessionBegun",
    "SessionClosed",
    "SessionFull",
    "SessionOpened",
    "SessionOptions",
    "Severity",
    "Signer",
    "SignerFailed",
    "Speaker",
    "Status",
    "TLSFailure",
    "TLSMode",
    "TLSPolicy",
    "TLSPolicyError",
    "TLSRefused",
    "TLSVersion",
    "Template",
    "TimedOut",
    "Timeouts",
    "Transcript",
    "__version__",
    "asend",
    "bounces",
    "check",
    "compose",
    "deliver",
    "delivery",
    "flatten",
    "mend",
    "outbox",
    "plain_text",
    "sasl",
    "send",
    "services",
    "testing",
    "verp",
]
