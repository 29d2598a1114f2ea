"""A real mail server for tests, in a thread of the test's own process.

::

    with Server(users={"jo": "secret"}, tls=ServerTLS.STARTTLS) as server:
        ...  # talk to server.host, server.port
    assert server.messages[0].recipients == ("kim@example.com",)
    assert server.messages[0].parsed["Subject"] == "Grüße"
    assert server.breaches == []  # nothing that the client should not have said
    assert server.unstruck == []  # no fault that never came to anything

It listens on the loopback interface or a unix socket, speaks SMTP or LMTP strictly, and fails in
whichever way its faults say. It needs ``trustme`` (the extra ``smtpx[testing]``) for TLS only.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from smtpx import _checks
from smtpx._starting import Joined
from smtpx._uncopied import Uncopied

from ._bounds import Bounds
from ._connection import Connection
from ._extensions import USUAL_EXTENSIONS, Extension
from ._mailbox import Mailbox, ReceivedMessage
from ._mechanisms import STANDARD_MECHANISMS, ServerMechanism
from ._options import AuthForm, ContentRefusal, Refusals, ServerOptions
from ._records import SessionRecord, Shared
from ._tls import Authority
from .faults import Fault

_BACKLOG = 1024
_LOOPBACK = "127.0.0.1"
_USED_UP = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class ServerTLS(Enum):
    """When a server speaks TLS."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


def _checked(faults: Iterable[Fault]) -> list[Fault]:
    found = list(faults) if isinstance(faults, Iterator) else faults
    _checks.each(
        "faults", found, "faults", *get_args(Fault), advice=": read_fault() makes one of text"
    )
    return list(found)


