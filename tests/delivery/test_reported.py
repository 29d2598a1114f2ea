"""What users of other mail software have reported, tried on a delivery."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import smtpx
from smtpx.delivery import Delivery, DeliveryLimits, NameServers
from smtpx.testing import NameServer, Refuse, Server, Stall
from tests.delivery.conftest import LOOPBACK
from tests.delivery.test_many import to
from tests.delivery.test_sharing import ZONE, in_one_run
from tests.network import one_port

pytestmark = pytest.mark.timeout(60)


class Crowded:
    """A host that takes so many sessions at once, and says 421 to whoever comes besides."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open = 0
        self.refused = 0
        self.messages = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._most < 0:
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            with self._lock:
                is_welcome = self._open < self._most
                self._open += is_welcome
                self.refused += not is_welcome
            if not is_welcome:
                connection.sendall(b"421 4.7.0 too many connections from you\r\n")
                return
            try:
                self._speak(connection)
            except OSError:
                pass
            finally:
                with self._lock:
                    self._open -= 1

    def _speak(self, connection: socket.socket) -> None:
        connection.sendall(b"220 crowded.test\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                verb = line[:4].upper().strip()
                if verb == b"DATA":
                    connection.sendall(b"354 go on\r\n")
                    while (part := lines.readline()) and part != b".\r\n":
                        pass
                    with self._lock:
                        self.messages += 1
                connection.sendall(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                if verb == b"QUIT":
                    return
                if verb == b"DATA":
                    self._done(connection)

    def _done(self, connection: socket.socket) -> None:
        """A message was taken."""

    def close(self) -> None:
        self._most = -1
        socket.create_connection(self._listener.getsockname()).close()
        self._accepting.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()


@contextmanager
def crowded(most: int) -> Iterator[Crowded]:
    host = Crowded(most)
    try:
        yield host
    finally:
        host.close()


def test_a_host_that_takes_few_sessions_gets_all_mail_over_those(world):
    """haraka-plugin-limit#54, hitobito#930: 421 too many connections."""
    lines = [f"d{n}.test MX 1 mx.test." for n in range(60)]
    with NameServer("\n".join([*lines, "mx.test A 127.0.0.1"])) as dns, crowded(3) as host:
        delivery = world(dns, port=host.port)
        results = list(delivery.send_many(to(*(f"d{n}.test" for n in range(60))), connections=16))
        delivery.__exit__(None, None, None)
        assert [one.complete for one in results] == [True] * 60
        assert host.messages == 60


class Impatient(Crowded):
    """A host that says goodbye as soon as nothing comes any more."""

    def _done(self, connection: socket.socket) -> None:
        connection.sendall(b"421 4.4.2 command timeout\r\n")


def test_a_host_that_has_said_goodbye_while_nothing_came_gets_another_session(world):
    """chatmail/filtermail#143, letsencrypt/boulder#2249: the 421 was there before the next MAIL."""
    with NameServer(ZONE) as dns:
        host = Impatient(99)
        try:
            delivery = world(dns, port=host.port)
            results = in_one_run(delivery, *["a.test", "b.test"] * 2)
            assert [one.complete for one in results] == [True] * 4
            assert [len(one.outcomes[0].attempts) for one in results] == [1] * 4
            delivery.__exit__(None, None, None)
        finally:
            host.close()


def test_a_421_to_a_content_is_no_answer_to_a_message_over_a_kept_session(world):
    """knadh/smtppool#18, python/cpython#132796: so many messages a session, and no more."""
    fault = Refuse("END-OF-DATA", "421 4.3.2 maximum message count reached", nth=2, times=None)
    with Server(faults=[fault]) as server, NameServer(ZONE) as dns:
        results = in_one_run(world(dns, port=server.port), *["a.test", "b.test"] * 2)
        assert [one.complete for one in results] == [True] * 4
        assert len(server.messages) == 4


def test_a_session_that_hangs_is_not_used_again(world):
    """foxcpp/maddy#842: mail to one host failed until the program was started anew."""
    with Server(faults=[Stall("MAIL", nth=2, times=1)]) as server, NameServer(ZONE) as dns:
        delivery = world(dns, port=server.port, timeouts=smtpx.Timeouts(data_termination=4.0))
        results = in_one_run(delivery, *["a.test", "b.test"] * 2)
        assert [one.complete for one in results][2:] == [True] * 2
        assert len(server.sessions) == 2


def test_connections_that_fail_take_up_no_place_for_good():
    """haraka/Haraka#2597: after many refusals nothing went out any more."""
    lines = [f"d{n}.test MX 1 mx.test." for n in range(100)]
    domains = [f"d{n}.test" for n in range(100)]
    with (
        one_port("127.0.0.1") as port,
        NameServer("\n".join([*lines, "mx.test A 127.0.0.1"])) as dns,
    ):
        with Delivery(
            "mail.example.org",
            resolver=NameServers("127.0.0.1", port=dns.port),
            port=port,
            addresses=LOOPBACK,
            limits=DeliveryLimits(address=2, site=2),
        ) as delivery:
            down = list(delivery.send_many(to(*domains), connections=16))
            assert not any(one.complete for one in down)
            assert all(one.outcomes[0].retryable for one in down)
            with Server(port=port):
                # zone-eu/zone-mta#182: whoever finds out that it is back clears it for all.
                assert delivery.send(*to("d0.test")[0]).complete
                up = list(delivery.send_many(to(*domains), connections=16))
                assert all(one.complete for one in up)
        places = delivery._sharing.sessions._places
        assert (places._leases, places._idle) == ({}, [])
