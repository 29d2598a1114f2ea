"""What a delivery costs, counted: questions, waits for the DNS, connections (delivery.md §6)."""

from __future__ import annotations

import gc
import hashlib
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx import Envelope
from smtpx.delivery import Delivery, DeliveryLimits, Level
from smtpx.delivery.dane import TLSA
from smtpx.delivery.resolver import MX, Answer, AnswerState, Question, ScriptedResolver
from smtpx.testing import Misanswer, NameFault, NameServer, Server, ServerTLS, Stall
from tests.delivery.conftest import LOOPBACK
from tests.delivery.policy_lab import lab
from tests.delivery.test_many import to
from tests.delivery.test_mta_sts import zone
from tests.network import one_port

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
BOB = Envelope("ann@example.org", "bob@example.net")
ADDRESS = "127.0.0.1"

pytestmark = pytest.mark.timeout(120)


class Counting(ScriptedResolver):
    """Counts how often somebody waits for it."""

    waits = 0

    def look_up(self, questions: Sequence[Question]) -> Sequence[Answer]:
        self.waits += 1
        return super().look_up(questions)


def found(*records: Any, secure: bool = False) -> Answer:
    return Answer(AnswerState.FOUND, records, secure)


def counted(script: dict[tuple[str, str], Answer], server: Server) -> tuple[Counter[str], int]:
    """The questions by their types, and the waits, of one message."""
    resolver = Counting({Question(*question): answer for question, answer in script.items()})
    with Delivery(
        "mail.example.org", resolver=resolver, port=server.port, addresses=LOOPBACK
    ) as delivery:
        assert delivery.send(CONTENT, BOB).complete
    return Counter(question.type for question in resolver.asked), resolver.waits


UNSIGNED = {
    ("example.net", "MX"): found(MX(1, "mx.example.net")),
    ("mx.example.net", "A"): found(ADDRESS),
}


def test_one_host_without_policies():
    with Server() as server:
        assert counted(UNSIGNED, server) == ({"MX": 1, "TXT": 1, "A": 1, "AAAA": 1}, 2)
        assert len(server.sessions) == 1


def test_one_host_with_dane():
    with Server(tls=ServerTLS.STARTTLS) as server:
        policy = smtpx.TLSPolicy(smtpx.TLSMode.STARTTLS, ca_file=server.ca_file)
        with smtpx.Session(server.url, tls=policy) as session:
            assert session.protection is not None
            digest = hashlib.sha256(session.protection.certificate).digest()
        record = TLSA(3, 0, 1, digest)
        script = {
            ("example.net", "MX"): found(MX(1, "mx.example.net"), secure=True),
            ("mx.example.net", "A"): found(ADDRESS, secure=True),
            ("mx.example.net", "AAAA"): Answer(AnswerState.NODATA, secure=True),
            (f"_{server.port}._tcp.mx.example.net", "TLSA"): found(record, secure=True),
        }
        said, waits = counted(script, server)
        assert said == {"MX": 1, "TXT": 1, "A": 1, "AAAA": 1, "TLSA": 1}
        assert waits == 3


