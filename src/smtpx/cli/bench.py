"""``smtpx bench``: how fast mail goes to a server of yours, politely bounded."""

from __future__ import annotations

import argparse
import asyncio
import smtplib
import ssl
import time
from collections.abc import Callable
from email.policy import SMTP
from importlib import import_module
from typing import Any

import smtpx
from smtpx.cli import _shapes
from smtpx.cli._accounts import Account, account_of, add_password_options
from smtpx.cli._console import Console, printable
from smtpx.cli._drawing import table
from smtpx.cli._exits import Exit, Stop, of_result, worst
from smtpx.cli._letters import in_flags, octets_of_size
from smtpx.cli._running import Parser, count_of

__all__ = ["parser", "run"]

_EPILOG = """\
Each message is delivered: name a recipient who expects them. At most 1000 go to another machine,
over at most 5 connections.

examples:
  smtpx bench smtp://localhost:1025 --from ann@example.org --to bob@example.net
  smtpx bench @work --to me@example.org --messages 50 --size 100K --compare smtplib
"""
_MOST_ABROAD, _MOST = 1000, 100_000
_MOST_CONNECTIONS = 5
_PATIENCE = 60.0


def parser() -> Parser:
    """What it takes."""
    parser = Parser("bench", "Measure how fast a server of yours takes mail.", _EPILOG)
    parser.add_argument("target", nargs="?", metavar="URL|@ACCOUNT")
    parser.add_argument("--from", dest="sender", metavar="ADDRESS")
    parser.add_argument("--to", required=True, metavar="ADDRESS", help="who gets the messages")
    parser.add_argument("--messages", type=count_of, default=100, metavar="N")
    parser.add_argument("--size", type=octets_of_size, default=10240, metavar="SIZE")
    parser.add_argument("--connections", type=count_of, default=1, metavar="N")
    parser.add_argument("--window", type=count_of, default=4096, metavar="OCTETS")
    parser.add_argument("--compare", metavar="smtplib,aiosmtplib", help="measure these beside it")
    add_password_options(parser)
    return parser


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Measure, each way once."""
    account = account_of(arguments.target, arguments, console)
    sender = arguments.sender or account.sender
    if sender is None:
        raise Stop("say whom it is from: --from ann@example.org")
    _check_bounds(arguments, account)
    try:
        message = smtpx.compose(
            sender=sender,
            to=arguments.to,
            subject="smtpx bench",
            text="x" * 70 + "\n",
            attachments=[smtpx.Attachment(bytes(arguments.size * 3 // 4), "padding.bin")],
        )
    except (ValueError, smtpx.LocalProtocolError) as error:
        raise Stop(in_flags(str(error))) from None
    envelope = smtpx.Envelope.from_message(message)
    content = message.as_bytes(policy=SMTP)
    load = _Load(arguments, account, content, envelope)
    ways: dict[str, Callable[[], float]] = {
        "smtpx, one after the other": load.one_by_one,
        "smtpx, send_many": load.many,
    }
    for name in filter(None, (arguments.compare or "").split(",")):
        ways[name] = load.by_other(name)
    rates = {name: arguments.messages / way() for name, way in ways.items()}
    code = worst(load.codes)
    first = next(iter(rates.values()))
    rows = [
        (name, f"{rate:,.0f} messages/s", f"{1000 / rate:.2f} ms each", f"{rate / first:.2f}×")
        for name, rate in rates.items()
    ]
    console.result(
        f"{arguments.messages} messages of {len(content):,} octets to {account.endpoint}"
    )
    table(console, ("way", "pace", "time", "ratio"), rows)
    if code is not Exit.DONE:
        console.problem("not every message was accepted: the figures are not of whole messages")
    fields: _shapes.JSON = {
        "server": str(account.endpoint),
        "messages": arguments.messages,
        "octets": len(content),
        "messages_per_second": {name: round(rate, 1) for name, rate in rates.items()},
    }
    console.document("bench", code, fields)
    return code


def _check_bounds(arguments: argparse.Namespace, account: Account) -> None:
    most = _MOST if account.endpoint.is_local else _MOST_ABROAD
    if not 1 <= arguments.messages <= most:
        raise Stop(f"--messages {arguments.messages}: give 1 to {most}")
    if not 1 <= arguments.connections <= _MOST_CONNECTIONS:
        raise Stop(f"--connections {arguments.connections}: give 1 to {_MOST_CONNECTIONS}")


class _Load:
    """What is sent, and each way of sending it; each says how many seconds that took.

    A message goes before the clock runs: to connect and to import is not what is measured.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        account: Account,
        content: bytes,
        envelope: smtpx.Envelope,
    ) -> None:
        self.codes: list[Exit] = []
        self._arguments = arguments
        self._account = account
        self._content = content
        self._envelope = envelope
        self._people = str(envelope.sender or ""), [str(each) for each in envelope.recipients]
        self._range = range(arguments.messages)

    def _client(self) -> smtpx.Client:
        return smtpx.Client(
            self._account.endpoint,
            credentials=self._account.credentials,
            limits=smtpx.Limits(window=self._arguments.window),
        )

    def one_by_one(self) -> float:
        """`Client.send`."""
        with self._client() as client:
            self._note(client.send(self._content, self._envelope))
            begun = time.perf_counter()
            for _ in self._range:
                self._note(client.send(self._content, self._envelope))
            return time.perf_counter() - begun

    def many(self) -> float:
        """`Client.send_many`."""
        first = [(self._content, self._envelope)]
        messages = ((self._content, self._envelope) for _ in self._range)
        with self._client() as client:
            for result in client.send_many(first):
                self._note(result)
            begun = time.perf_counter()
            for result in client.send_many(messages, connections=self._arguments.connections):
                self._note(result)
            return time.perf_counter() - begun

    def _note(self, result: smtpx.SendResult) -> None:
        self.codes.append(of_result(result))

    def by_other(self, name: str) -> Callable[[], float]:
        """What it is compared with.

        Raises:
            Stop: nobody knows it, or it is not installed.
        """
        if name == "smtplib":
            return self._by_smtplib
        if name != "aiosmtplib":
            raise Stop(f"--compare {printable(name)}: known are smtplib and aiosmtplib")
        try:
            aiosmtplib = import_module("aiosmtplib")
        except ImportError:
            raise Stop("aiosmtplib is not installed: pip install it", Exit.CONFIGURATION) from None
        return lambda: asyncio.run(self._by_aiosmtplib(aiosmtplib))

    @property
    def _mode(self) -> smtpx.TLSMode:
        endpoint = self._account.endpoint
        return endpoint.policy(peer_is_local=endpoint.is_local).mode

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._account.endpoint.ca_file)

    def _login(self) -> tuple[str | None, str | None]:
        credentials, endpoint = self._account.credentials, self._account.endpoint
        if credentials is None:
            return endpoint.user, endpoint.password
        source: Any = credentials.password
        return credentials.user, str(source() if callable(source) else source)

    def _by_smtplib(self) -> float:
        host, port = self._account.endpoint.host, self._account.endpoint.port
        if self._mode is smtpx.TLSMode.IMPLICIT:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, port, timeout=_PATIENCE, context=self._context()
            )
        else:
            server = smtplib.SMTP(host, port, timeout=_PATIENCE)
        with server:
            if self._mode is smtpx.TLSMode.STARTTLS:
                _ = server.starttls(context=self._context())
            user, password = self._login()
            if user is not None:
                _ = server.login(user, password or "")
            _ = server.sendmail(*self._people, self._content)
            begun = time.perf_counter()
            for _ in self._range:
                _ = server.sendmail(*self._people, self._content)
            return time.perf_counter() - begun

    async def _by_aiosmtplib(self, aiosmtplib: Any) -> float:
        user, password = self._login()
        server = aiosmtplib.SMTP(
            hostname=self._account.endpoint.host,
            port=self._account.endpoint.port,
            use_tls=self._mode is smtpx.TLSMode.IMPLICIT,
            start_tls=self._mode is smtpx.TLSMode.STARTTLS,
            tls_context=None if self._mode is smtpx.TLSMode.NONE else self._context(),
            username=user,
            password=password,
            timeout=_PATIENCE,
        )
        async with server:
            await server.sendmail(*self._people, self._content)
            begun = time.perf_counter()
            for _ in self._range:
                await server.sendmail(*self._people, self._content)
            return time.perf_counter() - begun