class Server(Uncopied):
    """An embedded mail server; enter it, or `start` and `close` it.

    ``with`` runs it in a thread of its own, ``async with`` on the asyncio loop of the caller.

    What it received can be asked for at any time and from any thread, also after `close`. An error
    inside the server, such as one raised by a callable given to it, is raised by `close`.
    """

    def __init__(
        self,
        *,
        tls: ServerTLS = ServerTLS.NONE,
        users: Mapping[str, str] | None = None,
        any_login: bool = False,
        extensions: AbstractSet[Extension] = USUAL_EXTENSIONS,
        lmtp: bool = False,
        faults: Iterable[Fault] = (),
        refuse_senders: Refusals | None = None,
        refuse_recipients: Refusals | None = None,
        refuse_content: ContentRefusal = None,
        lmtp_replies: Refusals | None = None,
        size_limit: int | None = None,
        mail_limit: int | None = None,
        recipient_limit: int | None = None,
        domain_limit: int | None = None,
        data_without_recipients: bool = False,
        mechanisms: Sequence[ServerMechanism] = STANDARD_MECHANISMS,
        auth_form: AuthForm = AuthForm.STANDARD,
        auth_needs_tls: bool = False,
        require_authentication: bool = False,
        refuse_ehlo: bool = False,
        ehlo_lines: Sequence[str] = (),
        hostname: str = "mail.test",
        greeting: str | None = None,
        host: str = _LOOPBACK,
        port: int = 0,
        path: str | Path | None = None,
        certificate_names: Sequence[str] = _LOCAL_NAMES,
        certificate_expired: bool = False,
        authority: str | Path | None = None,
        server_context: ssl.SSLContext | None = None,
        buffer_size: int | None = None,
        mailbox: Mailbox | None = None,
        keep_sessions: int | None = None,
        connection_limit: int | None = None,
        idle_timeout: float | None = None,
        unfinished_limit: int | None = None,
    ) -> None:
        """Say how the server shall behave; nothing happens before `start`.

        Most keywords are those of `ServerOptions`. `port` 0 is a free one, new with each `start`.
        `path` makes it a unix socket in place of `host` and `port`. `certificate_names` are what
        the certificate is good for. `authority` is a folder that keeps the certificate's authority,
        made at the first use; without it each start has a new one. `server_context` replaces the
        server's own authority and certificate. `buffer_size` bounds what lies between server and
        client in each direction, as far as the operating system lets it. A client that writes
        without reading is then soon found out. `mailbox` is where messages go, bounded if it says
        so. `keep_sessions` is how many records of sessions are kept, the newest, each with its
        first 1000 lines; None is all.

        `connection_limit` is how many sessions may be open at once; one more is told 421.
        `idle_timeout` is after how many seconds without a command, or 64 KiB of a content, a
        session is ended, by 421. `unfinished_limit` is how many octets of mail all sessions
        together may have sent without an end; what is more is answered 452.

        Raises:
            TypeError: an argument is of another kind.
            ValueError: an argument is out of its range, or another makes nothing of it.
        """
        _checks.instance("tls", tls, ServerTLS)
        _checks.text("host", host)
        _checks.count("port", port, 0, 65535)
        if not (path is None or isinstance(path, (str, Path))):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("path", path, "the path of a unix socket or None")
        _checks.each("certificate_names", certificate_names, "str", str)
        _checks.flag("certificate_expired", certificate_expired)
        if not (authority is None or isinstance(authority, (str, Path))):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("authority", authority, "the path of a folder or None")
        _checks.instance("server_context", server_context, ssl.SSLContext, or_none=True)
        _checks.count("buffer_size", buffer_size, 1, or_none=True)
        if path is not None and (port or host != _LOOPBACK):
            raise ValueError("path with host or port: give a unix socket or a port")
        named = tuple(certificate_names) != _LOCAL_NAMES
        is_own = named or certificate_expired or authority is not None
        if tls is ServerTLS.NONE and (is_own or server_context is not None):
            raise ValueError(
                "certificate_names, certificate_expired, authority and server_context need "
                "tls=ServerTLS.STARTTLS or tls=ServerTLS.IMPLICIT"
            )
        if server_context is not None and is_own:
            raise ValueError(
                "certificate_names, certificate_expired and authority are of the server's own "
                "certificate: leave them out beside server_context"
            )
        self.host = host
        self.port = port
        """Where it listens; 0 before `start` where any free port will do."""
        self.path = None if path is None else Path(path)
        self.tls = tls
        self._options = ServerOptions(
            lmtp=lmtp,
            hostname=hostname,
            greeting=greeting,
            extensions=extensions,
            ehlo_lines=ehlo_lines,
            refuse_ehlo=refuse_ehlo,
            starttls=tls is ServerTLS.STARTTLS,
            users={} if users is None else users,
            any_login=any_login,
            mechanisms=mechanisms,
            auth_form=auth_form,
            auth_needs_tls=auth_needs_tls,
            require_authentication=require_authentication,
            size_limit=size_limit,
            mail_limit=mail_limit,
            recipient_limit=recipient_limit,
            domain_limit=domain_limit,
            data_without_recipients=data_without_recipients,
            refuse_senders={} if refuse_senders is None else refuse_senders,
            refuse_recipients={} if refuse_recipients is None else refuse_recipients,
            refuse_content=refuse_content,
            lmtp_replies={} if lmtp_replies is None else lmtp_replies,
        )
        _checks.instance("mailbox", mailbox, Mailbox, or_none=True)
        _checks.count("keep_sessions", keep_sessions, 1, or_none=True)
        _checks.count("connection_limit", connection_limit, 1, or_none=True)
        _checks.amount("idle_timeout", idle_timeout, "seconds", or_none=True)
        _checks.count("unfinished_limit", unfinished_limit, 1, or_none=True)
        self._shared = Shared(
            self._options,
            tls is ServerTLS.IMPLICIT,
            buffer_size,
            mailbox=Mailbox() if mailbox is None else mailbox,
            keep_sessions=keep_sessions,
            bounds=Bounds(connection_limit, idle_timeout, unfinished_limit),
        )
        self.add_fault(*_checked(faults))
        self._asked_port = port
        self._shared.tls_context = server_context
        self._own_certificate = server_context is None and tls is not ServerTLS.NONE
        self._certificate_names = tuple(certificate_names)
        self._certificate_expired = certificate_expired
        self._authority_folder = None if authority is None else Path(authority)
        self._authority: Authority | None = None
        self._thread: Joined | None = None
        self._stop: Callable[[], object] | None = None
        self._here: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _closed(self.close, exc)

    async def __aenter__(self) -> Self:
        listener = self._prepared()
        self._here = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._shared), sock=listener, backlog=_BACKLOG
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        here, self._here = self._here, None
        if here is not None:
            here.close()
            while self._shared.connections:
                for connection in list(self._shared.connections):
                    connection.abort()
                await asyncio.sleep(0)
        _closed(self._finish, exc)

    def start(self) -> None:
        """Listen, and return once clients can connect.

        Raises:
            OSError: the port is in use, or the host is none of this machine.
        """
        listener = self._prepared()
        ready = threading.Event()
        self._thread = Joined(partial(self._run, listener, ready), "smtpx.testing.Server")
        self._thread.start()
        _ = ready.wait()

    def _prepared(self) -> socket.socket:
        """Make what the sessions need, and the socket that listens."""
        if self._thread is not None or self._here is not None:
            raise RuntimeError("The server has been started already.")
        if self._own_certificate:
            self._authority = Authority(
                self._certificate_names,
                expired=self._certificate_expired,
                folder=self._authority_folder,
            )
            self._shared.tls_context = self._authority.server_context
            self._shared.certificate = self._authority.certificate
        try:
            return self._listen()
        except BaseException:
            self._close_authority()
            raise

    def close(self) -> None:
        """Abort what is open, and return once the thread and every socket are gone.

        Raises:
            RuntimeError: something went wrong inside the server; the cause is attached.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._stop is not None:
            _ = self._stop()
        thread.join()
        self._finish()

    def _finish(self) -> None:
        """Take away what was made for the sessions, and raise what went wrong in them."""
        self._close_authority()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        if self._shared.failures:
            raise RuntimeError("The test server failed") from self._shared.failures[0]

    # Where it is.

    @property
    def url(self) -> str:
        """The endpoint, as ``smtp://``, ``smtps://``, ``lmtp://`` or with ``+unix``.

        Of a server at all addresses it has that of loopback. With STARTTLS it says nothing of
        TLS, which clients on this machine then do without: append ``?tls=starttls``.

        Raises:
            RuntimeError: the port is not known before `start`.
        """
        scheme = "lmtp" if self._options.lmtp else "smtp"
        if self.tls is ServerTLS.IMPLICIT:
            scheme += "s"
        if self.path is not None:
            return f"{scheme}+unix://{self.path.absolute().as_posix()}"
        if self.port == 0:
            raise RuntimeError("The server has no port before it has started: enter it first.")
        # Nobody can dial what stands for all addresses.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return (
            f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"
        )

    @_checks.even_half_made
    def __repr__(self) -> str:
        state = "running" if self._thread or self._here else "closed"
        where = self.url if self.path or self.port else "without a port"
        return f"<Server {where}, {state}, received {len(self.messages)}>"

    @property
    def ca_file(self) -> Path:
        """The certificate of the server's authority, in PEM.

        It is removed by `close`, if no folder keeps the authority.
        """
        return self._own_authority().ca_file

    def client_context(self) -> ssl.SSLContext:
        """Make a context for clients that trusts the server's authority and no other."""
        return self._own_authority().client_context()

    def _close_authority(self) -> None:
        if self._authority is not None:
            self._authority.close()

    def _own_authority(self) -> Authority:
        if self._authority is None:
            raise RuntimeError("Only a started server with TLS of its own has an authority.")
        return self._authority

    # What it received.

    @property
    def messages(self) -> list[ReceivedMessage]:
        """What was accepted so far, oldest first."""
        with self._shared.changed:
            return list(self._shared.mailbox.messages)

    @property
    def sessions(self) -> list[SessionRecord]:
        """What is known of the sessions so far, oldest first."""
        with self._shared.changed:
            return [record.snapshot() for record in self._shared.records]

    def session(self, number: int) -> SessionRecord | None:
        """What is known of one session by now; None where there is no such record."""
        _checks.count("number", number, 1)
        with self._shared.changed:
            found = next((each for each in self._shared.records if each.number == number), None)
            return None if found is None else found.snapshot()

    @property
    def faults(self) -> list[Fault]:
        """The faults that are played, in the order given."""
        with self._shared.changed:
            return list(self._shared.faults)

    def strikes(self, fault: Fault) -> int:
        """How often a fault has done what it is for."""
        _checks.instance("fault", fault, *get_args(Fault))
        with self._shared.changed:
            return self._shared.struck[id(fault)]

    @property
    def breaches(self) -> list[str]:
        """What clients should not have done, each with the number of its session."""
        return [
            f"session {session.number}: {breach}"
            for session in self.sessions
            for breach in session.breaches
        ]

    @property
    def unstruck(self) -> list[Fault]:
        """The faults that have done nothing so far, in the order given, those cleared included.

        A test that is about a fault proves little where the fault never struck.
        """
        shared = self._shared
        with shared.changed:
            return [fault for fault in shared.given if id(fault) not in shared.struck]

    def wait_for_messages(self, count: int = 1, timeout: float = 5.0) -> list[ReceivedMessage]:
        """Wait until `count` messages have been accepted, and return all there are.

        Raises:
            TimeoutError: they were not within `timeout` seconds.
            RuntimeError: something went wrong inside the server; the cause is attached.
        """
        _checks.count("count", count, 0)
        _checks.amount("timeout", timeout, "seconds")
        messages = self._shared.mailbox.messages
        self._wait(lambda: len(messages) >= count, timeout, f"{count} messages")
        return self.messages

    def wait_for(self, condition: Callable[[], bool], timeout: float = 5.0) -> None:
        """Wait until `condition` holds; it is asked whenever something has come.

        Raises:
            TimeoutError: it still did not after `timeout` seconds.
            RuntimeError: something went wrong inside the server; the cause is attached.
        """
        if not callable(condition):  # pyright: ignore[reportUnnecessaryComparison] - callers
            raise _checks.complaint("condition", condition, "what can be called")
        _checks.amount("timeout", timeout, "seconds")
        self._wait(condition, timeout, "what the test waits for")

    def wait_until_idle(self, timeout: float = 5.0) -> list[SessionRecord]:
        """Wait until no session is open, and return all there were.

        Raises:
            TimeoutError: one still was after `timeout` seconds.
            RuntimeError: something went wrong inside the server; the cause is attached.
        """
        _checks.amount("timeout", timeout, "seconds")
        self._wait(lambda: not self._shared.connections, timeout, "the end of every session")
        return self.sessions

    def clear_messages(self) -> None:
        """Forget the messages received so far."""
        with self._shared.changed:
            self._shared.mailbox.clear()

    def _wait(self, predicate: Callable[[], bool], timeout: float, what: str) -> None:
        shared = self._shared
        with shared.changed:
            _ = shared.changed.wait_for(
                lambda: predicate() or shared.failures, min(timeout, _checks.LONGEST_WAIT)
            )
            if shared.failures:
                raise RuntimeError("The test server failed") from shared.failures[0]
            if not predicate():
                raise TimeoutError(
                    f"waited {timeout} s for {what}; there are {len(shared.mailbox.messages)} "
                    f"messages and {len(shared.connections)} open sessions"
                )

    # What goes wrong.

    def add_fault(self, *faults: Fault) -> None:
        """Play these faults too, from now on and also in open sessions."""
        added = _checked(faults)
        with self._shared.changed:
            self._shared.faults = [*self._shared.faults, *added]
            self._shared.given += added

    def clear_faults(self) -> None:
        """Play no faults any more; what is stalled stays so."""
        with self._shared.changed:
            self._shared.faults = []

    # The thread.

    def _listen(self) -> socket.socket:
        if self.path is not None:
            if not hasattr(socket, "AF_UNIX"):
                raise RuntimeError("This platform has no unix sockets.")
            family: int = socket.AF_UNIX
            address: Any = str(self.path)
        else:
            found = socket.getaddrinfo(self.host, self._asked_port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            if self._asked_port and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                # The port of a server that has just closed may be had again. On Windows it may
                # anyhow, and this option would take it from one that listens.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._shared.buffer_size is not None:
                # Accepted sockets take these over.
                for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                    listener.setsockopt(socket.SOL_SOCKET, option, self._shared.buffer_size)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            where = str(self.path or f"{self.host}:{self._asked_port}")
            raise type(error)(error.errno, f"{error.strerror}: {where}") from error
        if self.path is None:
            self.port = listener.getsockname()[1]
        return listener

    def _run(self, listener: socket.socket, ready: threading.Event) -> None:
        # The selector loop everywhere: Windows' own sends an end of stream before a reset.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve(listener, ready))

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        loop, shared, stopped = asyncio.get_running_loop(), self._shared, asyncio.Event()
        loop.set_exception_handler(partial(self._note_failure, listener))
        server = await loop.create_server(
            lambda: Connection(shared), sock=listener, backlog=_BACKLOG
        )
        self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
        ready.set()
        _ = await stopped.wait()
        # Stop accepting, and let what is half accepted become a connection, before closing: a
        # closed asyncio server loses the sockets it is still to make transports of.
        _ = loop.remove_reader(listener)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        _ = await asyncio.gather(*tasks, return_exceptions=True)
        server.close()
        while shared.connections:
            for connection in list(shared.connections):
                connection.abort()
            await asyncio.sleep(0)

    def _note_failure(
        self, listener: socket.socket, _: asyncio.AbstractEventLoop, context: dict[str, Any]
    ) -> None:
        failure = context.get("exception")
        if isinstance(failure, OSError) and failure.errno in _USED_UP:
            return  # Clients wait until there is something left again.
        if isinstance(failure, ValueError) and listener.fileno() < 0:
            return  # asyncio would go on to listen after that, though it has been closed.
        with self._shared.changed:
            self._shared.failures.append(failure or RuntimeError(context["message"]))
            self._shared.changed.notify_all()


def _closed(close: Callable[[], None], error: BaseException | None) -> None:
    """Close; what went wrong in the server becomes a note of the error there is already."""
    try:
        close()
    except RuntimeError as failure:
        if error is None:
            raise
        error.add_note(f"{failure}: {failure.__cause__!r}")
