"""Interrupted at any point of a delivery: what is told is true, and who comes next is served."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import smtpx
from smtpx import Envelope, Status
from smtpx.delivery import Delivery, DeliveryLimits, DeliveryResult, NameServers
from smtpx.observing import Event, Line
from smtpx.testing import NameServer, Server
from tests.delivery.conftest import LOOPBACK
from tests.interruptions.points import Points
from tests.interruptions.subjects import in_time

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ZONE = "a.test MX 1 mx.test.\nb.test MX 1 mx.test.\nmx.test A 127.0.0.1"
STRUCK = [
    f"smtpx.delivery.{name}"
    for name in ("blocking", "_walking", "_sessions", "_places", "_attempts", "_standing")
]
DIALLING = [
    *("smtpx.sansio", "smtpx._drivers.dialling", "smtpx._drivers.racing"),
    *("smtpx.delivery._sessions", "smtpx.delivery._attempts"),
]
_SLOWLY = [
    pytest.param(points, marks=pytest.mark.slow)
    for points in (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
]
NO = (Status.REFUSED, Status.NOT_TRIED)

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("nothing_is_kept_of_an_interrupted_finaliser"),
    # What was to be returned when it was interrupted is closed when nobody has it any more.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Interruption(BaseException):
    """What a signal handler raises."""


def interrupt() -> None:
    raise Interruption


def _is_of_the_delivery(frame: FrameType) -> bool:
    """Those of what it is made of have tests of their own."""
    return frame.f_globals.get("__name__", "") in STRUCK


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return bool(name.startswith("smtpx.") and not name.startswith("smtpx.testing."))


def _dials(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "") in DIALLING


class Call:
    """One delivery, interrupted at its so-manieth point, if it has so many."""

    def __init__(
        self,
        server: Server,
        dns: NameServer,
        at: int,
        again: int = 0,
        counts: Callable[[FrameType], bool] | None = None,
    ) -> None:
        counts = counts or (_is_ours if again else _is_of_the_delivery)
        self._points = Points(at, interrupt, counts, again)
        self._server = server
        self._options: dict[str, Any] = {
            "resolver": NameServers("127.0.0.1", port=dns.port),
            "port": server.port,
            "addresses": LOOPBACK,
            "limits": DeliveryLimits(address=1, wait=0.5),
        }
        self._sender = f"s{at}.{again}@x.test"

    @property
    def happened(self) -> bool:
        return self._points.happened

    def faults(self) -> list[str]:
        """What it tells that does not hold, and what it has lost for who comes next."""
        with Delivery("mail.example.org", **self._options) as delivery:
            wrong = self._untrue(delivery)
            # The same address; nobody that holds its place is there any more.
            after = Envelope("after@x.test", "eve@a.test")
            return wrong + in_time(lambda: delivery.send(CONTENT, after))

    def told_wrongly(self) -> list[str]:
        """What it tells that does not hold."""
        with Delivery("mail.example.org", **self._options) as delivery:
            return self._untrue(delivery)

    def _untrue(self, delivery: Delivery) -> list[str]:
        envelope = Envelope(self._sender, ["bob@a.test", "bob@b.test"])
        result: DeliveryResult | None = None
        try:
            result = self._points.run(lambda: delivery.send(CONTENT, envelope))
        except (Interruption, smtpx.SMTPError) as error:
            result = vars(error).get("result")
        taken = {
            recipient
            for message in self._server.messages
            if message.sender == self._sender
            for recipient in message.recipients
        }
        if result is None:
            return [f"{taken} have it, and nothing is told"] if taken else []
        return [
            str(outcome)
            for outcome in result.outcomes
            if outcome.status in NO and str(outcome.recipient) in taken
        ]


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.slow)])
def test_what_is_told_is_true_and_no_place_is_lost(step: int) -> None:
    at, wrong = 1, list[str]()
    with Server() as server, NameServer(ZONE) as dns:
        _ = Call(server, dns, 0).faults()  # What is imported late is imported now.
        while True:
            call = Call(server, dns, at)
            wrong += [f"at {at}: {fault}" for fault in call.faults()]
            if not call.happened:
                break
            at += step
    assert wrong == []
    assert at > 5 * step


def test_no_connection_is_left_to_the_collector() -> None:
    """Struck once, whoever dials closes what is there by then."""
    at, left = 1, list[str]()
    with Server() as server, NameServer(ZONE) as dns, warnings.catch_warnings(record=True) as heard:
        _ = Call(server, dns, 0).faults()
        while True:
            heard.clear()
            warnings.simplefilter("always")
            call = Call(server, dns, at, counts=_dials)
            _ = call.told_wrongly()
            left += [f"at {at}: {one.message}" for one in heard]
            if not call.happened:
                break
            at += 1
    assert left == []
    assert at > 100


@pytest.mark.parametrize("again", [3, *_SLOWLY])
def test_what_is_told_to_the_impatient_is_true(again: int) -> None:
    """A second Ctrl-C strikes what the first one had us do."""
    at, wrong = 1 + again, list[str]()
    with Server() as server, NameServer(ZONE) as dns:
        _ = Call(server, dns, 0).faults()
        while True:
            call = Call(server, dns, at, again)
            wrong += [f"at {at}: {fault}" for fault in call.told_wrongly()]
            if not call.happened:
                break
            at += 17
    assert wrong == []
    assert at > 170


def test_what_hangs_on_an_interruption_is_of_the_domain_that_was_its_turn() -> None:
    """And not of one before, whose content could not be signed."""
    signed: list[bytes] = []

    def sign(content: bytes) -> bytes:
        signed.append(content)
        if len(signed) == 1:
            raise ValueError("the key is away")
        return content

    def observe(event: Event) -> None:
        if isinstance(event, Line) and event.text.startswith("250 2.1.5"):
            raise Interruption

    options: dict[str, Any] = {"signer": sign, "observer": observe, "addresses": LOOPBACK}
    envelope = Envelope("s@x.test", ["bob@a.test", "eve@b.test"])
    with Server() as server, NameServer(ZONE) as dns:
        servers = NameServers("127.0.0.1", port=dns.port)
        delivery = Delivery("x.example.org", resolver=servers, port=server.port, **options)
        with delivery, pytest.raises(Interruption) as caught:
            delivery.send(CONTENT, envelope)
    result = vars(caught.value)["result"]
    assert [str(one.recipient) for one in result.outcomes] == ["bob@a.test", "eve@b.test"]
    assert result.outcomes[0].status is Status.NOT_TRIED
