"""Happy eyeballs (RFC 8305): the order of attempts, and what they cost by a scripted clock."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from smtpx import ConnectionLost, Endpoint, TimedOut
from smtpx._drivers import async_dialling, asyncio_world, dialling, trio_world, waiting
from smtpx._drivers.racing import ATTEMPT_DELAY, interleaved
from tests.network import Resolver, dead, entry, listening, refusing

MX = Endpoint("mx.test", 25)

FOUND = st.lists(
    st.builds(entry, st.sampled_from(["::1", "::2", "127.0.0.1", "127.0.0.2", "127.0.0.3"]),
              st.integers(1, 3))
)  # fmt: skip


@pytest.mark.requirement("RFC 8305 §4")
@given(FOUND)
def test_families_take_turns_and_each_keeps_its_order(found: list[Any]) -> None:
    order = interleaved(found)
    assert Counter(order) == Counter(set(found))
    for family in {address[0] for address in found}:
        kept = [address for address in order if address[0] == family]
        assert kept == list(dict.fromkeys(a for a in found if a[0] == family))
    if found:
        assert order[0] == found[0]
    counts = Counter(address[0] for address in order)
    if len(counts) == 2:
        turns = 2 * min(counts.values())
        assert all(order[i][0] != order[i + 1][0] for i in range(turns - 1))


class Clock:
    """Time passes only while nothing happens on the network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        clock = self

        class Selector(waiting.Selector):
            def select(self, timeout: float | None = None) -> Any:
                ready = super().select(0.1)
                if not ready:
                    assert timeout is not None
                    clock.now += timeout
                return ready

        monkeypatch.setattr(dialling, "Selector", Selector)
        monkeypatch.setattr(dialling, "_LOOK", float("inf"))  # Nobody calls it off.
        monkeypatch.setattr(dialling.time, "monotonic", lambda: self.now)  # type: ignore[attr-defined]


def blocking(monkeypatch: pytest.MonkeyPatch, seconds: float | None = 30) -> tuple[Any, float]:
    clock = Clock(monkeypatch)
    try:
        return dialling.dial(MX, remaining=lambda: seconds), clock.now
    except (ConnectionLost, TimedOut) as error:
        return error, clock.now
    finally:
        monkeypatch.undo()


def in_trio(monkeypatch: pytest.MonkeyPatch, seconds: float | None = 30) -> tuple[Any, float]:
    async def main() -> tuple[Any, float]:
        began = trio.current_time()
        try:
            won: Any = await async_dialling.dial(trio_world, MX, remaining=lambda: seconds)
        except (ConnectionLost, TimedOut) as error:
            won = error
        return won, trio.current_time() - began

    try:
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.1))
    finally:
        monkeypatch.undo()


Dial = Callable[..., tuple[Any, float]]
dialled = pytest.mark.parametrize("dial", [blocking, in_trio])


