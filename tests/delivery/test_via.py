"""An outbox that sends by a `Delivery`: each domain by its own exchangers."""

from __future__ import annotations

import asyncio
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trio

import smtpx
from smtpx import AsyncOutbox, Outbox
from smtpx.delivery import AsyncDelivery, Delivery, NameServers
from smtpx.testing import NameServer, Server
from tests.delivery.conftest import LOOPBACK

ZONE = """
good.test MX 1 a.test.
null.test MX 0 .
down.test MX 1 b.test.
a.test A 127.0.0.1
b.test A 127.0.0.9
"""

pytestmark = pytest.mark.timeout(60)


def to(domain: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "ann@example.org", f"bob@{domain}"
    message.set_content("hello\n")
    return message


def options(dns: NameServer, server: Server) -> dict[str, Any]:
    return {
        "client_name": "mail.example.org",
        "resolver": NameServers("127.0.0.1", port=dns.port),
        "port": server.port,
        "addresses": LOOPBACK,
    }


def states(outbox: Any, ids: list[Any]) -> dict[str, str]:
    deliveries = [one for id in ids for one in outbox.status(id).deliveries]
    return {str(one.recipient).partition("@")[2]: one.state.name for one in deliveries}


EXPECTED = {
    "good.test": "ACCEPTED",
    "null.test": "REFUSED",
    "gone.test": "REFUSED",
    "down.test": "WAITING",
}


@pytest.mark.parametrize("world", ["thread", "asyncio", "trio"])
def test_an_outbox_sends_by_a_delivery(tmp_path: Path, world: str):
    path = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    with Server() as server, NameServer(ZONE) as dns:
        with Outbox(path) as outbox:
            ids = [outbox.put(to(domain)) for domain in EXPECTED]
            if world == "thread":
                with Delivery(**options(dns, server)) as delivery:
                    for id in ids:
                        outbox.deliver(id, delivery)
            else:

                async def deliver() -> None:
                    async with (
                        AsyncOutbox(path) as twin,
                        AsyncDelivery(**options(dns, server)) as delivery,
                    ):
                        for id in ids:
                            await twin.deliver(id, delivery)

                _ = asyncio.run(deliver()) if world == "asyncio" else trio.run(deliver)
            assert states(outbox, ids) == EXPECTED
            (null,) = outbox.status(ids[1]).deliveries
            assert "null.test refused: " in null.reason  # No server has said anything.
        assert len(server.messages) == 1


def test_what_waits_goes_when_its_host_is_back(tmp_path: Path):
    path = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    with NameServer("good.test MX 1 a.test.\na.test A 127.0.0.1") as dns:
        with Server() as server:
            port = server.port
        with Outbox(path) as outbox:
            id = outbox.put(to("good.test"))
            servers = NameServers("127.0.0.1", port=dns.port)
            with Delivery(
                "mail.example.org", resolver=servers, port=port, addresses=LOOPBACK
            ) as delivery:
                outbox.deliver(id, delivery)
                (waiting,) = outbox.status(id).deliveries
                assert waiting.state is smtpx.outbox.State.WAITING
                assert "a.test [127.0.0.1]" in str(waiting.reason)


def test_a_worker_sends_by_a_delivery(tmp_path: Path):
    """What waits for a host that is down stays, and stands in nobody's way."""
    path = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    with Server() as server, NameServer(ZONE) as dns, Outbox(path) as outbox:
        ids = [outbox.put(to(domain)) for domain in [*EXPECTED, "good.test", "good.test"]]
        with Delivery(**options(dns, server)) as delivery:
            outbox.run(delivery, until_empty=True)
        assert states(outbox, ids) == EXPECTED
        assert len(server.messages) == 3
        (down,) = outbox.status(ids[3]).deliveries
        assert (down.attempts, "b.test" in down.reason) == (0, True), "its host is held back"
