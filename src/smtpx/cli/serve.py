"""``smtpx serve``: a mail server that keeps what it gets, with an inbox in the browser."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import smtpx
from smtpx.cli._accounts import account_of, add_password_options
from smtpx.cli._console import SCHEMA, Console, printable
from smtpx.cli._dkim_keys import records
from smtpx.cli._exits import Exit, Stop
from smtpx.cli._letters import octets_of_size
from smtpx.cli._running import Parser, count_of, requests_to_end
from smtpx.cli._shapes import sentence_of
from smtpx.cli._trusted import secret_in
from smtpx.inbox import Inbox, Release
from smtpx.testing import Fault, Mailbox, ReceivedMessage, Server, ServerTLS, read_fault

__all__ = ["parser", "run"]

_EPILOG = """\
examples:
  smtpx serve                                    SMTP at 127.0.0.1:1025, the inbox at :8025
  smtpx serve --tls starttls --auth any --store mail.db
  smtpx serve --fault 'RCPT bob@*: 451 4.3.0 later x2' --fault 'latency: 0.2'
  smtpx serve --no-inbox --jsonl | jq .recipients

Another address than this machine's own needs --token-file, or --i-know. Ctrl-C ends it.
"""
_KEPT_SESSIONS = 1000
_MOST_SESSIONS = 256
_SILENCE = 300.0  # RFC 5321 §4.5.3.2.7
_LEAST_ROOM = 1 << 26
_HOST = re.compile(r"[^\s:\[\]/@]*")
_PORT = re.compile("[0-9]{1,5}")
_TURN = 0.001


def parser() -> Parser:
    """What it takes."""
    parser = Parser("serve", "Catch mail on this machine, and show it in a browser.", _EPILOG)
    where = parser.add_argument_group("where")
    where.add_argument("--smtp", default="127.0.0.1:1025", metavar="HOST:PORT")
    where.add_argument("--http", default="127.0.0.1:8025", metavar="HOST:PORT")
    where.add_argument("--host-name", action="append", default=[], help="the inbox answers to it")
    where.add_argument("--token-file", metavar="FILE", help="whoever opens the inbox needs it")
    where.add_argument("--i-know", action="store_true", help="show all mail to everybody")
    where.add_argument("--open", action="store_true", help="open the browser")
    where.add_argument("--no-inbox", action="store_true", help="no page, only the server")
    how = parser.add_argument_group("how it speaks")
    how.add_argument("--tls", choices=[mode.value for mode in ServerTLS], default="none")
    how.add_argument(
        "--auth", metavar="any|USER:FILE", help="whoever comes, or who has that file's"
    )
    how.add_argument("--lmtp", action="store_true", help="LMTP in place of SMTP")
    how.add_argument("--size", type=octets_of_size, default="50M", help="the largest message")
    how.add_argument("--fault", action="append", default=[], metavar="SPEC", help="what goes wrong")
    kept = parser.add_argument_group("what it keeps")
    kept.add_argument("--store", metavar="FILE", help="an SQLite file, in place of memory")
    kept.add_argument("--keep", type=count_of, default=1000, metavar="N", help="messages")
    kept.add_argument("--keep-bytes", type=octets_of_size, default="256M", metavar="SIZE")
    kept.add_argument("--jsonl", action="store_true", help="print each message as a JSON value")
    kept.add_argument(
        "--dkim-key",
        action="append",
        default=[],
        metavar="SELECTOR:DOMAIN:FILE",
        help="verify signatures by it: a PEM file, or a TXT record",
    )
    on = parser.add_argument_group("release")
    on.add_argument("--release-to", metavar="URL|@ACCOUNT", help="where messages can be sent on to")
    on.add_argument(
        "--release-allow",
        action="append",
        default=[],
        metavar="PATTERN",
        help="to whom: '*@x.test'",
    )
    add_password_options(parser)
    return parser


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something listens."""

    host: str
    port: int

    @classmethod
    def of(cls, flag: str, text: str) -> _Place:
        host, colon, port = text.rpartition(":")
        host = host[1:-1] if host[:1] + host[-1:] == "[]" else host
        is_host = _HOST.fullmatch(host) or _is_address(host)
        if not (colon and is_host and _PORT.fullmatch(port)) or int(port) > 65535:
            raise Stop(f"{flag} {printable(text)!r}: write HOST:PORT, such as 127.0.0.1:1025")
        return cls(host or "127.0.0.1", int(port))

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        return _is_address(self.host) and ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_address(host: str) -> bool:
    try:
        _ = ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Serve until somebody ends it."""
    smtp, http = _Place.of("--smtp", arguments.smtp), _Place.of("--http", arguments.http)
    token = _token(arguments, http)
    faults = [_fault(text) for text in arguments.fault]
    if not arguments.no_inbox:
        _check_extra()
    if not smtp.is_loopback:
        console.problem(f"anybody who reaches {smtp} can send mail to this server")
    if not http.is_loopback and not arguments.no_inbox and token is None:
        console.problem(f"anybody who reaches {http} can read all mail")
    with _inbox(arguments, console) as inbox:
        catch = _Catch(inbox, arguments, console)
        server = _server(arguments, smtp, faults, catch, _authority(arguments, console))
        inbox.watch(server)
        # It has a thread of its own: pages do not wait while a large message is judged, or read.
        sys.setswitchinterval(_TURN)
        with _running(server, smtp):
            url = asyncio.run(_serve(arguments, server, inbox, http, token, console))
            fields = {"smtp": server.url, "inbox": url, "taken": catch.taken}
        console.document("serve", Exit.DONE, fields)
    return Exit.DONE


def _check_extra() -> None:
    try:
        for name in ("starlette", "nh3", "uvicorn"):
            _ = import_module(name)
    except ImportError as error:
        raise smtpx.ExtraMissing(
            "inbox", str(error.name), "the inbox (--no-inbox does without)"
        ) from None


def _token(arguments: argparse.Namespace, http: _Place) -> str | None:
    if arguments.token_file is not None:
        token = secret_in(Path(arguments.token_file), "the token").strip()
        if len(token) < 16 or not token.isascii() or not token.isprintable():
            raise Stop(
                f"{arguments.token_file}: a token is 16 or more characters of ASCII, such as "
                f"{secrets.token_urlsafe(24)}",
                Exit.CONFIGURATION,
            )
        return token
    if http.is_loopback or arguments.no_inbox or arguments.i_know:
        return None
    raise Stop(
        f"--http {http} shows all mail to whoever reaches it: give --token-file, or --i-know"
    )


def _fault(text: str) -> Fault:
    try:
        return read_fault(text)
    except ValueError as error:
        raise Stop(f"--fault {error}") from None


def _inbox(arguments: argparse.Namespace, console: Console) -> Inbox:
    if arguments.release_allow and arguments.release_to is None:
        raise Stop("--release-allow is of no use without --release-to URL")
    release = _release(arguments, console)
    keys = records(arguments.dkim_key)
    try:
        return Inbox(
            store=arguments.store,
            keep=arguments.keep,
            keep_octets=arguments.keep_bytes,
            release=release,
            release_allow=arguments.release_allow,
            dkim_keys=keys,
        )
    except ValueError as error:
        raise Stop(f"--keep: {error}") from None
    except OSError as error:
        said = re.sub("^store='(.*?)':", r"--store \1:", sentence_of(error))
        if error.filename:
            said = f"--store {arguments.store}: {error.strerror}: give another file"
        raise Stop(said, Exit.CONFIGURATION) from None


def _release(arguments: argparse.Namespace, console: Console) -> Release | None:
    if arguments.release_to is None:
        return None
    if not arguments.release_allow:
        raise Stop("--release-to needs --release-allow PATTERN: say to whom")
    account = account_of(arguments.release_to, arguments, console)

    async def release(content: bytes, envelope: smtpx.Envelope) -> smtpx.SendResult:
        options: dict[str, Any] = {"credentials": account.credentials, "timeout": 60.0}
        return await smtpx.asend(content, account.endpoint, envelope, **options)

    return release


class _Catch:
    """Keeps a message, and tells that it came."""

    def __init__(self, inbox: Inbox, arguments: argparse.Namespace, console: Console) -> None:
        self.taken = 0
        self._inbox, self._arguments, self._console = inbox, arguments, console

    def __call__(self, message: ReceivedMessage) -> str | None:
        refused = self._inbox.take(message)
        if refused is None:
            self.taken += 1
            _tell(message, self._arguments, self._console)
        else:
            self._console.problem(
                printable(f"a message of <{message.sender}> is refused: {refused}")
            )
        return refused


def _server(
    arguments: argparse.Namespace,
    place: _Place,
    faults: list[Fault],
    take: Callable[[ReceivedMessage], str | None],
    authority: Path | None,
) -> Server:
    return Server(
        host=place.host,
        port=place.port,
        tls=ServerTLS(arguments.tls),
        authority=authority,
        lmtp=arguments.lmtp,
        size_limit=arguments.size,
        faults=faults,
        refuse_content=take,
        mailbox=Mailbox(keep=0),
        keep_sessions=_KEPT_SESSIONS,
        connection_limit=_MOST_SESSIONS,
        idle_timeout=_SILENCE,
        unfinished_limit=max(4 * arguments.size, _LEAST_ROOM),
        hostname=socket.gethostname() if "." in socket.gethostname() else "localhost",
        **_users(arguments),
    )


def _authority(arguments: argparse.Namespace, console: Console) -> Path | None:
    """The folder that keeps the authority of the certificate; None where there is none."""
    if arguments.tls == "none":
        return None
    try:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "smtpx"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
        why = f"{folder} cannot be written"
    except (OSError, RuntimeError) as error:
        why = sentence_of(error)
    console.warning(f"clients have to trust a new certificate authority at each start: {why}")
    return None


def _users(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.auth is None:
        return {}
    if arguments.auth == "any":
        return {"any_login": True}
    user, colon, file = arguments.auth.partition(":")
    if not (user and colon and file):
        raise Stop(f"--auth {arguments.auth!r}: write any, or USER:FILE with the password's file")
    password = secret_in(Path(file), "a password")
    return {"users": {user: password}, "require_authentication": True}


def _tell(message: ReceivedMessage, arguments: argparse.Namespace, console: Console) -> None:
    if arguments.jsonl:
        # Only what is known without reading the message: the server's loop is no place for that.
        console.line(
            {
                "schema": SCHEMA,
                "taken": round(time.time(), 3),
                "queue_id": message.queue_id,
                "session": message.session,
                "sender": message.sender,
                "recipients": list(message.recipients),
                "size": len(message.content),
                "tls": message.tls,
                "user": message.user,
            }
        )
    elif not console.quiet:
        to = printable(", ".join(message.recipients[:3]))
        more = f" and {len(message.recipients) - 3} more" if len(message.recipients) > 3 else ""
        size = len(message.content)
        sender = printable(message.sender)
        console.story(f"{message.queue_id}  <{sender}> to {to}{more}, {size} octets")


@contextlib.contextmanager
def _running(server: Server, place: _Place) -> Generator[None]:
    try:
        server.start()
    except ValueError as error:
        raise Stop(str(error), Exit.CONFIGURATION) from None
    except OSError as error:
        raise _in_use("--smtp", str(place), error) from None
    with contextlib.closing(server):
        yield


async def _serve(
    arguments: argparse.Namespace,
    server: Server,
    inbox: Inbox,
    http: _Place,
    token: str | None,
    console: Console,
) -> str | None:
    """Serve until it is to end; return the address of the inbox."""
    ended = asyncio.Event()
    with _ending(asyncio.get_running_loop(), ended):
        if arguments.no_inbox:
            _announce(server, None, arguments, console)
            _ = await ended.wait()
            return None
        return await _serve_pages(arguments, server, inbox, http, token, console, ended)


async def _serve_pages(
    arguments: argparse.Namespace,
    server: Server,
    inbox: Inbox,
    place: _Place,
    token: str | None,
    console: Console,
    ended: asyncio.Event,
) -> str:
    from smtpx.cli import _web
    from smtpx.inbox import app

    names = [*arguments.host_name, f"[{place.host}]" if ":" in place.host else place.host]
    listener = _listener(place)
    bare = f"http://{_Place(place.host, listener.getsockname()[1])}/"
    _announce(server, bare if token is None else f"{bare}?token={token}", arguments, console)
    await _web.serve(
        app(inbox, hosts=names, token=token),
        listener,
        ended=ended,
        # A tab that is open waits for events for ever.
        before_end=inbox.changes.close,
        tell=None if arguments.debug else console.problem,
    )
    return bare


def _listener(place: _Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform != "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((place.host, place.port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise _in_use("--http", str(place), error) from None
    return listener


def _in_use(flag: str, place: str, error: OSError) -> Stop:
    return Stop(
        # The server's own text ends with its place.
        f"{place}: {(error.strerror or str(error)).removesuffix(f': {place}')}: "
        f"give {flag} another port, or 0 for any",
        Exit.CONFIGURATION,
    )


def _announce(
    server: Server, url: str | None, arguments: argparse.Namespace, console: Console
) -> None:
    how = "" if arguments.tls == "none" else f", {arguments.tls}"
    console.story(f"{'LMTP' if arguments.lmtp else 'SMTP'}   {server.url}{how}")
    if url is not None:
        console.story(f"inbox  {url}", "bold")
    if server.tls is not ServerTLS.NONE:
        console.story(f"trust  {server.ca_file}  (smtpx: ?ca=FILE in the URL)")
    for fault in arguments.fault:
        console.story(f"fault  {fault}", "yellow")
    if url is not None and arguments.open:
        import webbrowser

        _ = webbrowser.open(url)


@contextlib.contextmanager
def _ending(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> Generator[None]:
    """Ctrl-C, or a request to terminate, ends it in good order; a second Ctrl-C at once."""

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)
        loop.call_soon_threadsafe(ended.set)

    before: list[tuple[signal.Signals, Callable[..., Any] | int | None]] = [
        (each, signal.signal(each, end)) for each in (signal.SIGINT, *requests_to_end())
    ]
    try:
        yield
    finally:
        for each, handler in before:
            _ = signal.signal(each, handler)
