"""Many messages to many domains: each is told of, once, and none waits for another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio

import smtpx
from smtpx import NOTHING_YET, Envelope, MarkRefused, Status
from smtpx._starting import start_thread
from smtpx.delivery import AsyncDelivery, Delivery, Failure, NameServers, _crowd, _many
from smtpx.delivery._many import _Many
from smtpx.testing import Misanswer, NameFault, NameServer, Server, Stall
from tests.delivery.conftest import LOOPBACK
from tests.network import one_port

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
pytestmark = pytest.mark.timeout(60)


def to(*domains: str) -> list[tuple[bytes, Envelope]]:
    return [
        (f"Subject: {domain}\r\n\r\nhello\r\n".encode(), Envelope("ann@x.test", f"bob@{domain}"))
        for domain in domains
    ]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def zone(count: int) -> NameServer:
    lines = [f"d{place}.test MX 1 mx.test." for place in range(count)]
    return NameServer("\n".join([*lines, "mx.test A 127.0.0.1", "null.test MX 0 ."]))


def in_thread(dns: NameServer, server: Server, messages: Any, **options: Any) -> list[Any]:
    servers = NameServers("127.0.0.1", port=dns.port)
    with Delivery(
        "mail.example.org", resolver=servers, port=server.port, addresses=LOOPBACK
    ) as delivery:
        return list(delivery.send_many(messages, **options))


async def in_task(dns: NameServer, server: Server, messages: Any, **options: Any) -> list[Any]:
    servers = NameServers("127.0.0.1", port=dns.port)
    async with AsyncDelivery(
        "mail.example.org", resolver=servers, port=server.port, addresses=LOOPBACK
    ) as delivery:
        return [result async for result in delivery.send_many(messages, **options)]


RUNS: dict[str, Any] = {
    "thread": in_thread,
    "asyncio": lambda *args, **options: asyncio.run(in_task(*args, **options)),
    "trio": lambda *args, **options: trio.run(lambda: in_task(*args, **options)),
}


@pytest.fixture(params=RUNS)
def send_many(request: pytest.FixtureRequest) -> Any:
    return RUNS[request.param]


def test_each_message_has_a_result_of_its_own(send_many, server):
    messages = to(*(f"d{place}.test" for place in range(30)), "null.test", "nx.test")
    with zone(30) as dns:
        results = send_many(dns, server, messages)
        assert dns.packets["mx.test", "A"] < 30
    assert sorted(id(one.message) for one in results) == sorted(
        id(content) for content, _ in messages
    )
    failures = {one.outcomes[0].recipient.domain: one.outcomes[0].failure for one in results}
    assert {domain: one for domain, one in failures.items() if one} == {
        "null.test": Failure.NULL_MX,
        "nx.test": Failure.NO_SUCH_DOMAIN,
    }
    assert len(server.messages) == 30


def test_messages_that_come_later_are_waited_for(send_many, server):
    asked = 0

    def source() -> Iterator[Any]:
        nonlocal asked
        for message in to("d0.test", "d1.test"):
            for _ in range(2):
                asked += 1
                yield NOTHING_YET
            yield message

    with zone(2) as dns:
        results = send_many(dns, server, source())
    assert [one.complete for one in results] == [True, True]
    assert (len(server.messages), asked) == (2, 4)


def test_a_message_that_cannot_be_sent_stops_no_other(send_many, server):
    with zone(1) as dns:
        results = send_many(dns, server, [CONTENT, *to("d0.test")])
    assert [bool(one.accepted) for one in sorted(results, key=lambda one: len(one.outcomes))] == [
        *(False, True)
    ]
    (unsent,) = (one for one in results if one.error is not None)
    assert isinstance(unsent.error, smtpx.LocalProtocolError)
    assert unsent.error.result is unsent


def test_what_is_no_message_is_told_of(send_many, server):
    message: Any = 5
    with zone(0) as dns, pytest.raises(TypeError) as caught:
        send_many(dns, server, [message])
    (result,) = vars(caught.value)["results"]
    assert (result.message, result.outcomes) == (5, ())


def test_what_was_read_is_told_of_where_the_messages_fail(send_many, server):
    """Also where the task for it has not yet run."""

    def broken() -> Iterator[Any]:
        yield from to("d0.test")
        raise LookupError("no more")

    with zone(1) as dns, pytest.raises(LookupError) as caught:
        send_many(dns, server, broken())
    (result,) = vars(caught.value)["results"]
    assert [str(one.recipient) for one in result.outcomes] == ["bob@d0.test"]
    assert result.complete or result.error.result is result


def test_the_mark_is_asked_once_for_what_is_dialled_and_can_say_no(send_many, server):
    asked: list[object] = []
    threads: set[int] = set()

    def mark(messages: Any, results: Any) -> list[bool]:
        asked.extend(messages)
        threads.add(threading.get_ident())
        return [b"d1.test" not in message for message in messages]

    messages = to("d0.test", "d1.test", "null.test")
    with zone(2) as dns:
        results = send_many(dns, server, messages, mark=mark)
    assert {id(one) for one in asked} == {id(content) for content, _ in messages[:2]}
    assert len(asked) == 2
    assert threads == {threading.get_ident()}
    by_domain = {one.outcomes[0].recipient.domain: one for one in results}
    assert by_domain["d0.test"].complete
    assert isinstance(by_domain["d1.test"].error, MarkRefused)
    assert by_domain["d1.test"].outcomes[0].status is Status.NOT_TRIED
    assert [len(server.messages), len(server.sessions)] == [1, 1]


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_an_asynchronous_iterable_is_closed_where_the_call_ends_before_it(run, server):
    """By then, and not by the loop's own end."""
    ended: list[str] = []

    async def letters() -> AsyncIterator[Any]:
        try:
            while True:
                yield to("d0.test")[0]
        finally:
            ended.append("letters")

    def mark(messages: object, results: object) -> list[bool]:
        raise KeyError

    async def go() -> None:
        with pytest.raises(KeyError):
            await in_task(dns, server, letters(), mark=mark)
        assert ended == ["letters"]

    with zone(1) as dns:
        run(go() if run is asyncio.run else go)