def test_sixty_hosts_of_one_preference_and_more():
    """Those of the first preference are looked up, and the terms of whichever is tried."""
    hosts = [MX(1 + place // 30, f"m{place}.example.net") for place in range(60)]
    addresses = {(f"m{place}.example.net", "A"): found(ADDRESS) for place in range(60)}
    with Server() as server:
        said, waits = counted({("example.net", "MX"): found(*hosts), **addresses}, server)
        assert said == {"MX": 1, "TXT": 1, "A": 30, "AAAA": 30}
        assert waits == 2
        secure = {question: found(ADDRESS, secure=True) for question in addresses}
        secure |= {(name, "AAAA"): Answer(AnswerState.NODATA, secure=True) for name, _ in addresses}
        said, waits = counted({("example.net", "MX"): found(*hosts), **secure}, server)
        assert said["TLSA"] == 1
        assert waits == 3


def test_a_policy_costs_two_questions_more_once(world, tmp_path: Path):
    with lab(world, tmp_path) as here, zone() as dns:
        delivery = here.made(dns)
        for _ in range(3):
            assert delivery.send(CONTENT, BOB).outcomes[0].terms.level is Level.VERIFIED
        assert here.policy_host.asked == 1
        assert dns.packets["mta-sts.example.net", "A"] == 1
        assert dns.packets["mta-sts.example.net", "AAAA"] == 1
        assert max(dns.packets.values()) == 1


def test_a_thousand_recipients_of_one_domain_are_as_one():
    everybody = Envelope("ann@example.org", [f"u{place}@example.net" for place in range(1000)])
    with Server() as server, NameServer("example.net MX 1 m.test.\nm.test A 127.0.0.1") as dns:
        with Delivery(**options(dns, server)) as delivery:
            assert delivery.send(CONTENT, everybody).complete
        assert len(server.sessions) == 1
        assert max(dns.packets.values()) == 1
        assert len(dns.packets) == 4


def options(dns: NameServer, server: Server) -> dict[str, Any]:
    return {
        "client_name": "mail.example.org",
        "resolver": smtpx.delivery.NameServers("127.0.0.1", port=dns.port),
        "port": server.port,
        "addresses": LOOPBACK,
    }


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_many_domains_of_one_hoster(world, count: int):
    """Two questions each, the host's addresses once, and no more sessions than there may be."""
    lines = [f"d{place}.test MX 1 mx.test." for place in range(count)]
    limits = DeliveryLimits(address=4)
    with Server() as server, NameServer("\n".join([*lines, "mx.test A 127.0.0.1"])) as dns:
        delivery = world(dns, port=server.port, limits=limits)
        messages = to(*(f"d{place}.test" for place in range(count)))
        results = list(delivery.send_many(messages, connections=64, window=1))
        assert sum(one.complete for one in results) == count
        assert len(server.messages) == count
        # 100 messages a session, and four at a time.
        assert count / 100 <= len(server.sessions) <= count / 100 + 4
        kinds = Counter(kind for _, kind in dns.packets.elements())
        assert kinds == {"MX": count, "TXT": count, "A": 1, "AAAA": 1, "TLSA": 1}


def test_a_domain_that_is_silent_holds_up_none_of_many(world):
    """Its name server, or its host: all others have their mail while the two say nothing."""
    silent = ("silent.test", "MX")
    lines = [f"d{place}.test MX 1 mx.test." for place in range(100)]
    lines += ["mx.test A 127.0.0.1", "slow.test MX 1 s.test.", "s.test A 127.0.0.2"]
    domains = ["silent.test", "slow.test", *(f"d{place}.test" for place in range(100))]
    with (
        one_port("127.0.0.1", "127.0.0.2") as port,
        Server(port=port) as server,
        Server(host="127.0.0.2", port=port, faults=[Stall("EHLO", times=None)]) as slow,
        NameServer("\n".join(lines), faults=[NameFault(Misanswer.SILENCE, *silent)]) as dns,
    ):
        delivered: list[int] = []

        def release() -> None:
            delivered.append(len(server.wait_for_messages(100, timeout=90)))
            dns.clear_faults()
            slow.close()

        releasing = threading.Thread(target=release)
        releasing.start()
        delivery = world(dns, port=server.port)
        results = list(delivery.send_many(to(*domains), connections=2, window=2))
        releasing.join()
    assert delivered == [100]
    late = [one.outcomes[0].recipient.domain for one in results if not one.complete]
    assert sorted(late) == ["silent.test", "slow.test"]
    assert len(results) == 102


def held() -> int:
    """How many objects there are of what delivery is made of."""
    gc.collect()
    return sum(str(type(each).__module__).startswith("smtpx.delivery") for each in gc.get_objects())


def test_nothing_is_left_of_what_is_delivered(world):
    """A round of mail leaves no more behind than the one before it."""
    domains = [f"d{place}.test" for place in range(40)]
    lines = [f"{domain} MX 1 mx.test." for domain in domains]
    with Server() as server, NameServer("\n".join([*lines, "mx.test A 127.0.0.1"])) as dns:
        delivery = world(dns, port=server.port)
        rounds: list[int] = []
        for _ in range(3):
            results = delivery.send_many(to(*domains), connections=4, window=4)
            assert sum(one.complete for one in results) == len(domains)
            del results
            rounds.append(held())
    # Less than an object for each message: a few sessions more or less are kept for a moment.
    assert rounds[2] - rounds[1] < len(domains), rounds


def test_a_plan_whose_answers_are_known_is_made_in_few_calls():
    """In place of the time that it takes: what is done for each of its parts is done once."""
    script = {
        Question("example.net", "MX"): Answer(AnswerState.FOUND, (MX(10, "mx.example.net"),)),
        Question("mx.example.net", "A"): Answer(AnswerState.FOUND, ("8.8.8.8",)),
    }
    resolver = ScriptedResolver(script)
    calls: Counter[str] = Counter()

    def note(frame: Any, event: str, _: object) -> None:
        calls[event] += event == "call" and frame.f_code.co_filename != __file__

    with Delivery("mail.example.org", resolver=resolver) as delivery:
        expected = delivery.plan("example.net")
        resolver.asked.clear()
        sys.setprofile(note)
        try:
            plan = delivery.plan("example.net")
        finally:
            sys.setprofile(None)
    assert plan == expected
    assert len(resolver.asked) == 5
    # 67 by CPython 3.11; later ones call nothing for a list in brackets.
    assert calls["call"] <= 75
