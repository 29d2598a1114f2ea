"""Deliveries of every world, seen as the blocking one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
import trio

from smtpx.delivery import AddressPolicy, AsyncDelivery, Delivery, NameServers
from smtpx.testing import NameServer

Call: TypeAlias = Callable[..., Any]
LOOPBACK = AddressPolicy(["127.0.0.0/8", "::1"])


class Asynchronous:
    """An `AsyncDelivery`, each call of which runs in a loop of its own."""

    def __init__(self, run: Callable[[Callable[[], Any]], Any], *args: Any, **options: Any) -> None:
        self._delivery = AsyncDelivery(*args, **options)
        self._run = run

    def plan(self, domain: str) -> Any:
        return self._run(lambda: self._delivery.plan(domain))

    def send(self, *args: Any) -> Any:
        return self._run(lambda: self._delivery.send(*args))

    def send_many(self, *args: Any, **options: Any) -> Any:
        async def collect() -> list[Any]:
            return [one async for one in self._delivery.send_many(*args, **options)]

        return self._run(collect)

    def send_reports(self, **options: Any) -> Any:
        return self._run(lambda: self._delivery.send_reports(**options))

    def __enter__(self) -> Asynchronous:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._delivery.close)


def in_asyncio(call: Callable[[], Any]) -> Any:
    async def main() -> Any:
        return await call()

    return asyncio.run(main())


def in_trio(call: Callable[[], Any]) -> Any:
    async def main() -> Any:
        return await call()

    return trio.run(main)


WORLDS: dict[str, Call] = {
    "thread": Delivery,
    "asyncio": lambda *args, **options: Asynchronous(in_asyncio, *args, **options),
    "trio": lambda *args, **options: Asynchronous(in_trio, *args, **options),
}


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[Call]:
    """Makes a delivery that may dial this machine; it is closed after the test."""
    made: list[Any] = []

    def make(resolver: Any, **options: Any) -> Any:
        if isinstance(resolver, NameServer):
            resolver = NameServers("127.0.0.1", port=resolver.port, validating=True)
        options.setdefault("addresses", LOOPBACK)
        delivery = WORLDS[request.param]("mail.example.org", resolver=resolver, **options)
        made.append(delivery)
        return delivery

    yield make
    for delivery in made:
        delivery.__exit__(None, None, None)
