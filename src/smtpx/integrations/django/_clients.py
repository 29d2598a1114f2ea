"""The clients of this process: one for each set of options, so that connections are kept."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from smtpx import AsyncClient, Client
from smtpx.integrations.django._settings import Settings

__all__ = ["alent", "lent"]

C = TypeVar("C")

# A program that logs in as each of its customers does not keep connections for all of them.
_KEPT = 32


@contextmanager
def lent(settings: Settings) -> Generator[Client, None, None]:
    """The process's client with these settings.

    Raises:
        SMTPError, TypeError, ValueError: there can be none.
    """
    loan = _clients.take(settings)
    try:
        yield loan.client
    finally:
        for client in _clients.give_back(loan):
            client.close()


@asynccontextmanager
async def alent(settings: Settings) -> AsyncGenerator[AsyncClient, None]:
    """The running loop's client with these settings.

    Raises:
        SMTPError, TypeError, ValueError: there can be none.
    """
    loop = asyncio.get_running_loop()
    if loop not in _by_loop:
        clients = _Clients(_async_client)
        keeper = _kept(clients)
        await anext(keeper)
        _by_loop[loop] = clients, keeper
    clients, _ = _by_loop[loop]
    loan = clients.take(settings)
    try:
        yield loan.client
    finally:
        for client in clients.give_back(loan):
            await client.close()


async def _kept(clients: _Clients[AsyncClient]) -> AsyncGenerator[None, None]:
    """Have the loop close them: it ends its asynchronous generators before it is closed."""
    try:
        yield
    finally:
        for client in clients.empty():
            await client.close()


def _client(settings: Settings) -> Client:
    return Client(settings.endpoint, pool=settings.pool, **settings.options)


def _async_client(settings: Settings) -> AsyncClient:
    return AsyncClient(settings.endpoint, pool=settings.pool, **settings.options)


@dataclass(slots=True, eq=False)
class _Loan(Generic[C]):
    settings: Settings
    client: C
    users: int = 0


class _Clients(Generic[C]):
    """Clients by their settings, the latest used last."""

    def __init__(self, make: Callable[[Settings], C]) -> None:
        self._make = make
        self._loans: list[_Loan[C]] = []
        self._lock = RLock()
        _inherited.add(self)

    def leave_parent(self) -> None:
        """Begin anew in a child: lock and users may be threads that the child does not have."""
        self._lock = RLock()
        for loan in self._loans:
            loan.users = 0

    def take(self, settings: Settings) -> _Loan[C]:
        """The client with these settings, kept at least until it is given back."""
        with self._lock:
            known = [loan for loan in self._loans if loan.settings == settings]
            if known:
                loan = known[0]
                self._loans.remove(loan)
            else:
                loan = _Loan(settings, self._make(settings))
            self._loans.append(loan)
            loan.users += 1
            return loan

    def give_back(self, loan: _Loan[C]) -> list[C]:
        """Note that somebody is done with it; return those that are to be closed."""
        with self._lock:
            loan.users = max(loan.users - 1, 0)
            surplus = max(len(self._loans) - _KEPT, 0)
            parting = [loan for loan in self._loans if loan.users == 0][:surplus]
            self._loans = [loan for loan in self._loans if loan not in parting]
        return [loan.client for loan in parting]

    def empty(self) -> list[C]:
        """Have none any more; return those that are to be closed."""
        with self._lock:
            loans, self._loans = self._loans, []
        return [loan.client for loan in loans]


_inherited: WeakSet[_Clients[Any]] = WeakSet()
_clients = _Clients(_client)
_by_loop: WeakKeyDictionary[
    asyncio.AbstractEventLoop, tuple[_Clients[AsyncClient], AsyncGenerator[None, None]]
] = WeakKeyDictionary()


def _in_child() -> None:
    for clients in list(_inherited):
        clients.leave_parent()


@atexit.register
def _at_exit() -> None:
    for client in _clients.empty():
        client.close()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)