@pytest.mark.requirement("T51")
@dialled
@pytest.mark.parametrize("host", ["::1", "127.0.0.2"])
def test_one_dead_address_costs_its_delay(
    dial: Dial, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dead(host) as silent, listening("127.0.0.1") as live:
        port = live.getsockname()[1]
        _ = Resolver(monkeypatch, [entry(host, silent), entry("127.0.0.1", port)])
        connection, seconds = dial(monkeypatch)
        with connection:
            assert connection.getpeername() == ("127.0.0.1", port)
            assert connection.getblocking() is False
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert seconds == pytest.approx(ATTEMPT_DELAY)


@dialled
def test_three_dead_addresses_cost_three_delays(
    dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        dead("127.0.0.2") as a,
        dead("127.0.0.3") as b,
        dead("127.0.0.4") as c,
        listening("127.0.0.1") as live,
    ):
        port = live.getsockname()[1]
        silent = [entry("127.0.0.2", a), entry("127.0.0.3", b), entry("127.0.0.4", c)]
        _ = Resolver(monkeypatch, [*silent, entry("127.0.0.1", port)])
        connection, seconds = dial(monkeypatch)
        connection.close()
    assert seconds == pytest.approx(3 * ATTEMPT_DELAY)


@pytest.mark.requirement("RFC 8305 §5")
@dialled
def test_a_refusal_is_not_waited_for(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        refusing("::1") as closed,
        refusing("127.0.0.2") as other,
        listening("127.0.0.1") as live,
    ):
        port = live.getsockname()[1]
        found = [entry("::1", closed), entry("127.0.0.2", other), entry("127.0.0.1", port)]
        _ = Resolver(monkeypatch, found)
        connection, seconds = dial(monkeypatch)
        connection.close()
    assert seconds == 0


@dialled
def test_where_all_are_dead_each_has_its_time(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    with dead("::1") as a, dead("127.0.0.2") as b:
        _ = Resolver(monkeypatch, [entry("::1", a), entry("127.0.0.2", b)])
        error, seconds = dial(monkeypatch, 30)
    assert isinstance(error, TimedOut)
    assert error.phase == "connect"
    assert f"::1 port {a}" in str(error)
    assert f"127.0.0.2 port {b}" in str(error)
    assert seconds == pytest.approx(30 + ATTEMPT_DELAY)


@dialled
def test_where_all_refuse_each_is_named(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing("::1") as a, refusing("127.0.0.2") as b:
        _ = Resolver(monkeypatch, [entry("::1", a), entry("127.0.0.2", b)])
        error, seconds = dial(monkeypatch)
    assert isinstance(error, ConnectionLost)
    assert str(error).index(f"::1 port {a}") < str(error).index(f"127.0.0.2 port {b}")
    assert seconds == 0


def descriptors() -> int:
    import os

    return len(os.listdir("/proc/self/fd"))


@dialled
def test_the_losers_are_closed(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    with dead("::1") as silent, listening("127.0.0.1") as live:
        port = live.getsockname()[1]
        before = descriptors()
        _ = Resolver(monkeypatch, [entry("::1", silent), entry("127.0.0.1", port)])
        connection, _ = dial(monkeypatch)
        assert descriptors() == before + 1
        connection.close()


@pytest.mark.parametrize("world", [asyncio_world, trio_world], ids=["asyncio", "trio"])
def test_whoever_is_cancelled_leaves_no_socket(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dialling_for_ever() -> None:
        _ = await async_dialling.dial(world, MX, remaining=lambda: None)

    async def in_asyncio() -> None:
        task = asyncio.create_task(dialling_for_ever())
        await asyncio.sleep(0.05)
        _ = task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def in_trio() -> None:
        with trio.move_on_after(0.05) as scope:
            await dialling_for_ever()
        assert scope.cancelled_caught

    with dead("::1") as a, dead("127.0.0.2") as b:
        _ = Resolver(monkeypatch, [entry("::1", a), entry("127.0.0.2", b)])
        if world is asyncio_world:
            asyncio.run(asyncio.sleep(0))  # What asyncio keeps for good.
        before = descriptors()
        asyncio.run(in_asyncio()) if world is asyncio_world else trio.run(in_trio)
        assert descriptors() == before


def test_asyncio_wins_the_race_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> socket.socket:
        return await async_dialling.dial(asyncio_world, MX, remaining=lambda: None)

    with dead("::1") as silent, listening("127.0.0.1") as live:
        port = live.getsockname()[1]
        _ = Resolver(monkeypatch, [entry("::1", silent), entry("127.0.0.1", port)])
        with asyncio.run(main()) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)


def resolving_in_asyncio() -> None:
    asyncio.run(async_dialling.dial(asyncio_world, MX, remaining=lambda: 0.05))


def resolving_in_trio() -> None:
    async def main() -> None:
        _ = await async_dialling.dial(trio_world, MX, remaining=lambda: 0.05)

    trio.run(main)


def resolving() -> None:
    _ = dialling.dial(MX, remaining=lambda: 0.05)


@pytest.mark.parametrize("dial", [resolving, resolving_in_asyncio, resolving_in_trio])
def test_a_resolver_that_hangs_is_left_alone(
    dial: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the run of a loop ends."""
    answered, ended = threading.Event(), threading.Event()

    def hanging(host: str, port: int, *args: Any, flags: int = 0, **options: Any) -> Any:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror
        _ = answered.wait(5)
        ended.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    with pytest.raises(
        TimedOut, match=r"mx\.test:\d+: its host was not found: the resolver did not answer"
    ):
        dial()
    assert not ended.is_set()
    answered.set()
    assert ended.wait(5)


@pytest.mark.parametrize("error", [socket.gaierror(-2, "no such host"), UnicodeError("too long")])
def test_what_the_resolver_says_is_told(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", failing)
    for remaining in (lambda: None, lambda: 30.0):
        with pytest.raises(ConnectionLost, match=str(error.args[-1])):
            _ = dialling.dial(MX, remaining=remaining)
    for resolving in (resolving_in_asyncio, resolving_in_trio):
        with pytest.raises(ConnectionLost, match=str(error.args[-1])):
            resolving()


def test_an_address_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any) -> None:
        raise AssertionError("no thread was needed")

    with listening("127.0.0.1") as live:
        endpoint = Endpoint("127.0.0.1", live.getsockname()[1])
        monkeypatch.setattr(dialling, "start_thread", forbidden)
        dialling.dial(endpoint, remaining=lambda: 30).close()


def test_the_total_time_is_for_all_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    def used_up() -> float:
        raise TimeoutError("the total time is used up")

    _ = Resolver(monkeypatch, [entry("127.0.0.1", 1)])
    remaining = iter([lambda: 1.0, used_up])
    with pytest.raises(TimedOut, match="used up"):
        _ = dialling.dial(MX, remaining=lambda: next(remaining)())


class TestSources:
    def both(self, monkeypatch: pytest.MonkeyPatch, sources: Any) -> socket.socket:
        with listening("::1") as six, listening("127.0.0.1") as four:
            found = [entry("::1", six.getsockname()[1]), entry("127.0.0.1", four.getsockname()[1])]
            _ = Resolver(monkeypatch, found)
            return dialling.dial(MX, remaining=lambda: 30, sources=sources)

    def test_only_its_family_is_dialled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with self.both(monkeypatch, [("127.0.0.9", 0)]) as connection:
            assert connection.getsockname()[0] == "127.0.0.9"

    def test_each_family_has_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with self.both(monkeypatch, [("127.0.0.9", 0), ("::1", 0)]) as connection:
            assert connection.family == socket.AF_INET6

    def test_none_of_its_family(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _ = Resolver(monkeypatch, [entry("127.0.0.1", 1)])
        with pytest.raises(ConnectionLost, match="family of the source_address"):
            _ = dialling.dial(MX, remaining=lambda: 30, sources=[("::1", 0)])
