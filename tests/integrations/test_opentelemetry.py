"""Spans and metrics, as OpenTelemetry's own SDK collects them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import smtpx
from smtpx import Envelope
from smtpx.integrations.opentelemetry import Telemetry
from smtpx.testing import Refuse, Server

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", ["bob@example.net", "carol@example.net"])


class Collected:
    """What one observer has made."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self._meters = MeterProvider([self._reader])
        self.telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=self._meters)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def close(self) -> None:
        self.tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
def collected() -> Iterator[Collected]:
    collected = Collected()
    yield collected
    collected.close()


def told(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def test_a_message_is_a_span_of_who_sends_it(collected: Collected) -> None:
    tracer = collected.tracers.get_tracer("app")
    with Server(refuse_recipients={"carol@example.net": "550 no"}) as server:
        port = server.port
        with (
            tracer.start_as_current_span("order"),
            smtpx.Client(server.url, observer=collected.telemetry) as client,
        ):
            _ = client.send(CONTENT, ENVELOPE)
    connect, send, order = collected.spans
    assert [span.name for span in collected.spans] == ["smtp connect", "smtp send", "order"]
    assert connect.parent is not None
    assert send.parent is not None
    assert connect.parent.span_id == send.parent.span_id == order.context.span_id
    where = {"server.address": "127.0.0.1", "server.port": port, "url.scheme": "smtp"}
    assert told(connect) == where
    counts = {"smtp.accepted": 1, "smtp.refused": 1, "smtp.in_doubt": 0, "smtp.not_tried": 0}
    assert told(send) == {**where, **counts, "smtp.recipients": 2}
    assert send.status.is_unset
    operations = {
        point.attributes["network.operation"]: point.value
        for point in collected.points("smtpx.client.operation.count")
    }
    assert operations == {"connect": 1, "send": 1}
    durations = collected.points("smtpx.client.operation.duration")
    assert [point.count for point in durations] == [1, 1]
    (connected,) = collected.points("smtpx.client.connection.duration")
    assert connected.count == 1


def test_what_fails_says_why(collected: Collected) -> None:
    with Server(faults=[Refuse("MAIL", "550 5.7.1 not you")]) as server:
        with (
            smtpx.Session(server.url, observer=collected.telemetry) as session,
            pytest.raises(smtpx.SenderRefused),
        ):
            _ = session.send(CONTENT, ENVELOPE)
        url = server.url
    with pytest.raises(smtpx.ConnectionLost):
        _ = smtpx.send(CONTENT, url, envelope=ENVELOPE, observer=collected.telemetry)
    _, send, connect = collected.spans
    assert told(send)["error.type"] == "550"
    assert not send.status.is_ok
    assert told(connect)["error.type"] == "connection_lost"


def test_streamed_messages_overlap_and_none_is_left_open(collected: Collected) -> None:
    messages = [(CONTENT, Envelope(f"s{i}@x.test", "bob@example.net")) for i in range(10)]
    enough = Refuse("MAIL", "421 4.3.2 enough", nth=4, session=1)
    with (
        Server(faults=[enough]) as server,
        smtpx.Client(server.url, observer=collected.telemetry) as client,
    ):
        assert len(list(client.send_many(messages, window=4))) == 10
    accepted = [span for span in collected.spans if told(span).get("smtp.accepted") == 1]
    assert len(accepted) == 10
    put_back = [span for span in collected.spans if told(span).get("error.type") == "not_tried"]
    sends = [span for span in collected.spans if span.name == "smtp send"]
    assert len(put_back) > 0
    assert len(sends) == len(accepted) + len(put_back)
    assert not any(span.status.is_ok or span.status.is_unset for span in put_back)
    assert {told(span)["smtp.not_tried"] for span in put_back} == {1}
    counted = [
        point
        for point in collected.points("smtpx.client.operation.count")
        if point.attributes["network.operation"] == "send"
    ]
    assert sum(point.value for point in counted) == 10
