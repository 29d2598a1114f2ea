"""A delivery from its beginning to its end: forks, loops, the end of a program, and after it."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest
import trio

import smtpx
from smtpx.delivery import AsyncDelivery, Delivery, Failure, NameServers
from smtpx.testing import NameServer, Server, Stall
from tests.delivery.conftest import LOOPBACK
from tests.delivery.held_server import HeldServer
from tests.delivery.test_many import to
from tests.faces.test_forked import in_child
from tests.network import one_port

ZONE = "a.test MX 1 mx.test.\nb.test MX 1 mx.test.\nmx.test A 127.0.0.1"

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def options(dns: NameServer, server: Server) -> dict[str, Any]:
    return {
        "client_name": "mail.example.org",
        "resolver": NameServers("127.0.0.1", port=dns.port),
        "port": server.port,
        "addresses": LOOPBACK,
    }


@forking
def test_a_child_leaves_the_sessions_of_its_parent_alone():
    with Server() as server, NameServer(ZONE) as dns:
        with Delivery(**options(dns, server)) as delivery:
            assert delivery.send(*to("a.test")[0]).complete

            def in_the_child() -> None:
                assert delivery.send(*to("b.test")[0]).complete
                delivery.close()

            in_child(in_the_child)
            assert delivery.send(*to("b.test")[0]).complete
        first, second = server.wait_until_idle()
        assert [first.commands.count("QUIT"), second.commands.count("QUIT")] == [1, 1]
        verbs = [one.partition(" ")[0] for one in first.commands]
        assert verbs.count("MAIL") == 2
        assert len(server.messages) == 3


@forking
def test_a_child_that_only_ends_says_nothing_to_its_parents_servers():
    with Server() as server, NameServer(ZONE) as dns:
        with Delivery(**options(dns, server)) as delivery:
            assert delivery.send(*to("a.test")[0]).complete
            in_child(delivery.close)
            in_child(lambda: None)
            assert delivery.send(*to("b.test")[0]).complete
        assert len(server.sessions) == 1


@forking
def test_a_fork_while_others_ask_does_not_hang_the_child():
    """Locks that a thread of the parent holds are nobody's in the child."""
    with HeldServer() as held, Server() as server, NameServer(ZONE) as dns:
        settings = options(dns, server) | {"mta_sts": False}
        servers = NameServers("127.0.0.1", port=held.port)
        delivery = Delivery(**settings | {"resolver": servers, "resolver_timeout": 0.5})
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                _ = delivery.plan("a.test")

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        held.wait_for("a.test")

        def in_the_child() -> None:
            failure = delivery.plan("b.test").failure
            assert failure is not None
            assert failure.failure is Failure.LOOKUP_FAILED

        for _ in range(3):
            in_child(in_the_child)
        stop.set()
        for thread in asking:
            thread.join()
        delivery.close()


@forking
def test_a_child_does_not_go_on_with_a_send_many_of_its_parent():
    with Server() as server, NameServer(ZONE) as dns:
        with Delivery(**options(dns, server)) as delivery:
            results = delivery.send_many(to(*["a.test", "b.test"] * 20))
            assert next(results).complete

            def in_the_child() -> None:
                with pytest.raises(smtpx.LocalProtocolError, match="parent"):
                    next(results)

            in_child(in_the_child)
            assert all(one.complete for one in results)
        assert len(server.messages) == 40


@pytest.mark.requirement("D52")
def test_two_loops_use_one_delivery():
    """One after the other, and both at once; asyncio and trio."""
    with Server() as server, NameServer(ZONE) as dns:
        delivery = AsyncDelivery(**options(dns, server))

        async def send() -> None:
            assert (await delivery.send(*to("a.test")[0])).complete
            assert (await delivery.send(*to("b.test")[0])).complete

        for _ in range(2):
            asyncio.run(send())
            trio.run(send)
        assert len(server.sessions) == 4
        both = [
            threading.Thread(target=run, args=(send,))
            for run in (lambda call: asyncio.run(call()), trio.run)
        ]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert len(server.messages) == 12
        assert len(server.sessions) == 6
        asyncio.run(delivery.close())


