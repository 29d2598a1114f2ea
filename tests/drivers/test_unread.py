"""A peer that says more than anyone listens to is held up: little of it is kept."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType

import pytest
import trio
import trustme

from smtpx._core.steps import Send, StartTLS, Steps
from smtpx._drivers import asyncio_world, trio_world
from smtpx._drivers.resumption import Handshakes
from smtpx._drivers.waiting import Deadline
from smtpx._drivers.world import AsyncDriver
from smtpx.tls import TLSMode, TLSPolicy
from tests.certificates import ca_file_of
from tests.held.records import HELLO_REQUESTS

uvloop: ModuleType | None
try:
    import uvloop
except ImportError:
    uvloop = None

AUTHORITY = trustme.CA()
REPLIES = b"250 ok\r\n" * 8192
OFFERED = 16 * 2**20
"""What the peer has to say, were it heard."""
MOST = 2**20
TURNS = 2000

Main = Callable[[], Coroutine[None, None, None]]


def in_asyncio(main: Main) -> None:
    asyncio.run(main())


def in_uvloop(main: Main) -> None:
    if uvloop is None:
        pytest.skip("uvloop is not installed")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def in_trio(main: Main) -> None:
    trio.run(main)


every_world = pytest.mark.parametrize(
    ("run", "world"),
    [(in_asyncio, asyncio_world), (in_uvloop, asyncio_world), (in_trio, trio_world)],
    ids=["asyncio", "uvloop", "trio"],
)


class Peer:
    """Says the same again and again, as far as there is room."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.said = 0
        connected.setblocking(False)

    def flood(self, octets: bytes) -> None:
        try:
            while self.said < OFFERED:
                at = self.said % len(octets)
                self.said += self.socket.send(octets[at:])
        except BlockingIOError:
            pass  # It is held up, for now.

    def hear(self) -> None:
        try:
            while self.socket.recv(65536):
                pass
        except BlockingIOError:
            pass


async def turns(world: ModuleType, call: Callable[[], None]) -> None:
    for _ in range(TURNS):
        call()
        await world.let_others_run()


async def driven(world: ModuleType, tls: TLSPolicy | None) -> tuple[AsyncDriver, Peer]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    handshake = None if tls is None else Handshakes(tls, "localhost").begin(tls)
    return await world.drive(ours, handshake), Peer(theirs)


@every_world
def test_before_anybody_listens(run: Callable[[Main], None], world: ModuleType) -> None:
    async def main() -> None:
        driver, peer = await driven(world, None)
        with peer.socket:
            await turns(world, lambda: peer.flood(REPLIES))
            driver.close()
            await world.vanish()
        assert peer.said < MOST

    run(main)


@every_world
def test_after_a_write_that_had_to_wait(run: Callable[[Main], None], world: ModuleType) -> None:
    """Much is kept while we write, since the peer may have to get rid of it first; then no more."""

    def writing() -> Steps[None]:
        yield Send(b"x" * 2**20, 10)

    async def main() -> None:
        driver, peer = await driven(world, None)
        with peer.socket:
            told = world.spawn(lambda: driver.run(writing(), Deadline(None)), _fail)
            await turns(world, lambda: None if told.has_ended else peer.hear())
            assert told.has_ended
            await turns(world, lambda: peer.flood(REPLIES))
            driver.close()
            await world.vanish()
        assert peer.said < MOST

    run(main)


@every_world
def test_a_peer_that_must_be_heard_before_it_reads(
    run: Callable[[Main], None], world: ModuleType
) -> None:
    """RFC 2920 §3.1: it was held up before we write, and takes nothing until it has spoken."""

    def writing() -> Steps[None]:
        yield Send(b"x" * 2**20, 10)

    async def main() -> None:
        driver, peer = await driven(world, None)
        with peer.socket:
            await turns(world, lambda: peer.flood(REPLIES))
            told = world.spawn(lambda: driver.run(writing(), Deadline(None)), _fail)
            enough = 2 * MOST
            for _ in range(20 * TURNS):
                if told.has_ended:
                    break
                if peer.said < enough:
                    peer.flood(REPLIES)
                else:
                    peer.hear()
                await world.let_others_run()
            else:
                told.cancel()
            await told.ended()
            driver.close()
            await world.vanish()
        assert peer.said >= enough

    run(main)


@every_world
def test_in_a_handshake(run: Callable[[Main], None], world: ModuleType, tmp_path: Path) -> None:
    """uvloop reads on for each piece that TLS takes: 32 buffers a turn."""

    def protecting() -> Steps[None]:
        yield StartTLS(30)

    async def main() -> None:
        policy = TLSPolicy(TLSMode.IMPLICIT, ca_file=ca_file_of(AUTHORITY, tmp_path))
        driver, peer = await driven(world, policy)
        with peer.socket:
            told = world.spawn(lambda: driver.run(protecting(), Deadline(None)), _fail)
            while True:
                try:
                    assert peer.socket.recv(65536)
                    break  # Before a ClientHello it would be an injection.
                except BlockingIOError:
                    await world.let_others_run()
            tracemalloc.start()
            try:
                await turns(world, lambda: peer.flood(HELLO_REQUESTS))
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peer.said > 4 * MOST  # It went on all the time.
            assert most < MOST
            told.cancel()
            await told.ended()

    run(main)


def _fail(error: BaseException) -> None:
    raise AssertionError from error
