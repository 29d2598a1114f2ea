"""Spans and metrics of OpenTelemetry, from what an observer is told (`smtpx[opentelemetry]`).

There is no semantic convention for SMTP. Names and attributes follow those of MailKit where they
fit; units and error types are those of OpenTelemetry (seconds, ``error.type``). No address, subject
or content is told.

======================================  =========  ==============================================
``smtpx.client.operation.count``        counter    by ``network.operation``: ``connect``, ``send``
``smtpx.client.operation.duration``     histogram  seconds, by the same
``smtpx.client.connection.duration``    histogram  seconds from the first look-up to the end
======================================  =========  ==============================================

A span is named ``smtp connect`` or ``smtp send``; one of the latter counts its recipients. Each
has ``server.address``, ``server.port`` and ``url.scheme``. One that failed has ``error.type``: the
reply code, or a word such as ``timed_out``, ``connection_lost`` or ``cancelled``, or else the name
of the exception. A session that ends may leave messages untaken: each of these spans failed, by
``not_tried``. What another session sends of them has a span there, and is counted once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from smtpx import _checks
from smtpx.errors import ExtraMissing

try:
    from opentelemetry.metrics import MeterProvider, get_meter
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider, get_tracer
except ImportError as error:
    raise ExtraMissing(
        "opentelemetry", "OpenTelemetry", "smtpx.integrations.opentelemetry"
    ) from error

from smtpx import __version__
from smtpx.endpoints import Endpoint
from smtpx.errors import (
    ConnectionLost,
    RemoteProtocolError,
    ReplyError,
    TimedOut,
    TLSPolicyError,
)
from smtpx.observing import (
    Event,
    MessageBegun,
    MessageEnded,
    SessionBegun,
    SessionClosed,
    SessionOpened,
)
from smtpx.results import SendResult
from smtpx.tls import TLSMode

__all__ = ["Telemetry"]

_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (TimedOut, "timed_out"),
    (ConnectionLost, "connection_lost"),
    (RemoteProtocolError, "invalid_response"),
    (TLSPolicyError, "secure_connection_error"),
)


@dataclass(slots=True)
class _Operation:
    span: Span
    began: float
    recipients: int = 0


@dataclass(slots=True)
class _Session:
    attributes: dict[str, str | int]
    began: float
    opening: _Operation | None
    """Until it is open."""
    messages: dict[int, _Operation] = field(default_factory=lambda: dict[int, _Operation]())


class Telemetry:
    """An observer that makes spans and metrics; one may serve any number of clients.

    ::

        client = smtpx.Client("submission://mail.example.com", observer=Telemetry())

    By default it uses the providers that OpenTelemetry has been set up with.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        _check_provider("tracer_provider", tracer_provider, TracerProvider)
        _check_provider("meter_provider", meter_provider, MeterProvider)
        self._tracer = get_tracer("smtpx", __version__, tracer_provider)
        meter = get_meter("smtpx", __version__, meter_provider)
        self._count = meter.create_counter(
            "smtpx.client.operation.count", "{operation}", "Operations on a mail server"
        )
        self._duration = meter.create_histogram(
            "smtpx.client.operation.duration", "s", "How long an operation took"
        )
        self._connected = meter.create_histogram(
            "smtpx.client.connection.duration", "s", "How long a connection was open"
        )
        self._sessions: dict[int, _Session] = {}

    def __call__(self, event: Event) -> None:
        """Take an event."""
        match event:
            case SessionBegun(number, endpoint):
                attributes = _attributes(endpoint)
                opening = self._begin("connect", attributes)
                self._sessions[number] = _Session(attributes, opening.began, opening)
            case SessionOpened(number):
                session = self._sessions[number]
                if session.opening is not None:
                    self._end("connect", session, session.opening, None)
                    session.opening = None
            case MessageBegun(number, message, envelope):
                session = self._sessions[number]
                operation = self._begin("send", session.attributes)
                operation.recipients = len(envelope.recipients)
                operation.span.set_attribute("smtp.recipients", operation.recipients)
                session.messages[message] = operation
            case MessageEnded(number, message, result):
                session = self._sessions[number]
                operation = session.messages.pop(message)
                for name, value in _counts(result):
                    operation.span.set_attribute(name, value)
                self._end("send", session, operation, result.error)
            case SessionClosed(number, _, _, error):
                self._close(self._sessions.pop(number), error)
            case _:
                pass  # The dialogue itself is for logs.

    def _begin(self, name: str, attributes: dict[str, str | int]) -> _Operation:
        span = self._tracer.start_span(
            f"smtp {name}", kind=SpanKind.CLIENT, attributes=dict(attributes)
        )
        return _Operation(span, time.monotonic())

    def _end(
        self, name: str, session: _Session, operation: _Operation, error: BaseException | None
    ) -> None:
        attributes = {**session.attributes, "network.operation": name}
        if error is not None:
            attributes["error.type"] = kind = _kind_of(error)
            _fail(operation.span, kind)
        operation.span.end()
        self._count.add(1, attributes)
        self._duration.record(time.monotonic() - operation.began, attributes)

    def _close(self, session: _Session, error: BaseException | None) -> None:
        if session.opening is not None:
            self._end("connect", session, session.opening, error)
        else:
            self._connected.record(time.monotonic() - session.began, session.attributes)
        for operation in session.messages.values():
            # Another session sends it, if any does: in a span of its own, and only that is counted.
            _fail(operation.span, "not_tried")
            operation.span.set_attribute("smtp.not_tried", operation.recipients)
            operation.span.end()


def _check_provider(name: str, provider: object, kind: type) -> None:
    if not (provider is None or isinstance(provider, kind)):
        raise _checks.complaint(name, provider, f"a {kind.__name__} or None")


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, kind))


def _attributes(endpoint: Endpoint) -> dict[str, str | int]:
    if endpoint.path:
        return {"server.address": endpoint.path, "url.scheme": "lmtp+unix"}
    scheme = "smtps" if endpoint.tls is TLSMode.IMPLICIT else "smtp"
    return {
        "server.address": endpoint.host,
        "server.port": endpoint.port,
        "url.scheme": "lmtp" if endpoint.lmtp else scheme,
    }


def _counts(result: SendResult) -> tuple[tuple[str, int], ...]:
    return (
        ("smtp.accepted", len(result.accepted)),
        ("smtp.refused", len(result.refused)),
        ("smtp.in_doubt", len(result.in_doubt)),
        ("smtp.not_tried", len(result.not_tried)),
    )


def _kind_of(error: BaseException) -> str:
    if isinstance(error, ReplyError):
        return str(error.reply.code)
    for kind, name in _KINDS:
        if isinstance(error, kind):
            return name
    name = type(error).__name__
    return "cancelled" if name in ("CancelledError", "Cancelled", "KeyboardInterrupt") else name
