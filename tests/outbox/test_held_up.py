"""A worker whose mail is held up somewhere: all other mail goes its way meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from smtpx import AsyncOutbox, Client, Envelope, Outbox
from smtpx.delivery import AsyncDelivery, Delivery, NameServers
from smtpx.outbox import State
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


def blocking(ledger: str, via: Any, **options: Any) -> Any:
    outbox = Outbox(ledger)

    def work() -> None:
        with outbox:
            outbox.run(via(Delivery) if callable(via) else via, **options)

    return working(work, outbox.stop)


def asynchronous(run: Callable[[Callable[[], Any]], None]) -> Any:
    def face(ledger: str, via: Any, **options: Any) -> Any:
        outbox = AsyncOutbox(ledger)

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
