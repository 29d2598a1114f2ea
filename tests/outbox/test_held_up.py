"""A worker whose mail is held up somewhere: all other mail goes its way meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import trio

from smtpx import AsyncOutbox, Client, Envelope, Outbox
from smtpx.delivery import AsyncDelivery, Delivery, NameServers
from smtpx.outbox import State, _claiming, _destinations, _queue
from smtpx.outbox._destinations import Claim
from smtpx.outbox._putting import tell
from smtpx.testing import NameServer
from tests.delivery.conftest import LOOPBACK
from tests.outbox.judge import Judge
from tests.slow_server import SlowServer

pytestmark = pytest.mark.timeout(60)

Work = Callable[[Outbox, str], None]
ZONE = """
slow.test MX 1 mx.slow.test.
mx.slow.test A 127.0.0.1
quick.test MX 1 mx.quick.test.
mx.quick.test A 127.0.0.1
"""


def put(outbox: Outbox, recipient: str, **options: Any) -> str:
    return outbox.put(b"Subject: hi\r\n\r\n", Envelope("a@x.test", recipient), **options)


def until(said: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait for something; false if it does not come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if said():
            return True
        time.sleep(0.02)
    return False


def is_accepted(outbox: Outbox, *ids: str) -> bool:
    return all(outbox.status(one).deliveries[0].state is State.ACCEPTED for one in ids)


def until_accepted(outbox: Outbox, *ids: str) -> bool:
    return until(lambda: is_accepted(outbox, *ids))


@contextmanager
def working(work: Callable[[], None], stop: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        _ = stop()
        thread.join()


def blocking(ledger: str, via: Any, made: Any = None, **options: Any) -> Any:
    outbox = Outbox(ledger, **(made or {}))

    def work() -> None:
        with outbox:
            outbox.run(via(Delivery) if callable(via) else via, **options)

    return working(work, outbox.stop)


def asynchronous(run: Callable[[Callable[[], Any]], None]) -> Any:
    def face(ledger: str, via: Any, made: Any = None, **options: Any) -> Any:
        outbox = AsyncOutbox(ledger, **(made or {}))

        async def work() -> None:
            async with outbox:
                if callable(via):
                    async with via(AsyncDelivery) as delivery:
                        await outbox.run(delivery, **options)
                else:
                    await outbox.run(via, **options)

        return working(lambda: run(work), outbox.stop)

    return face


FACES: dict[str, Any] = {
    "blocking": blocking,
    "asyncio": asynchronous(lambda work: asyncio.run(work())),
    "trio": asynchronous(trio.run),
}


@pytest.mark.parametrize("later", ["resend", "hold"])
@pytest.mark.parametrize("on_doubt", ["resend", "hold"])
@pytest.mark.parametrize("face", FACES)
def test_what_is_put_in_later_does_not_wait_for_what_is_held_up(
    face: str, on_doubt: Any, later: Any, outbox: Outbox, ledger: str
) -> None:
    with SlowServer() as server, FACES[face](ledger, server.url, connections=2):
        slow = put(outbox, "slow@y.test", on_doubt=on_doubt)
        assert server.begun.wait(20)
        for place in range(3):
            assert until_accepted(outbox, put(outbox, f"r{place}@y.test", on_doubt=later))
        assert not is_accepted(outbox, slow)
        server.released.set()
        assert until_accepted(outbox, slow)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("count", [1, 30])
def test_one_domain_does_not_take_the_places_of_the_others(
    count: int, face: str, outbox: Outbox, ledger: str
) -> None:
    with SlowServer() as server, NameServer(ZONE) as names:

        def via(kind: Any) -> Any:
            return kind(
                "mail.example.org",
                resolver=NameServers("127.0.0.1", port=names.port),
                port=server.port,
                addresses=LOOPBACK,
            )

        slow = [put(outbox, f"slow{place}@slow.test") for place in range(count)]
        with FACES[face](ledger, via, connections=2, window=2):
            assert server.begun.wait(20)
            for place in range(3):
                assert until_accepted(outbox, put(outbox, f"r{place}@quick.test"))
            assert not any(is_accepted(outbox, one) for one in slow)
            server.released.set()
            assert until_accepted(outbox, *slow)


def test_a_message_that_is_held_up_ends_no_round(outbox: Outbox) -> None:
    """However many go meanwhile."""
    begun, released = threading.Event(), threading.Event()

    def answer(word: str, of: str) -> bytes | None:
        if of == "slow@y.test":
            begun.set()
            released.wait(60)
        return None

    def end() -> None:
        released.set()
        outbox.stop()

    with Judge(answer=answer) as judge, working(lambda: outbox.run(judge.url), end):
        slow = put(outbox, "slow@y.test")
        assert begun.wait(20)
        content = b"Subject: hi\r\n\r\n"
        many = ((content, Envelope("a@x.test", f"r{n}@y.test")) for n in range(4200))
        assert len(list(outbox.put_many(many))) == 4200
        assert until(lambda: outbox.counts()[State.ACCEPTED] == 4200)
        assert not is_accepted(outbox, slow)


def test_what_was_not_tried_waits_for_nothing_that_is_held_up(outbox: Outbox) -> None:
    """Three sessions ended over it: it is put off, and nobody has it any more."""
    with SlowServer() as server, working(lambda: outbox.run(server.url), outbox.stop):
        _ = put(outbox, "slow@y.test")
        assert server.begun.wait(20)
        broken = put(outbox, "broken@y.test")
        was_tried = until(lambda: outbox.status(broken).deliveries[0].attempts > 0)
        server.released.set()
        assert was_tried


@pytest.mark.parametrize("on_doubt", ["resend", "hold"])
@pytest.mark.parametrize("face", FACES)
def test_nothing_waits_behind_a_held_message_that_a_server_keeps_waiting(
    face: str, on_doubt: Any, outbox: Outbox, ledger: str
) -> None:
    with SlowServer() as server:
        slow = put(outbox, "slow@y.test", on_doubt="hold")
        others = [put(outbox, f"r{n}@y.test", on_doubt=on_doubt) for n in range(20)]
        with FACES[face](ledger, server.url, connections=4):
            assert until_accepted(outbox, *others)
            assert not is_accepted(outbox, slow)
            server.released.set()
            assert until_accepted(outbox, slow)


@pytest.mark.parametrize("window", [None, 3])
def test_what_is_held_in_doubt_shares_no_window(outbox: Outbox, window: int | None) -> None:
    """Unless the caller gives one: then it is that."""
    asked: list[list[bytes]] = []

    class Noting(Client):
        def send_many(self, *arguments: Any, mark: Any = None, **options: Any) -> Any:
            def noted(several: Any, results: Any) -> Any:
                asked.append([message.partition(b"Subject: ")[2].strip() for message in several])
                return mark(several, results)

            return super().send_many(*arguments, mark=noted, **options)

    for place in range(40):
        held = place % 8 > 3
        content = b"Subject: %s\r\n\r\n" % (b"held" if held else b"sent")
        envelope = Envelope("a@x.test", f"r{place}@y.test")
        outbox.put(content, envelope, on_doubt="hold" if held else "resend")
    with Judge() as judge, Noting(judge.url) as client:
        outbox.run(client, connections=1, window=window, until_empty=True)
        assert len(judge.taken) == 40
    assert max(len(several) for several in asked) == (4 if window is None else window)
    alone = [several for several in asked if b"held" in several]
    assert (max(len(several) for several in alone) == 1) is (window is None)


class Gate:
    """A server that keeps what is for `slow@y.test` waiting, until it is released."""

    def __init__(self) -> None:
        self.begun, self.released = threading.Event(), threading.Event()

    def answer(self, word: str, of: str) -> bytes | None:
        if word == "END" and of == "<slow@y.test>":
            self.begun.set()
            self.released.wait(60)
        return b"550 5.1.1 no\r\n" if of == "gone@y.test" else None


def die_with(outbox: Outbox, on_doubt: Any) -> str:
    """A worker claims a message, marks it, and shows no sign of life; the value is its id."""
    store, now = outbox._store, time.time()
    id = put(outbox, "dead@y.test", on_doubt=on_doubt)
    store.transact(_claiming.register, "dead", 0.3, now)
    (claimed,) = store.transact(_queue.claim, Claim("dead", 1, now + 1)).deliveries
    assert store.transact(_claiming.mark, "dead", [[claimed.ticket]], now) == [True]
    return id


@pytest.mark.parametrize("on_doubt", ["resend", "hold"])
@pytest.mark.parametrize("face", FACES)
def test_a_worker_tends_to_the_ledger_while_all_is_held_up(
    face: str, on_doubt: Any, outbox: Outbox, ledger: str
) -> None:
    """Over its one connection nothing goes, and much is due. It takes from a dead worker what that
    had, lets mail expire, reports, and notes what it was told."""
    gate = Gate()
    dead = die_with(outbox, on_doubt)
    report: Any = {"bounces": "postmaster@x.test"}
    with Outbox(ledger, **report), Judge(answer=gate.answer) as judge:
        first = [put(outbox, f"{who}@y.test", on_doubt=on_doubt) for who in ("gone", "good")]
        slow = b"Message-ID: <slow@y.test>\r\n\r\n", Envelope("a@x.test", "slow@y.test")
        outbox.put(*slow, on_doubt=on_doubt)
        for place in range(300):
            put(outbox, f"r{place}@y.test", on_doubt=on_doubt)
        soon = timedelta(seconds=0.5)
        low = put(outbox, "low@y.test", on_doubt=on_doubt, priority=-5, expires=soon)

        def has(id: str, *states: State) -> bool:
            return outbox.status(id).deliveries[0].state in states

        with FACES[face](ledger, judge.url, connections=1, made=report):
            try:
                assert gate.begun.wait(20)
                assert until(lambda: has(first[0], State.REFUSED))
                assert until(lambda: has(first[1], State.ACCEPTED))
                assert until(lambda: not has(dead, State.SENDING)), "a dead worker has it"
                assert until(lambda: has(low, State.EXPIRED))
                assert until(lambda: sum(1 for _ in outbox.find(recipient="a@x.test")) == 2)
                assert outbox.counts()[State.ACCEPTED] == 1
            finally:
                gate.released.set()


def test_a_report_goes_past_what_was_accepted(open_outbox: Callable[..., Outbox]) -> None:
    """However much that is: else it falls ever further behind."""
    outbox = open_outbox(bounces="postmaster@x.test")

    def operation() -> Any:
        rows = [("none", f"r{n}@y.test", "accepted", None, "", 0.0) for n in range(3_000)]
        yield from tell({}, [*rows, ("none", "gone@y.test", "refused", None, "no", 0.0)], 0.0)

    outbox._store.transact(operation)
    assert outbox._core.report()
    assert not outbox._core.report()


@pytest.mark.parametrize("extensions", [("PIPELINING", "8BITMIME"), ("8BITMIME",)])
def test_a_message_at_which_a_server_hangs_up_holds_no_domain_back(
    outbox: Outbox, extensions: tuple[str, ...]
) -> None:
    """Each time it would be the first to be tried again, and all others would wait for it."""

    def hang_up(word: str, of: str) -> None:
        if of.startswith("odd"):
            raise OSError

    with Judge(answer=hang_up, extensions=extensions) as judge, NameServer(ZONE) as names:
        odd = put(outbox, "odd@quick.test")
        usual = [put(outbox, f"r{n}@quick.test") for n in range(60)]
        via = Delivery(
            "mail.x.test",
            resolver=NameServers("127.0.0.1", port=names.port),
            port=int(judge.url.rpartition(":")[2]),
            addresses=LOOPBACK,
        )
        with via, working(lambda: outbox.run(via), outbox.stop):
            assert until_accepted(outbox, *usual)
            assert until(lambda: outbox.status(odd).deliveries[0].attempts > 1)
            assert outbox._store.look(_destinations.held, ["quick.test"], time.time()) == {}
