"""What holds connections is neither pickled nor copied, and says so in its own words."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.delivery import NameServers
from smtpx.inbox import Inbox
from smtpx.sansio import AsyncDriver, Driver
from smtpx.testing import NameServer, Server

URL = "smtp://localhost"
DNS = NameServers("127.0.0.1")
KINDS: dict[str, Callable[[Path], Any]] = {
    "Client": lambda _: smtpx.Client(URL),
    "AsyncClient": lambda _: smtpx.AsyncClient(URL),
    "Session": lambda _: smtpx.Session(URL),
    "AsyncSession": lambda _: smtpx.AsyncSession(URL),
    "Delivery": lambda _: smtpx.Delivery("mail.example.org", resolver=DNS),
    "AsyncDelivery": lambda _: smtpx.AsyncDelivery("mail.example.org", resolver=DNS),
    "Outbox": lambda folder: smtpx.Outbox(f"sqlite:///{folder / 'mail.db'}"),
    "AsyncOutbox": lambda folder: smtpx.AsyncOutbox(f"sqlite:///{folder / 'mail.db'}"),
    "Driver": lambda _: Driver(URL),
    "AsyncDriver": lambda _: AsyncDriver(URL),
    "Server": lambda _: Server(),
    "NameServer": lambda _: NameServer("a.test A 127.0.0.1"),
    "Inbox": lambda _: Inbox(),
}
WAYS: list[Callable[[Any], object]] = [pickle.dumps, copy.copy, copy.deepcopy]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_there_is_no_other(kind: str, way: Callable[[Any], object], tmp_path: Path) -> None:
    one = KINDS[kind](tmp_path)
    with pytest.raises(TypeError, match=rf"^smtpx\.(\w+\.)*{kind} holds connections, and can be"):
        _ = way(one)
    if kind == "Outbox":
        one.close()
