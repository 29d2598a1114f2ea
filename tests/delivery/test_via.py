"""An outbox that sends by a `Delivery`: each domain by its own exchangers."""

from __future__ import annotations

import asyncio
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from time import time
from typing import Any

import pytest
import trio

import smtpx
from smtpx import AsyncOutbox, Outbox, bounces
from smtpx.delivery import AsyncDelivery, Delivery, NameServers, TLSReports
from smtpx.delivery._tallies import Due, Tallies
from smtpx.delivery.tls_reports import AppliedPolicy, PolicyType
from smtpx.testing import Close, NameServer, Server, Stall
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
            assert null.reason == "null.test takes no mail: it has a null MX (5.1.10)"
            assert null.host == "", "no server has said anything"
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


def test_each_recipient_has_its_own_server_and_its_own_reason(tmp_path: Path):
    message = to("good.test")
    message.replace_header("To", ", ".join(f"bob@{domain}" for domain in EXPECTED))
    path = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    with (
        Server() as server,
        NameServer(ZONE) as dns,
        Outbox(path, bounces="postmaster@good.test") as outbox,
    ):
        id = outbox.put(message, smtpx.Envelope("ann@good.test", message["To"].split(", ")))
        with Delivery(**options(dns, server)) as delivery:
            outbox.run(delivery, until_empty=True)
        told = {one.recipient: one for one in outbox.status(id).deliveries}
        assert {name: one.host for name, one in told.items()} == {
            f"bob@{domain}": "a.test" if domain == "good.test" else "" for domain in EXPECTED
        }
        assert told["bob@null.test"].reason == "the domain takes no mail: it has a null MX (5.1.10)"
        assert told["bob@gone.test"].reason == "there is no such domain (5.1.2)"
        assert told["bob@down.test"].reason.startswith("b.test [127.0.0.9]")
        assert told["bob@down.test"].reason.endswith("could be spoken to (4.4.1)")
        found = [bounces.parse(each.content) for each in server.messages]
        (report,) = [each for each in found if isinstance(each, bounces.DeliveryReport)]
    assert [
        (one.recipient, str(one.status), one.reason, one.remote_mta) for one in report.recipients
    ] == [
        ("bob@null.test", "5.1.10", bounces.Reason.BAD_DOMAIN, None),
        ("bob@gone.test", "5.1.2", bounces.Reason.BAD_DOMAIN, None),
    ]
    assert report.recipients[1].diagnostic == bounces.Diagnostic(
        "x-smtpx", "there is no such domain (5.1.2)"
    )


def test_what_is_in_doubt_is_so_for_its_own_reason(tmp_path: Path):
    path = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    envelope = smtpx.Envelope("ann@good.test", ["x@gone.test", "bob@good.test"])
    with (
        Server(faults=[Close("END-OF-DATA")]) as server,
        NameServer(ZONE) as dns,
        Outbox(path) as outbox,
        Delivery(**options(dns, server)) as delivery,
    ):
        id = outbox.put(to("good.test"), envelope, on_doubt="hold")
        outbox.deliver(id, delivery)
        (gone, bob) = outbox.status(id).deliveries
    assert (bob.state, bob.host) == (smtpx.outbox.State.IN_DOUBT, "a.test")
    assert "gone.test" not in bob.reason
    assert gone.reason == "there is no such domain (5.1.2)"


class Counted:
    """Reports that are due, of two domains."""

    def __init__(self, tmp_path: Path) -> None:
        self.reports = TLSReports(tmp_path / "r.db", organization="x", contact="tls@x.test")
        with closing(Tallies(self.reports.path)) as tallies:
            for domain in ("good.test", "gone.test"):
                tallies.count(AppliedPolicy(PolicyType.NONE, domain), None, time() - 2 * 86400)

    @property
    def left(self) -> Due | None:
        with closing(Tallies(self.reports.path)) as tallies:
            return tallies.due(time() + 86400)


RUA = ZONE + '_smtp._tls.good.test TXT "v=TLSRPTv1; rua=mailto:tls@good.test"'


@pytest.mark.parametrize("world", ["thread", "asyncio", "trio"])
def test_a_worker_sends_tls_reports(tmp_path: Path, world: str):
    counted = Counted(tmp_path)
    path = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    with Server() as server, NameServer(RUA) as dns, Outbox(path) as outbox:
        given = options(dns, server) | {"reports": counted.reports}
        if world == "thread":
            with Delivery(**given) as delivery:
                outbox.run(delivery, until_empty=True)
        else:

            async def run() -> None:
                async with AsyncOutbox(path) as twin, AsyncDelivery(**given) as delivery:
                    await twin.run(delivery, until_empty=True)

            _ = asyncio.run(run()) if world == "asyncio" else trio.run(run)
        (report,) = server.messages
        assert b"TLS-Report-Domain: good.test" in report.content
    assert counted.left is None


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_a_worker_that_is_cancelled_leaves_no_task(tmp_path: Path, world: str):
    counted = Counted(tmp_path)
    path = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    stalled = Server(faults=[Stall("EHLO")])
    with stalled as server, NameServer(RUA) as dns:
        given = options(dns, server) | {"reports": counted.reports}

        async def run() -> None:
            async with AsyncOutbox(path) as twin, AsyncDelivery(**given) as delivery:
                await twin.run(delivery)

        async def in_asyncio() -> None:
            task = asyncio.ensure_future(run())
            while not server.sessions:
                await asyncio.sleep(0.01)
            _ = task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}

        async def in_trio() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                while not server.sessions:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()

        _ = asyncio.run(in_asyncio()) if world == "asyncio" else trio.run(in_trio)


def test_reports_that_go_wrong_stop_no_mail(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "r.db").write_bytes(b"this is no database" * 100)
    reports = TLSReports(tmp_path / "r.db", organization="x", contact="tls@x.test")
    path = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    with Server() as server, NameServer(ZONE) as dns, Outbox(path) as outbox:
        _ = outbox.put(to("good.test"))
        with Delivery(**options(dns, server), reports=reports) as delivery:
            outbox.run(delivery, until_empty=True)
        assert len(server.messages) == 1
    assert "no TLS reports were sent" in caplog.text


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
