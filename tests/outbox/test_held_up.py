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

from smtpx import AsyncOutbox, Envelope, Outbox
from smtpx.delivery import AsyncDelivery, Delivery, NameServers
from smtpx.outbox import State
from smtpx.testing import NameServer
from tests.delivery.conftest import LOOPBACK
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


@pytest.mark.parametrize("on_doubt", ["resend", "hold"])
@pytest.mark.parametrize("face", FACES)
def test_what_is_put_in_later_does_not_wait_for_what_is_held_up(
    face: str, on_doubt: Any, outbox: Outbox, ledger: str
) -> None:
    with SlowServer() as server, FACES[face](ledger, server.url, connections=2):
        slow = put(outbox, "slow@y.test", on_doubt=on_doubt)
        assert server.begun.wait(20)
        for place in range(3):
            assert until_accepted(outbox, put(outbox, f"r{place}@y.test", on_doubt=on_doubt))
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


def test_the_other_kind_of_mail_has_its_turn(outbox: Outbox) -> None:
    """As soon as what is on its way has ended, whatever else comes in meanwhile."""
    with SlowServer() as server, blocking_of(outbox, server.url):
        _ = put(outbox, "slow@y.test")
        assert server.begun.wait(20)
        held = put(outbox, "bob@y.test", on_doubt="hold")
        later = [put(outbox, f"r{place}@y.test") for place in range(3)]
        server.released.set()
        assert until_accepted(outbox, held, *later)


@contextmanager
def blocking_of(outbox: Outbox, via: str) -> Iterator[None]:
    with working(lambda: outbox.run(via, connections=2), outbox.stop):
        yield