@pytest.mark.parametrize("run", [lambda call: asyncio.run(call()), trio.run])
def test_what_is_closed_says_so(run):
    with Server() as server, NameServer(ZONE) as dns:

        async def main() -> None:
            delivery = AsyncDelivery(**options(dns, server))
            assert (await delivery.send(*to("a.test")[0])).complete
            await delivery.close()
            await delivery.close()
            for call in (
                lambda: delivery.send(*to("a.test")[0]),
                lambda: delivery.plan("a.test"),
            ):
                with pytest.raises(smtpx.LocalProtocolError, match="closed"):
                    await call()
            with pytest.raises(smtpx.LocalProtocolError, match="closed"):
                delivery.send_many([])

        run(main)
        assert server.wait_until_idle()[0].quit


def test_what_is_closed_says_so_in_threads():
    with Server() as server, NameServer(ZONE) as dns:
        delivery = Delivery(**options(dns, server))
        assert delivery.send(*to("a.test")[0]).complete
        delivery.close()
        delivery.close()
        for call in (
            lambda: delivery.send(*to("a.test")[0]),
            lambda: delivery.plan("a.test"),
            lambda: delivery.send_many([]),
        ):
            with pytest.raises(smtpx.LocalProtocolError, match="closed"):
                call()
        assert server.wait_until_idle()[0].quit


def test_what_is_on_its_way_when_it_is_closed_is_brought_to_its_end():
    begun = threading.Event()

    def observe(event: smtpx.observing.Event) -> None:
        if isinstance(event, smtpx.observing.Line) and event.text.startswith("MAIL"):
            begun.set()

    with Server(faults=[Stall("MAIL", times=1)]) as server, NameServer(ZONE) as dns:
        delivery = Delivery(**options(dns, server), observer=observe)
        results: list[Any] = []

        def send() -> None:
            with pytest.raises(smtpx.SMTPError) as caught:
                delivery.send(*to("a.test")[0])
            results.append(caught.value.result)

        sending = threading.Thread(target=send)
        sending.start()
        assert begun.wait(30)
        delivery.close()
        server.close()
        sending.join()
        assert len(results) == 1


def test_a_server_that_does_not_say_goodbye_holds_up_no_end():
    """Four of them cost as much as one."""
    lines = [f"d{n}.test MX 1 m{n}.test.\nm{n}.test A 127.0.0.{n + 1}" for n in range(4)]
    hosts = [f"127.0.0.{n + 1}" for n in range(4)]
    with (
        one_port(*hosts) as port,
        Server(port=port, faults=[Stall("QUIT", times=None)]) as first,
        NameServer("\n".join(lines)) as dns,
    ):
        others = [Server(host=host, port=port) for host in hosts[1:]]
        for other in others:
            other.add_fault(Stall("QUIT", times=None))
            other.start()
        timeouts = smtpx.Timeouts(quit=1.0)
        delivery = Delivery(**options(dns, first), timeouts=timeouts)
        results = list(delivery.send_many(to(*(f"d{n}.test" for n in range(4)))))
        assert all(one.complete for one in results)
        before = set(threading.enumerate())
        delivery.close()
        # Each had its second, at the same time.
        assert not set(threading.enumerate()) - before
        for other in others:
            other.close()


def test_nothing_is_left_of_a_delivery_that_nobody_has():
    with Server() as server, NameServer(ZONE) as dns:
        delivery = Delivery(**options(dns, server))
        assert delivery.send(*to("a.test")[0]).complete
        known = weakref.ref(delivery)
        delivery.close()
        del delivery
        gc.collect()
        assert known() is None


PROGRAM = """
import sys
import smtpx
from smtpx.delivery import AddressPolicy, NameServers
delivery = smtpx.Delivery(
    "mail.example.org",
    resolver=NameServers("127.0.0.1", port=int(sys.argv[1])),
    port=int(sys.argv[2]),
    addresses=AddressPolicy(["127.0.0.0/8"]),
)
envelope = smtpx.Envelope("ann@x.test", "bob@a.test")
assert delivery.send(b"Subject: hi\\r\\n\\r\\nhello\\r\\n", envelope).complete
print("sent")
"""


def test_a_program_that_closes_nothing_ends(tmp_path):
    with Server() as server, NameServer(ZONE) as dns:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(dns.port), str(server.port)],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "sent\n", "")
