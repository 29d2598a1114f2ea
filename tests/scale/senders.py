"""The faces' ways to send many messages, each seen as one blocking function."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import trio

import smtpx
from smtpx import AsyncClient, Client, PoolLimits, SendResult, Status
from tests.scale.account import Mail, Verdicts, verdicts_of

Told: TypeAlias = list[tuple[Mail, Verdicts]]

FACES = ["sync", "asyncio", "trio"]

_RUN: dict[str, Callable[[Callable[[], Awaitable[Any]]], Any]] = {
    "asyncio": lambda main: asyncio.run(main()),  # type: ignore[arg-type] # it is a coroutine
    "trio": lambda main: trio.run(main),
}


def send_many(
    face: str,
    url: str,
    mails: Sequence[Mail],
    *,
    connections: int,
    window: int = 64,
    **options: Any,
) -> Told:
    """`send_many` over so many connections; where it ends by an error, the rest was not tried."""
    by_content = {mail.content: mail for mail in mails}
    results: list[SendResult] = []
    on_doubt = options.pop("on_doubt", "report")
    how = {"connections": connections, "window": window, "on_doubt": on_doubt}
    failed = False

    def blocking() -> None:
        with Client(url, pool=PoolLimits(open=connections, idle=connections), **options) as client:
            given: Any = how
            for result in client.send_many([mail.item for mail in mails], **given):
                results.append(result)

    async def asynchronous() -> None:
        async with _async_client(url, connections, options) as client:
            known = inspect.signature(client.send_many).parameters
            given: Any = {name: value for name, value in how.items() if name in known}
            async for result in client.send_many([mail.item for mail in mails], **given):
                results.append(result)

    try:
        if face == "sync":
            blocking()
        else:
            _RUN[face](asynchronous)
    except smtpx.SMTPError:
        failed = True
    told = [
        (by_content[result.message], verdicts_of(result, by_content[result.message]))  # type: ignore[index] # its content
        for result in results
    ]
    if failed:
        seen = {mail.sender for mail, _ in told}
        told += [
            (mail, dict.fromkeys(mail.recipients, Status.NOT_TRIED))
            for mail in mails
            if mail.sender not in seen
        ]
    return told


def send_each(
    face: str, url: str, mails: Sequence[Mail], *, connections: int, callers: int, **options: Any
) -> Told:
    """`send`, one message at a time, from so many threads or tasks that share a client."""
    told: Told = []
    left = list(reversed(mails))

    if face == "sync":
        with Client(url, pool=PoolLimits(open=connections, idle=connections), **options) as client:

            def work() -> None:
                while left:
                    try:
                        mail = left.pop()
                    except IndexError:
                        return
                    try:
                        outcome: SendResult | smtpx.SMTPError = client.send(*mail.item)
                    except smtpx.SMTPError as error:
                        outcome = error
                    told.append((mail, verdicts_of(outcome, mail)))

            threads = [threading.Thread(target=work) for _ in range(callers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return told

    async def main() -> None:
        async with _async_client(url, connections, options) as client:

            async def work() -> None:
                while left:
                    mail = left.pop()
                    try:
                        outcome: SendResult | smtpx.SMTPError = await client.send(*mail.item)
                    except smtpx.SMTPError as error:
                        outcome = error
                    told.append((mail, verdicts_of(outcome, mail)))

            if face == "trio":
                async with trio.open_nursery() as nursery:
                    for _ in range(callers):
                        nursery.start_soon(work)
            else:
                _ = await asyncio.gather(*[work() for _ in range(callers)])

    _RUN[face](main)
    return told


def _async_client(url: str, connections: int, options: dict[str, Any]) -> AsyncClient:
    limits: dict[str, Any] = {}
    if "pool" in inspect.signature(AsyncClient).parameters:
        limits["pool"] = PoolLimits(open=connections, idle=connections)
    return AsyncClient(url, **limits, **options)