def test_a_mark_that_fails_ends_it_and_nothing_is_lost(send_many, server):
    def mark(messages: Any, results: Any) -> list[bool]:
        raise LookupError("the ledger is away")

    with zone(1) as dns, pytest.raises((LookupError, ExceptionGroup)):
        send_many(dns, server, to("d0.test"), mark=mark)
    assert not server.sessions


def test_a_message_for_which_there_can_be_no_thread_is_told(server, monkeypatch):
    start = start_thread

    def begin(run: Any, name: str) -> None:
        if name == "smtpx.delivery":
            raise RuntimeError("can't start new thread")
        start(run, name)

    monkeypatch.setattr(_many, "start_thread", begin)
    with zone(1) as dns:
        (result,) = in_thread(dns, server, to("d0.test"))
    assert result.outcomes[0].retryable
    assert "no thread" in str(result.error)


def test_an_end_in_the_middle_refuses_the_mark_for_each_domain(server):
    """A message for several asks for each of them, and its thread ends all the same."""
    asked: list[object] = []

    def mark(messages: Any, results: Any) -> list[bool]:
        asked.extend(messages)
        raise LookupError("the ledger is away")

    both = Envelope("ann@x.test", ["bob@d0.test", "bob@d1.test"])
    with zone(2) as dns, pytest.raises(LookupError) as caught:
        in_thread(dns, server, [(CONTENT, both)], mark=mark)
    (result,) = vars(caught.value)["results"]
    assert [one.status for one in result.outcomes] == [Status.NOT_TRIED] * 2
    assert len(asked) == 1


def test_a_domain_that_is_silent_holds_up_no_other():
    domains = [f"d{place}.test" for place in range(8)]
    lines = [
        *("slow.test MX 1 s.test.", "s.test A 127.0.0.1", "mx.test A 127.0.0.2"),
        *(f"{domain} MX 1 mx.test." for domain in domains),
    ]
    with (
        one_port("127.0.0.1", "127.0.0.2") as port,
        Server(port=port, faults=[Stall("EHLO")]),
        Server(host="127.0.0.2", port=port) as server,
        NameServer("\n".join(lines)) as dns,
        Delivery(
            "mail.example.org",
            resolver=NameServers("127.0.0.1", port=dns.port),
            port=server.port,
            addresses=LOOPBACK,
            timeouts=smtpx.Timeouts(hello=4.0),
        ) as delivery,
    ):
        messages = to("slow.test", *domains)
        results = list(delivery.send_many(messages, connections=2, window=1))
    assert [one.complete for one in results] == [True] * 8 + [False]
    assert results[-1].outcomes[0].failure is Failure.UNREACHABLE


