"""A message that one mail exchanger cannot take, and another one can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smtpx import Envelope, LimitExceeded, Outbox, Status
from smtpx.delivery import Delivery, DeliveryFailed, Failure, NameServers
from smtpx.outbox import State
from smtpx.testing import USUAL_EXTENSIONS, Extension
from tests.delivery.conftest import LOOPBACK
from tests.delivery.test_delivery import HOSTS, a_pair, outcomes_of, zone

BOB = Envelope("ann@example.org", "bob@example.net")

pytestmark = pytest.mark.timeout(60)

HEADER_OF_8_BITS = b"Subject: \xc3\xa4\r\n\r\nhello\r\n"
SIGNED_8_BITS = b"DKIM-Signature: v=1\r\n\r\nh\xc3\xa4llo\r\n"
LARGE = b"Subject: hi\r\n\r\n" + b"hello\r\n" * 100
SEVEN_BIT: dict[str, Any] = {"extensions": USUAL_EXTENSIONS - {Extension.EIGHT_BIT_MIME}}
UNFIT: dict[str, tuple[bytes, dict[str, Any], Failure, str]] = {
    "large": (LARGE, {"size_limit": 100}, Failure.TOO_LARGE, "5.3.4"),
    "8-bit header": (HEADER_OF_8_BITS, SEVEN_BIT, Failure.NO_EXTENSION, "5.6.3"),
    "signed": (SIGNED_8_BITS, SEVEN_BIT, Failure.NO_EXTENSION, "5.6.3"),
}


@pytest.mark.parametrize("why", UNFIT)
def test_what_the_best_host_cannot_take_goes_to_the_next(world, why: str):
    content, lacking, failure, code = UNFIT[why]
    with zone(*HOSTS) as dns, a_pair(lacking) as (here, there):
        (outcome,) = world(dns, port=here.port).send(content, BOB).outcomes
        assert (outcome.host, outcome.status) == ("b.example.net", Status.ACCEPTED)
        assert [isinstance(one.error, LimitExceeded) for one in outcome.attempts] == [True, False]
        assert (len(here.messages), len(there.messages)) == (0, 1)
    with zone(*HOSTS) as dns, a_pair(lacking, lacking) as (here, there):
        with pytest.raises(DeliveryFailed) as caught:
            world(dns, port=here.port).send(content, BOB)
        assert caught.value.failure is failure
        (outcome,) = outcomes_of(caught.value)
        assert (outcome.status, outcome.failure) == (Status.REFUSED, failure)
        assert (str(outcome.enhanced), outcome.retryable) == (code, False)


@pytest.mark.parametrize("why", UNFIT)
def test_an_outbox_does_not_try_for_days_what_no_host_can_take(tmp_path: Path, why: str):
    content, lacking, _, code = UNFIT[why]
    path = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    seconds: list[tuple[dict[str, Any], State]] = [({}, State.ACCEPTED), (lacking, State.REFUSED)]
    for second, state in seconds:
        with zone(*HOSTS) as dns, a_pair(lacking, second) as (here, _), Outbox(path) as outbox:
            id = outbox.put(content, BOB)
            servers = NameServers("127.0.0.1", port=dns.port)
            with Delivery(
                "mail.example.org", resolver=servers, port=here.port, addresses=LOOPBACK
            ) as delivery:
                outbox.run(delivery, until_empty=True)
            (told,) = outbox.status(id).deliveries
            assert told.state is state
            assert state is State.ACCEPTED or told.reason.endswith(f"({code})")
