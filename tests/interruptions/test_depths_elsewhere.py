"""Near the recursion limit, in tasks and in deliveries: what `test_depths` holds of a `Client`."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from operator import length_hint
from typing import Any, TypeVar

import pytest

import smtpx
from smtpx import AsyncClient, Envelope, PoolLimits, Status
from smtpx.delivery import AsyncDelivery, Delivery, DeliveryLimits, NameServers
from smtpx.testing import NameServer
from tests.delivery.conftest import LOOPBACK
from tests.interruptions.noting import Noting
from tests.interruptions.test_depths import _depth, within
from tests.interruptions.test_told import WAYS, items

T = TypeVar("T")

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.timeout(300),
]

ROOMS = range(70)
ZONE = "one.test MX 1 mx.test.\ntwo.test MX 1 mx.test.\nmx.test A 127.0.0.1"
NO = (Status.REFUSED, Status.NOT_TRIED)


def _some(*ways: str, of: Iterable[str] = tuple(WAYS)) -> list[Any]:
    others = [way for way in of if way not in ways]
    return [*ways, *(pytest.param(way, marks=pytest.mark.slow) for way in others)]


async def within_task(room: int, call: Callable[[], Awaitable[T]]) -> T:
    """Call where so many frames are left to the task."""

    async def go_down(left: int) -> T:
        return await (call() if left <= 0 else go_down(left - 1))

    return await go_down(sys.getrecursionlimit() - _depth() - room)


class Account:
    """What was told of messages, and whether it holds."""

    def __init__(self) -> None:
        self.given = items()
        self.source: Iterator[Any] = iter(self.given)
        self.told: list[Any] = []
        self.error: BaseException | None = None

    def ended(self, error: BaseException) -> None:
        self.error = error
        self.told += vars(error).get("results", [])

    @property
    def is_mute(self) -> bool:
        return self.error is not None and "results" not in vars(self.error) and bool(self.told)

    def faults(self, taken: list[tuple[bytes, str]]) -> list[str]:
        had, told = Counter(taken), sorted(result.message for result in self.told)
        read = [content for content, _ in self.given[: len(self.given) - length_hint(self.source)]]
        wrong = [] if told == read else [f"read {read}, told {told}, {self.error!r}"]
        for result in self.told:
            for outcome in result.outcomes:
                times = had[result.message, str(outcome.recipient)]
                untrue = NO if times else (Status.ACCEPTED,)
                if outcome.status in untrue or times > 1:
                    wrong.append(f"{result.message!r}: {outcome}, taken {times} times")
        return wrong


def is_busy(client: AsyncClient) -> bool:
    there = client.statistics()
    return bool(there.opening or there.busy or there.waiting)


def untrue(result: Any, taken: set[str]) -> list[str]:
    if result is None:
        return [f"taken, and not told of: {taken}"] if taken else []
    return [
        str(outcome)
        for outcome in result.outcomes
        if outcome.status in (NO if str(outcome.recipient) in taken else (Status.ACCEPTED,))
    ]


async def heard(sending: Any, call: Account, room: int, begun: int) -> None:
    """Take so many results as usual, the next with so little room, and what is told after that."""

    async def go_on() -> None:
        async for result in sending:
            call.told.append(result)

    try:
        for _ in range(begun):
            call.told.append(await anext(sending))
        await within_task(room, go_on)
    except RecursionError as error:
        call.ended(error)
    if sending.ag_frame is not None:
        call.told += [result async for result in sending]


@pytest.mark.parametrize("is_reused", [False, True])
@pytest.mark.parametrize("way", ["BDAT", "DATA", "one by one", "BDAT, divided", "DATA, refused"])
def test_one_message_in_a_task(way: str, is_reused: bool) -> None:
    content, envelope = items()[0]

    async def attempt(client: AsyncClient, room: int) -> list[str]:
        if is_reused:
            _ = await client.send(b"\r\n", envelope)
        server.taken.clear()
        result: Any = None
        try:
            result = await within_task(room, lambda: client.send(content, envelope))
        except (RecursionError, smtpx.SMTPError) as error:
            errors.append(type(error))
            result = vars(error).get("result")
        lost = [f"a place is lost: {client.statistics()}"] if is_busy(client) else []
        return lost + untrue(result, {recipient for _, recipient in server.taken})

    async def end(client: AsyncClient) -> list[str]:
        # In a run of its own: the loop's selector may have been struck as well.
        result = await client.send(b"\r\n", envelope)
        await client.close()
        return [] if result.accepted else ["nothing goes any more"]

    faults, errors = list[str](), list[type]()
    with Noting(WAYS[way]) as server:
        for room in [900, *ROOMS]:
            client = AsyncClient(server.url, pool=PoolLimits(open=1, wait=5))
            wrong = asyncio.run(attempt(client, room)) + asyncio.run(end(client))
            faults += [f"room for {room}: {one}" for one in wrong]
            server.wait_for_the_end()
    assert faults == []
    assert 10 < len(errors) < len(ROOMS) - 5


@pytest.mark.parametrize("begun", [0, 1])
@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("way", _some("BDAT", "DATA", "one by one, divided"))
def test_many_in_tasks(way: str, connections: int, begun: int) -> None:
    async def attempt(server: Noting, room: int) -> tuple[Account, list[str]]:
        client = AsyncClient(server.url, pool=PoolLimits(open=3, wait=5))
        call = Account()
        sending: Any = client.send_many(call.source, connections=connections, window=3)
        await heard(sending, call, room, begun)
        if call.is_mute:
            _ = gc.collect()
        for _ in range(500):
            if not is_busy(client):
                break
            await asyncio.sleep(0.01)  # Its tasks end.
        wrong = [f"a place is lost: {client.statistics()}"] if is_busy(client) else []
        await client.close()
        return call, wrong

    swept(WAYS[way], attempt, begun)


def swept(ways: Any, attempt: Callable[[Noting, int], Any], begun: int) -> None:
    faults, errors, mute = list[str](), 0, 0
    with Noting(ways) as server:
        _ = asyncio.run(attempt(server, 900))
        for room in ROOMS:
            server.wait_for_the_end()
            server.taken.clear()
            call, wrong = asyncio.run(attempt(server, room))
            errors += call.error is not None
            server.wait_for_the_end()
            wrong += call.faults(server.taken)
            if call.is_mute and any(fault.startswith("read") for fault in wrong):
                mute += 1
                wrong = [fault for fault in wrong if not fault.startswith("read")]
            faults += [f"room for {room}: {fault}" for fault in wrong]
    assert faults == []
    assert errors > 3
    assert mute <= (3 if begun else 0)


def options_of(server: Noting, dns: NameServer) -> dict[str, Any]:
    return {
        "resolver": NameServers("127.0.0.1", port=dns.port),
        "port": int(server.url.rpartition(":")[2]),
        "addresses": LOOPBACK,
        "limits": DeliveryLimits(address=3, wait=2),
    }


@pytest.mark.parametrize("begun", [0, 1])
@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("way", _some("BDAT", of=("DATA", "DATA, refused")))
def test_many_deliveries(way: str, most: int, begun: int) -> None:
    async def attempt(server: Noting, room: int) -> tuple[Account, list[str]]:
        return in_thread(server, room)

    def in_thread(server: Noting, room: int) -> tuple[Account, list[str]]:
        call = Account()
        with Delivery("mail.example.org", **options_of(server, dns)) as delivery:
            sending: Any = delivery.send_many(call.source, connections=most, window=1)

            def go_on() -> None:
                for result in sending:
                    call.told.append(result)

            try:
                for _ in range(begun):
                    call.told.append(next(sending))
                within(room, go_on)
            except RecursionError as error:
                call.ended(error)
            if sending.gi_frame is not None:
                call.told += sending
            return call, []

    with NameServer(ZONE) as dns:
        swept(WAYS[way], attempt, begun)


@pytest.mark.parametrize("begun", [0, 1])
@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("way", _some("BDAT", of=("DATA", "DATA, refused")))
def test_many_deliveries_in_tasks(way: str, most: int, begun: int) -> None:
    async def attempt(server: Noting, room: int) -> tuple[Account, list[str]]:
        call = Account()
        async with AsyncDelivery("mail.example.org", **options_of(server, dns)) as delivery:
            sending: Any = delivery.send_many(call.source, connections=most, window=1)
            await heard(sending, call, room, begun)
            return call, []

    with NameServer(ZONE) as dns:
        swept(WAYS[way], attempt, begun)


@pytest.mark.parametrize("is_in_task", [False, True])
@pytest.mark.parametrize("way", _some("BDAT", of=("DATA", "DATA, refused")))
def test_one_delivery(way: str, is_in_task: bool) -> None:
    content, envelope = items()[0]
    after = Envelope("s@x.test", "bob@one.test")

    async def in_task(server: Noting, room: int) -> Any:
        async with AsyncDelivery("mail.example.org", **options_of(server, dns)) as delivery:
            try:
                return await within_task(room, lambda: delivery.send(content, envelope))
            except (RecursionError, smtpx.SMTPError) as error:
                errors.append(type(error))
                return vars(error).get("result")
            finally:
                result = await delivery.send(b"\r\n", after)
                assert result.complete

    def in_thread(server: Noting, room: int) -> Any:
        with Delivery("mail.example.org", **options_of(server, dns)) as delivery:
            try:
                return within(room, lambda: delivery.send(content, envelope))
            except (RecursionError, smtpx.SMTPError) as error:
                errors.append(type(error))
                return vars(error).get("result")
            finally:
                assert delivery.send(b"\r\n", after).complete

    faults, errors = list[str](), list[type]()
    with Noting(WAYS[way]) as server, NameServer(ZONE) as dns:
        for room in [900, *ROOMS]:
            server.taken.clear()
            if is_in_task:
                result = asyncio.run(in_task(server, room))
            else:
                result = in_thread(server, room)
            server.wait_for_the_end()
            taken = {who for what, who in server.taken if what == content}
            faults += [f"room for {room}: {one}" for one in untrue(result, taken)]
    assert faults == []
    assert 10 < len(errors) < len(ROOMS) - 5


@pytest.mark.parametrize("way", ["BDAT", "DATA", "one by one"])
def test_a_kept_session_of_tasks_is_idle_or_closed(way: str) -> None:
    """Also while the error is kept, and nobody uses the client again."""
    wrong, errors, content, envelope = list[str](), list[BaseException](), *items()[0]

    async def attempt(server: Noting, room: int) -> None:
        client = AsyncClient(server.url, pool=PoolLimits(open=1, wait=5))
        _ = await client.send(b"\r\n", envelope)
        (slot,) = client._pools.here()._state._slots
        assert slot.held is not None
        assert slot.held._driver is not None
        driver = slot.held._driver
        try:
            _ = await within_task(room, lambda: client.send(content, envelope))
        except (RecursionError, smtpx.SMTPError) as error:
            errors.append(error)
        is_open = not driver.closed
        if is_open != client.statistics().idle:
            wrong.append(f"room for {room}: {is_open=}, {client.statistics()}")
        await client.close()

    with Noting(WAYS[way]) as server:
        asyncio.run(attempt(server, 1000))
        for room in ROOMS:
            asyncio.run(attempt(server, room))
    assert wrong == []
    assert 10 < len(errors) < len(ROOMS) - 10