@pytest.mark.parametrize("domains", [["slow.test"] * 50, [f"s{place}.test" for place in range(7)]])
def test_none_of_many_messages_waits_for_those_that_are_slow(
    send_many, server, monkeypatch, domains: list[str]
):
    """Be they all for one domain, or for as many as there are places."""
    monkeypatch.setattr(_crowd, "_YOUNG", 0.1)
    good = [f"d{place}.test" for place in range(20)]
    faults = [NameFault(Misanswer.SILENCE, domain, "MX") for domain in set(domains)]
    lines = [f"{domain} MX 1 mx.test." for domain in good]
    with NameServer("\n".join([*lines, "mx.test A 127.0.0.1"]), faults=faults) as dns:
        came: list[int] = []

        def release() -> None:
            came.append(len(server.wait_for_messages(20, timeout=30)))
            dns.clear_faults()

        releasing = threading.Thread(target=release)
        releasing.start()
        results = send_many(dns, server, to(*domains, *good), connections=2, window=1)
        releasing.join()
    assert came == [20]
    assert len(results) == len(domains) + 20
    assert sum(one.complete for one in results) == 20


def test_what_waits_for_its_turn_is_told_of_where_the_messages_fail(send_many, server):
    def broken() -> Iterator[Any]:
        yield from to(*["d0.test"] * 30)
        raise LookupError("no more")

    with zone(1) as dns, pytest.raises(LookupError) as caught:
        send_many(dns, server, broken(), connections=2, window=1)
    told = [*vars(caught.value)["results"], *server.messages]
    assert len({id(one.message) for one in vars(caught.value)["results"]}) <= 30
    assert len(told) >= 30


def test_what_is_broken_off_is_brought_to_its_end(server):
    with zone(6) as dns:
        servers = NameServers("127.0.0.1", port=dns.port)
        with Delivery(
            "mail.example.org", resolver=servers, port=server.port, addresses=LOOPBACK
        ) as delivery:
            results = delivery.send_many(to(*(f"d{place}.test" for place in range(6))))
            assert next(results).complete
            results.close()  # type: ignore[attr-defined] # a generator
        assert not [one for one in threading.enumerate() if one.name == "smtpx.delivery"]


def test_who_waits_for_nothing_more_is_told_what_is_not_known():
    """The second Ctrl-C leaves what the first one waited for."""
    begun, gate = threading.Event(), threading.Event()

    def deliver(content: Any, envelope: Envelope, mark: Any) -> Any:
        begun.set()
        assert gate.wait(30)
        raise RuntimeError("nobody hears it")

    many = _Many(to("a.test"), 1, None, deliver)
    many._fill()
    assert begun.wait(30)
    struck = KeyboardInterrupt()
    many.end(struck, waits=False)
    gate.set()
    (result,) = vars(struck)["results"]
    assert [one.status for one in result.outcomes] == [Status.IN_DOUBT]
    assert "before this was sent" not in str(result.error)
    assert "not known" in str(result.error)


def test_an_account_that_is_struck_is_made_again_and_waits_for_nobody_who_never_came(monkeypatch):
    """As near the recursion limit, where a thread had not begun."""
    strikes = [RecursionError()]
    known = _many.unsent

    def unsent(*args: Any, **named: Any) -> Any:
        if strikes:
            raise strikes.pop()
        return known(*args, **named)

    monkeypatch.setattr(_many, "start_thread", lambda run, name: None)
    monkeypatch.setattr(_many, "unsent", unsent)
    many = _Many(to("a.test", "b.test"), 2, None, lambda *given: pytest.fail("it never began"))
    many._fill()
    with pytest.raises(RecursionError):
        many.end(KeyboardInterrupt())
    error = KeyboardInterrupt()
    again = threading.Thread(target=many.end, args=[error], daemon=True)
    again.start()
    again.join(10)
    assert not again.is_alive()
    told = [result.outcomes[0].status for result in vars(error)["results"]]
    assert told == [Status.NOT_TRIED] * 2
