"""What every driver tells of a write that fails: never less than the peer may have (R15)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import trio
import trustme

from smtpx._core.steps import Send, StartTLS, Steps, octets_written
from smtpx._drivers import asyncio_world, trio_world
from smtpx._drivers.blocking import BlockingDriver
from smtpx._drivers.handshakes import Handshake
from smtpx._drivers.multiplexed import Lane, Multiplexer
from smtpx._drivers.resumption import Handshakes
from smtpx._drivers.waiting import Deadline
from smtpx.tls import TLSMode, TLSPolicy
from tests.certificates import ca_file_of, serving

uvloop: ModuleType | None
try:
    import uvloop
except ImportError:
    uvloop = None

SIZE = 8 * 2**20
# The content of a record of TLS, and what of 8 MiB its frames are.
RECORD, FRAMES = 16384, 32768
AUTHORITY = trustme.CA()

Run = Callable[[socket.socket, Handshake | None, Steps[int]], int]


def blocking(connected: socket.socket, handshake: Handshake | None, write: Steps[int]) -> int:
    driver = BlockingDriver(connected, handshake)
    if handshake is not None:
        driver.run(protecting(), Deadline(None))
    try:
        return driver.run(write, Deadline(None))
    finally:
        driver.close()


def multiplexed(connected: socket.socket, handshake: Handshake | None, write: Steps[int]) -> int:
    driver = BlockingDriver(connected, handshake)
    if handshake is not None:
        driver.run(protecting(), Deadline(None))
    lane = Lane(driver, write, lambda: False)
    multiplexer: Multiplexer[int] = Multiplexer()
    try:
        multiplexer.add(lane)
        while not lane.finished:
            _ = multiplexer.turn()
    finally:
        multiplexer.close()
        driver.close()
    assert lane.value is not None
    return lane.value


async def tasks(
    world: ModuleType, connected: socket.socket, handshake: Handshake | None, write: Steps[int]
) -> int:
    driver = await world.drive(connected, handshake)
    try:
        if handshake is not None:
            await driver.run(protecting(), Deadline(None))
        taken: int = await driver.run(write, Deadline(None))
        return taken
    finally:
        driver.close()
        await world.vanish()


def in_asyncio(connected: socket.socket, handshake: Handshake | None, write: Steps[int]) -> int:
    return asyncio.run(tasks(asyncio_world, connected, handshake, write))


def in_uvloop(connected: socket.socket, handshake: Handshake | None, write: Steps[int]) -> int:
    if uvloop is None:
        pytest.skip("uvloop is not installed")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(tasks(asyncio_world, connected, handshake, write))


def in_trio(connected: socket.socket, handshake: Handshake | None, write: Steps[int]) -> int:
    return trio.run(tasks, trio_world, connected, handshake, write)


every_driver = pytest.mark.parametrize(
    "run", [blocking, multiplexed, in_asyncio, in_uvloop, in_trio]
)


def protecting() -> Steps[None]:
    yield StartTLS(10)


def written(seconds: float | None) -> Steps[int]:
    """How many of `SIZE` octets were taken, when the write has failed."""
    try:
        yield Send(b"x" * SIZE, seconds)
    except OSError as error:
        return octets_written(error, SIZE)
    raise AssertionError("nobody took all of it")


class Peer:
    """The other end: reads up to so many octets of content, and closes; or all, once asked to."""

    def __init__(self, connected: socket.socket, context: ssl.SSLContext | None) -> None:
        self.arrived = 0
        self.go_on = threading.Event()
        self._socket = connected
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = None
        if context is not None:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def serve(self, most: int) -> None:
        with self._socket:
            self._shake_hands()
            if most == SIZE:
                _ = self.go_on.wait(30)
            try:
                while self.arrived < most and (octets := self._socket.recv(65536)):
                    self._count(octets)
            except ConnectionResetError:
                pass

    def _shake_hands(self) -> None:
        while self._tls is not None:
            try:
                self._tls.do_handshake()
                self._socket.sendall(self._outgoing.read())
                return
            except ssl.SSLWantReadError:
                self._socket.sendall(self._outgoing.read())
                _ = self._incoming.write(self._socket.recv(65536))

    def _count(self, octets: bytes) -> None:
        if self._tls is None:
            self.arrived += len(octets)
            return
        _ = self._incoming.write(octets)
        try:
            while content := self._tls.read(65536):
                self.arrived += len(content)
        except ssl.SSLWantReadError:
            pass  # The rest of the record has yet to come.


@contextmanager
def connected(
    folder: Path, tls: bool, most: int
) -> Iterator[tuple[socket.socket, Handshake | None, Peer]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    context, handshake = None, None
    if tls:
        context = serving(AUTHORITY.issue_cert("localhost"))
        policy = TLSPolicy(TLSMode.IMPLICIT, ca_file=ca_file_of(AUTHORITY, folder))
        handshake = Handshakes(policy, "localhost").begin(policy)
    peer = Peer(theirs, context)
    thread = threading.Thread(target=peer.serve, args=(most,))
    thread.start()
    try:
        yield ours, handshake, peer
    finally:
        peer.go_on.set()
        thread.join()
        ours.close()


@every_driver
@pytest.mark.parametrize("tls", [False, True])
def test_a_write_that_takes_too_long(run: Run, tls: bool, tmp_path: Path) -> None:
    with connected(tmp_path, tls, most=SIZE) as (ours, handshake, peer):
        taken = run(ours, handshake, written(0.1))
    assert 0 < peer.arrived <= taken < SIZE
    if run in (blocking, multiplexed):
        assert taken <= peer.arrived + (RECORD + FRAMES if tls else 0)


@every_driver
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("most", [1, 100_000, 1_000_000])
def test_a_write_to_a_peer_that_goes_away(run: Run, tls: bool, most: int, tmp_path: Path) -> None:
    with connected(tmp_path, tls, most) as (ours, handshake, peer):
        taken = run(ours, handshake, written(10))
    assert most <= peer.arrived <= taken < SIZE


@every_driver
def test_a_write_to_nobody(run: Run) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.setblocking(False)
    with ours:
        taken = run(ours, None, written(1))
    assert taken < SIZE
    if run in (blocking, multiplexed):
        assert taken == 0


def test_a_write_after_the_deadline_took_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert BlockingDriver(ours, None).run(written(None), Deadline(0.0)) == 0
