"""A TLSA record that is none harms neither those beside it nor the mail."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dns.exception
import dns.message
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from smtpx.delivery import NameServers
from smtpx.delivery._answers import Answers
from smtpx.delivery._asking import Asker
from smtpx.delivery._asking_tasks import TaskAsker
from smtpx.delivery._dnspython import Ask, asking
from smtpx.delivery._manners import Manners
from smtpx.delivery._misfits import without_misfits
from smtpx.delivery._responses import response_of
from smtpx.delivery._worlds import current_world
from smtpx.delivery.dane import TLSA, usable
from smtpx.delivery.resolver import Answer, AnswerState, Question

IN = dns.rdataclass.IN
AT = Question("_25._tcp.mx.test", "TLSA")
GOOD = TLSA(3, 1, 1, b"\xab" * 32)


def with_misfit(query: dns.message.Message, *others: str) -> bytes:
    """A response with a record that says SHA-512, and has what is no longer than a SHA-256."""
    response = dns.message.make_response(query)
    texts = ["3 1 1 " + "cd" * 32, *others]
    response.answer.append(dns.rrset.from_text(f"{AT.name}.", 60, "IN", "TLSA", *texts))
    return response.to_wire().replace(b"\x01" + b"\xcd" * 32, b"\x02" + b"\xcd" * 32)


@contextmanager
def answering(*others: str) -> Iterator[NameServers]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_server(("127.0.0.1", 0)) as tcp,
    ):
        udp.bind(tcp.getsockname())

        def serve() -> None:
            for truncated in (True, False):
                if truncated:
                    wire, who = udp.recvfrom(65535)
                    response = dns.message.make_response(dns.message.from_wire(wire))
                    response.flags |= 0x0200  # TC: the rest by TCP.
                    udp.sendto(b"garbage", who)
                    udp.sendto(response.to_wire(), who)
                else:
                    channel, _ = tcp.accept()
                    with channel:
                        query = dns.message.from_wire(channel.recv(65535)[2:])
                        answer = with_misfit(query, *others)
                        channel.sendall(len(answer).to_bytes(2) + answer[:20])
                        channel.sendall(answer[20:])

        thread = threading.Thread(target=serve)
        thread.start()
        yield NameServers("127.0.0.1", port=tcp.getsockname()[1], validating=True)
        thread.join()


def in_thread(servers: NameServers) -> Answer:
    return Asker(servers, Answers()).ask([AT], 20.0)[0]


async def in_task(servers: NameServers) -> Answer:
    return (await TaskAsker(servers, Answers(), Manners(), current_world()).ask([AT], 20.0))[0]


WORLDS: dict[str, Callable[[NameServers], Answer]] = {
    "thread": in_thread,
    "asyncio": lambda servers: asyncio.run(in_task(servers)),
    "trio": lambda servers: trio.run(in_task, servers),
}


@pytest.mark.parametrize("data", [b"", b"\3", b"\3\1", b"\3\1\1", b"\3\1\1\xab"])
@pytest.mark.parametrize("others", [(), (GOOD,)])
def test_a_record_without_all_of_its_fields_is_one_that_cannot_be_used(data: bytes, others: Any):
    """It is the only one that says that there is TLS, or stands before a good one."""
    query = dns.message.make_query(f"{AT.name}.", "TLSA")
    response = dns.message.make_response(query)
    wires = [data, *(bytes([one.usage, one.selector, one.matching]) + one.data for one in others)]
    records = [dns.rdata.GenericRdata(IN, dns.rdatatype.TLSA, wire) for wire in wires]
    response.answer.append(dns.rrset.from_rdata_list(f"{AT.name}.", 60, records))
    procedure = asking(AT, NameServers("127.0.0.1", validating=True), Manners())
    step = next(procedure)
    assert isinstance(step, Ask)
    response.id = step.query.id
    with pytest.raises(StopIteration) as stop:
        procedure.send(response_of(step.query, response.to_wire()))
    answer: Answer = stop.value.value
    assert answer.state is AnswerState.FOUND
    assert len(answer.records) == 1 + len(others)
    assert usable([one for one in answer.records if isinstance(one, TLSA)]) == others


@pytest.mark.timeout(60)
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("others", [(), (str(GOOD),)])
def test_a_record_of_the_wrong_length_is_one_that_cannot_be_used(world: str, others: Any):
    with answering(*others) as servers:
        answer = WORLDS[world](servers)
    assert answer.state is AnswerState.FOUND, answer.detail
    records = [one for one in answer.records if isinstance(one, TLSA)]
    assert len(records) == 1 + len(others)
    assert usable(records) == ((GOOD,) if others else ())


def test_what_is_cut_is_no_response():
    query = dns.message.make_query(f"{AT.name}.", "TLSA")
    wire = with_misfit(query, str(GOOD))
    for end in range(len(wire)):
        with pytest.raises((EOFError, dns.exception.DNSException)):
            dns.message.from_wire(without_misfits(wire[:end]))
    assert dns.message.from_wire(without_misfits(wire)).answer


@given(st.binary(max_size=200))
def test_nothing_but_its_end_is_wrong_with_octets(wire: bytes):
    try:
        assert len(without_misfits(wire)) == len(wire)
    except EOFError:
        pass
