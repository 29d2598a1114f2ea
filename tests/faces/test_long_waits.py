"""Times that are meant as none: ``sys.maxsize`` and the like wait, and are no error."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import smtpx
from smtpx import AsyncClient, Client, Envelope, Limits, PoolLimits, Timeouts
from smtpx.delivery import AddressPolicy, Delivery, DeliveryLimits, NameServers
from smtpx.outbox import Limit, Outbox, Retries, State
from smtpx.testing import NameServer, Server

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", "bob@example.net")
LONG = [2.2e6, 1e9, threading.TIMEOUT_MAX, 1e10, sys.maxsize, sys.float_info.max]

OPTIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "total": lambda seconds: {"timeout": seconds},
    "each": lambda seconds: {"timeouts": Timeouts.each(seconds)},
    "pool": lambda seconds: {
        "pool": PoolLimits(wait=seconds, idle_time=seconds, age=seconds, recovery=seconds, idle=1)
    },
    "data_rate": lambda seconds: {"limits": Limits(data_rate=seconds)},
}


def send(url: str, **options: Any) -> list[smtpx.SendResult]:
    with Client(url, **options) as client:
        return [client.send(CONTENT, ENVELOPE)]


def send_many(url: str, **options: Any) -> list[smtpx.SendResult]:
    with Client(url, **options) as client:
        return [*client.send_many([(CONTENT, ENVELOPE)] * 2, connections=2)]


async def _send(url: str, options: dict[str, Any]) -> list[smtpx.SendResult]:
    async with AsyncClient(url, **options) as client:
        many = [result async for result in client.send_many([(CONTENT, ENVELOPE)], connections=2)]
        return [await client.send(CONTENT, ENVELOPE), *many]


def asyncio_send(url: str, **options: Any) -> list[smtpx.SendResult]:
    return asyncio.run(_send(url, options))


def trio_send(url: str, **options: Any) -> list[smtpx.SendResult]:
    return trio.run(_send, url, options)


@pytest.mark.parametrize("seconds", LONG)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("call", [send, send_many, asyncio_send, trio_send])
def test_what_is_long_waits(
    call: Callable[..., list[smtpx.SendResult]], option: str, seconds: float
) -> None:
    with Server() as server:
        told = call(server.url, **OPTIONS[option](seconds))
        assert all(result.complete for result in told)
        _ = server.wait_for_messages(len(told), timeout=seconds)


@pytest.mark.parametrize("seconds", LONG)
def test_what_is_long_waits_in_an_outbox(seconds: float, tmp_path: Path) -> None:
    """Its worker lives by the lease, and a delivery by what it may wait for."""
    limits = DeliveryLimits(idle=seconds, wait=seconds)
    with (
        Server() as server,
        NameServer("example.net. MX 10 mx.example.net.\nmx.example.net. A 127.0.0.1") as names,
        Delivery(
            "mail.example.org",
            resolver=NameServers("127.0.0.1", port=names.port, validating=False),
            port=server.port,
            addresses=AddressPolicy(["127.0.0.0/8"]),
            resolver_timeout=seconds,
            limits=limits,
        ) as delivery,
        Outbox(f"sqlite:///{tmp_path}/outbox.db", lease=seconds, patience=seconds) as outbox,
    ):
        id = outbox.put(CONTENT, ENVELOPE)
        outbox.run(delivery, until_empty=True, connections=2)
        assert [each.state for each in outbox.status(id).deliveries] == [State.ACCEPTED]


NAMED = {
    "connect": lambda: Timeouts(connect=10**400),
    "timeout": lambda: Client("smtp://127.0.0.1", timeout=10**400),
    "recovery": lambda: PoolLimits(recovery=10**400),
    "idle": lambda: DeliveryLimits(idle=10**400),
    "first": lambda: Retries(first=10**400),
    "rate": lambda: Limit(rate=10**400),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_no_number_of_seconds_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}="):
        NAMED[name]()
