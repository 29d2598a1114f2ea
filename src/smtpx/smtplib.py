"""The standard library's `smtplib`, on smtpx's engine: ``from smtpx import smtplib``.

Names, arguments, results and exceptions are the old ones, and so are the ways in which programs
and tests reach inside; what is deliberately otherwise is in docs/smtplib-differences.md. What
tests replace in this module (`socket`, `ssl`, `hmac`, `_fix_eols`, …) is looked up when called.
"""

from __future__ import annotations

import base64
import binascii
import copy
import datetime
import email.generator
import email.message
import email.utils
import hashlib as hashlib
import hmac
import io
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from smtplib import (
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPDataError,
    SMTPException,
    SMTPHeloError,
    SMTPNotSupportedError,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, assert_never

from smtpx._core.connection import Connection
from smtpx._core.sending import SESSION_OVER, send_data
from smtpx._core.steps import Glance, More, Receive, Send, StartTLS, Steps
from smtpx._core.transaction import Plan, perform
from smtpx._drivers.dialling import is_local
from smtpx._smtplib.arguments import needs_smtputf8, offered, recipient_path, sender_path
from smtpx._smtplib.reading import (
    LIMITS,
    ReplyFile,
    Socket,
    code_and_text,
    malformed,
)
from smtpx._smtplib.replay import IN_DOUBT, CodeAndText, Replay, disconnected
from smtpx._smtplib.secrecy import Secrecy
from smtpx._wire.commands import Command, Phase, command
from smtpx._wire.content import Content, canonical
from smtpx._wire.extensions import Extensions
from smtpx._wire.parser import ReplyParser
from smtpx.envelope import BodyType
from smtpx.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError, SMTPError
from smtpx.messages import _one_field_each
from smtpx.options import Timeouts
from smtpx.replies import Reply
from smtpx.results import Status

try:
    import ssl
    from ssl import SSLCertVerificationError as _Unverified
except ImportError:
    _have_ssl = False
else:
    _have_ssl = True

try:
    _ = hmac.digest(b"", b"", "md5")
except ValueError:
    _have_cram_md5_support = False
else:
    _have_cram_md5_support = True

__all__ = [
    "SMTP",
    "SMTPAuthenticationError",
    "SMTPConnectError",
    "SMTPDataError",
    "SMTPException",
    "SMTPHeloError",
    "SMTPNotSupportedError",
    "SMTPRecipientsRefused",
    "SMTPResponseException",
    "SMTPSenderRefused",
    "SMTPServerDisconnected",
    "quoteaddr",
    "quotedata",
]

SMTP_PORT = 25
SMTP_SSL_PORT = 465
LMTP_PORT = 2003
CRLF = "\r\n"
bCRLF = b"\r\n"  # noqa: N816 - the old name
OLDSTYLE_AUTH = re.compile(r"auth=(.*)", re.IGNORECASE)
_MAXLINE = 8192
_MAXCHALLENGE = 5

T = TypeVar("T")
_SourceAddress = tuple[bytearray | bytes | str, int]
_Refused = dict[str, CodeAndText]
_TIMEOUT: Any = vars(socket)["_GLOBAL_DEFAULT_TIMEOUT"]
_NO_TIMEOUTS = Timeouts.each(None)  # the socket's own timeout rules here
_PIPELINING = Extensions({"PIPELINING": ""})
_OLD_PREFERENCE = ("CRAM-MD5", "PLAIN", "LOGIN")


class _AuthObject(Protocol):
    def __call__(self, challenge: bytes | None = None, /) -> str | None: ...


def quoteaddr(addrstring: str) -> str:
    """Put the address of ``Name <address>`` into angle brackets."""
    address = _addr_only(addrstring)
    if address is addrstring and addrstring.strip().startswith("<"):
        return addrstring
    return f"<{address}>"


def _addr_only(addrstring: str) -> str:
    name, address = email.utils.parseaddr(addrstring)
    return address if name or address else addrstring


def quotedata(data: str) -> str:
    """Make every line end a CRLF and double the dots that begin a line."""
    text = _fix_eols(data).replace("\n.", "\n..")
    return "." + text if text.startswith(".") else text


def _quote_periods(bindata: bytes) -> bytes:
    stuffed = bindata.replace(b"\n.", b"\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _fix_eols(data: str) -> str:
    return data.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")


class SMTP:
    """A connection to an SMTP server, with a method for each command and `sendmail` for them all.

    With a `host` it connects at once. Replies are pairs: the code, and the text as bytes.

    Raises:
        SMTPConnectError: the server does not want the connection.
        SMTPServerDisconnected: it closed the connection, or was too slow.
        OSError: no connection can be made.
    """

    debuglevel: int = 0
    sock: Any = None
    """The socket; whoever sets it has connected it."""
    file: Any = None
    """What replies are read from; made when it is first needed."""
    helo_resp: bytes | None = None
    ehlo_msg: str = "ehlo"
    ehlo_resp: bytes | None = None
    does_esmtp: bool = False
    default_port: int = SMTP_PORT

    _lmtp = False
    _engine: tuple[object, Connection] | None = None
    _accepted = 0  # recipients, in the transaction that is made by single commands
    _finals: Sequence[CodeAndText] = ()  # the replies to the last end of data

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        timeout: float | None = _TIMEOUT,
        source_address: _SourceAddress | None = None,
    ) -> None:
        self._host = host
        self.timeout = timeout
        self.esmtp_features: dict[str, str] = {}
        self.command_encoding = "ascii"
        self.source_address = source_address
        self._auth_challenge_count = 0
        if host:
            code, message = self.connect(host, port)
            if code != 220:
                self.close()
                raise SMTPConnectError(code, message)
        self.local_hostname = _own_name() if local_hostname is None else local_hostname

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            code, message = self.docmd("QUIT")
            if code != 221:
                raise SMTPResponseException(code, message)
        except SMTPServerDisconnected:
            pass
        finally:
            self.close()

    def set_debuglevel(self, debuglevel: int) -> None:
        """1 prints the dialogue to stderr, 2 also the time; secrets of AUTH are left out."""
        self.debuglevel = debuglevel

    def _print_debug(self, *args: object) -> None:
        if self.debuglevel > 1:
            args = (datetime.datetime.now().time(), *args)
        print(*args, file=sys.stderr)  # noqa: T201 - what set_debuglevel is for

    # The connection.

    def _get_socket(self, host: str, port: int, timeout: float | None) -> Any:
        if timeout is not None and not timeout:
            raise ValueError("a timeout of 0 would make the socket non-blocking, which cannot work")
        if self.debuglevel > 0:
            self._print_debug("connect: to", (host, port), self.source_address)
        return socket.create_connection((host, port), timeout, self.source_address)

    def connect(
        self, host: str = "localhost", port: int = 0, source_address: _SourceAddress | None = None
    ) -> CodeAndText:
        """Connect and return the greeting; without a port, `host` may end in ``:port``."""
        if source_address:
            self.source_address = source_address
        if not port and host.count(":") == 1:
            host, _, suffix = host.partition(":")
            try:
                port = int(suffix)
            except ValueError:
                raise OSError("nonnumeric port") from None
        port = port or self.default_port
        sys.audit("smtplib.connect", self, host, port)
        self._start_afresh(host)
        self.sock = self._get_socket(host, port, self.timeout)
        self.file = None
        return self._greeting()

    def _start_afresh(self, host: str) -> None:
        if self.sock is not None:
            self.close()
        self._host = host
        self._forget()

    def _forget(self) -> None:
        """Forget what the server said about itself (RFC 3207 §4.2)."""
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    def _greeting(self) -> CodeAndText:
        self._secrecy = Secrecy()
        code, message = self.getreply()
        if self.debuglevel > 0:
            self._print_debug("connect:", repr(message))
        return code, message

    def close(self) -> None:
        """Close the connection without a word."""
        self._engine = None
        self._secrecy = Secrecy()
        try:
            file, self.file = self.file, None
            if file:
                file.close()
        finally:
            sock, self.sock = self.sock, None
            if sock:
                sock.close()

    def quit(self) -> CodeAndText:
        """Say QUIT and close the connection; `connect` may follow."""
        reply = self.docmd("quit")
        self._forget()
        self.close()
        return reply

    # Lines out, replies in.

    _secrecy = Secrecy()

    def send(self, s: bytes | str) -> None:
        """Send octets, or text in the encoding of commands.

        Raises:
            SMTPServerDisconnected: there is no connection, or no longer.
        """
        if self.debuglevel > 0:
            self._print_debug("send:", repr(self._secrecy.shown(s)))
        if not self.sock:
            raise SMTPServerDisconnected("please run connect() first")
        octets = s.encode(self.command_encoding) if isinstance(s, str) else s
        try:
            self._write(octets)
        except OSError as error:
            self.close()
            raise SMTPServerDisconnected("Server not connected") from error

    def _write(self, octets: bytes | memoryview) -> None:
        sys.audit("smtplib.send", self, octets)
        self._secrecy.say(bytes(octets[:4096]))
        self.sock.sendall(octets)

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Send a command and leave its reply to be read.

        Raises:
            ValueError: there is a line end or another control character in it.
        """
        text = cmd if args == "" else f"{cmd} {args}"
        _ = self._command(Phase.OTHER, text)
        self.send(f"{text}{CRLF}")

    def _command(self, phase: Phase, text: str) -> Command:
        """Pass a command line through the one guard."""
        try:
            line = command(phase, text)
        except LocalProtocolError:
            shown = str(self._secrecy.shown(text)).replace("\n", "\\n").replace("\r", "\\r")
            what = "newline" if "\n" in text or "\r" in text else "control"
            raise ValueError(
                f"command and arguments contain prohibited {what} characters: {shown}"
            ) from None
        if not text.isascii():
            _ = text.encode(self.command_encoding)
        return line

    def getreply(self) -> CodeAndText:
        """Read one reply, all of its lines within one timeout.

        What is no reply closes the connection and is given as code -1, or as the refusal that its
        digits say.

        Raises:
            SMTPServerDisconnected: the connection ended, or the time was up.
            SMTPResponseException: a line or the whole reply is too long.
        """
        file = self._reply_file()
        parser = ReplyParser(LIMITS)
        lines: list[bytes] = []
        timed = isinstance(file, ReplyFile)
        if timed:
            file.begin()
        try:
            while (reply := parser.next_reply()) is None:
                lines.append(self._line(file))
                parser.feed(lines[-1])
        except OSError as error:
            self.close()
            if isinstance(error, SMTPException):
                raise
            raise SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error
        except RemoteProtocolError as error:
            self.close()
            verdict = malformed(lines)
            if isinstance(verdict, str):
                raise SMTPResponseException(500, verdict) from error
            code, text = verdict
        else:
            code, text = code_and_text(reply)
        finally:
            if timed:
                file.end()
        self._secrecy.challenged = code == 334
        if code != 334:
            text = self._secrecy.hide(text)
        if self.debuglevel > 0:
            self._print_debug(f"reply: retcode ({code}); Msg: {self._secrecy.hide(text)!a}")
        return code, text

    def _reply_file(self) -> Any:
        if self.file is None:
            if not self.sock:
                raise SMTPServerDisconnected("please run connect() first")
            genuine = isinstance(self.sock, Socket)
            self.file = ReplyFile(self.sock) if genuine else self.sock.makefile("rb")
        return self.file

    def _line(self, file: Any) -> bytes:
        line: bytes = file.readline(_MAXLINE + 1)
        if not line:
            raise SMTPServerDisconnected("Connection unexpectedly closed")
        if self.debuglevel > 0:
            self._print_debug("reply:", repr(self._secrecy.hide(line)))
        return line

    def docmd(self, cmd: str, args: str = "") -> CodeAndText:
        """Send a command and return its reply."""
        self.putcmd(cmd, args)
        return self.getreply()

    # The driver: answers the steps of the core's procedures from this connection.

    def _core(self) -> Connection:
        if self._engine is None or self._engine[0] is not self.sock:
            connection = Connection(lmtp=self._lmtp, timeouts=_NO_TIMEOUTS, limits=LIMITS)
            connection.extensions = _PIPELINING  # asked for only where they are offered
            self._engine = self.sock, connection
        return self._engine[1]

    def _run(self, procedure: Steps[T], heard: list[bytes] | None = None) -> T:
        """Run a procedure; `heard` collects what the server says from the first write on."""
        spoke = False
        try:
            step = next(procedure)
            while True:
                answer: bytes | None
                try:
                    if isinstance(step, Receive):
                        answer = self._receive(step)
                    elif isinstance(step, Send):
                        answer, spoke = b"", True
                        if self.debuglevel > 0:
                            self._print_debug("send:", repr(bytes(step.data)))
                        self._write(step.data)
                    elif isinstance(step, Glance):
                        answer = self._glance()
                    elif isinstance(step, (More, StartTLS)):
                        raise AssertionError("no procedure of this face asks for it")
                    else:
                        assert_never(step)
                except OSError as error:
                    step = procedure.throw(error)
                    continue
                if answer and spoke and heard is not None:
                    heard.append(answer)
                step = procedure.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value
        except SMTPError:
            raise
        except BaseException:
            # Interrupted in the middle: never to be used again.
            procedure.close()
            self.close()
            raise
        finally:
            if isinstance(self.file, ReplyFile):
                self.file.end()

    def _receive(self, step: Receive) -> bytes:
        file = self._reply_file()
        octets: bytes
        if isinstance(file, ReplyFile):
            if step.fresh:
                file.begin(step.timeout)
            octets = file.read1(-1)
        else:
            octets = file.readline(_MAXLINE + 1)
        if self.debuglevel > 0:
            for line in io.BytesIO(octets):
                self._print_debug("reply:", repr(line))
        return octets

    def _glance(self) -> bytes | None:
        if self.file is None and isinstance(self.sock, Socket):
            self.file = ReplyFile(self.sock)
        return self.file.glance() if isinstance(self.file, ReplyFile) else None

    def _asked_for(self) -> CodeAndText | None:
        """Make sure that nothing waits to be read; a 421 that does is returned."""
        try:
            self._run(self._core().check_quiet())
        except SESSION_OVER as error:
            self.close()
            if isinstance(error, ConnectionLost) and error.reply is not None:
                code, text = code_and_text(error.reply)
                if code == 421:
                    return code, text
            raise disconnected(error, in_doubt=False) from error
        return None

    # Commands.

    def helo(self, name: str = "") -> CodeAndText:
        """HELO, with our own name unless another is given."""
        self.putcmd("helo", name or self.local_hostname)
        code, message = self.getreply()
        self.helo_resp = message
        return code, message

    def ehlo(self, name: str = "") -> CodeAndText:
        """EHLO, with our own name unless another is given; the answer fills `esmtp_features`."""
        self.esmtp_features = {}
        self.does_esmtp = False
        self.putcmd(self.ehlo_msg, name or self.local_hostname)
        code, message = self.getreply()
        if code == -1 and not message:
            self.close()
            raise SMTPServerDisconnected("Server not connected")
        self.ehlo_resp = message
        if not 200 <= code <= 299:
            return code, message
        self.does_esmtp = True
        lines = message.decode("latin-1").split("\n")
        keywords = Extensions.of(Reply.of(250, *lines)).keywords
        self.esmtp_features = {keyword.lower(): value for keyword, value in keywords.items()}
        if "auth" in self.esmtp_features:
            # The old module puts a blank before each list that it joins.
            self.esmtp_features["auth"] = " " + self.esmtp_features["auth"]
        return code, message

    def ehlo_or_helo_if_needed(self) -> None:
        """EHLO, else HELO, unless one of them was said before.

        Raises:
            SMTPHeloError: the server takes neither.
        """
        if self.helo_resp is not None or self.ehlo_resp is not None:
            return
        code, message = self.ehlo()
        if not 200 <= code <= 299 and code not in (-1, 421):
            code, message = self.helo()
        if not 200 <= code <= 299:
            if code in (-1, 421):
                self.close()
            raise SMTPHeloError(code, message)

    def has_extn(self, opt: str) -> bool:
        """True if the server offers an extension; case does not matter."""
        return opt.lower() in self.esmtp_features

    def help(self, args: str = "") -> bytes:
        """HELP; the text of the reply."""
        self.putcmd("help", args)
        return self.getreply()[1]

    def rset(self) -> CodeAndText:
        """RSET."""
        self.command_encoding = "ascii"
        self._accepted = 0
        return self.docmd("rset")

    def _rset(self) -> None:
        # A lost connection is the news of the next command, not of the one that failed already.
        try:
            _ = self.rset()
        except SMTPServerDisconnected:
            pass

    def noop(self) -> CodeAndText:
        """NOOP."""
        return self.docmd("noop")

    def mail(self, sender: str, options: Sequence[str] = ()) -> CodeAndText:
        """MAIL; the options are left out unless the server speaks ESMTP.

        Raises:
            AddressError: the sender is no address.
            SMTPNotSupportedError: SMTPUTF8 is asked for, and not offered.
        """
        self._accepted = 0
        self.putcmd("mail", self._mail_argument(sender_path(sender), options))
        return self.getreply()

    def _mail_argument(self, path: str, options: Iterable[str]) -> str:
        chosen = list(options) if self.does_esmtp else []
        if any(option.lower() == "smtputf8" for option in chosen):
            if not self.has_extn("smtputf8"):
                raise SMTPNotSupportedError("SMTPUTF8 not supported by server")
            self.command_encoding = "utf-8"
            self._utf8 = True
        elif self._utf8:
            self.command_encoding = "ascii"
            self._utf8 = False
        return " ".join([f"from:<{path}>", *chosen])

    _utf8 = False  # command_encoding was set by us

    def rcpt(self, recip: str, options: Sequence[str] = ()) -> CodeAndText:
        """RCPT; the options are left out unless the server speaks ESMTP.

        Raises:
            AddressError: the recipient is no address.
        """
        self.putcmd("rcpt", self._rcpt_argument(recipient_path(recip), options))
        code, message = self.getreply()
        self._accepted += 200 <= code <= 299
        return code, message

    def _rcpt_argument(self, path: str, options: Iterable[str]) -> str:
        return " ".join([f"to:<{path}>", *(options if self.does_esmtp else ())])

    def data(self, msg: bytes | str) -> CodeAndText:
        """DATA and the content; returns the reply to its end.

        Raises:
            SMTPDataError: DATA was refused.
            SMTPServerDisconnected: the connection ended; the text says if the outcome is in doubt.
        """
        self.putcmd("data")
        code, text = self.getreply()
        if self.debuglevel > 0:
            self._print_debug("data:", (code, text))
        if not 300 <= code <= 399:
            raise SMTPDataError(code, text)
        closing = self._asked_for()
        if closing is not None:
            raise SMTPDataError(*closing)
        due = max(self._accepted, 1) if self._lmtp else 1
        if isinstance(msg, str):
            msg = _fix_eols(msg).encode("ascii")
        self._finals = self._send_content(msg, due)
        self._accepted = 0
        # Who looks at one reply only must not miss a refusal.
        reply = next((r for r in self._finals if not 200 <= r[0] <= 299), self._finals[-1])
        if self.debuglevel > 0:
            self._print_debug("data:", reply)
        return reply

    def _send_content(self, msg: bytes, due: int) -> list[CodeAndText]:
        if self._is_as_made():
            return self._run(self._content(Content(msg or bCRLF), due))
        if _is_patched():
            octets = _quote_periods(msg)
            octets = octets if octets.endswith(bCRLF) else octets + bCRLF
        else:
            octets = _quote_periods(canonical(msg or bCRLF))
        try:
            self.send(octets + b"." + bCRLF)
            finals: list[CodeAndText] = []
            while len(finals) < due:
                code, text = self.getreply()
                if not (200 <= code <= 299 or 400 <= code <= 599):
                    raise SMTPServerDisconnected(f"the end of data was answered by {code} {text!r}")
                finals += [(code, text)] * (due - len(finals) if code == 421 else 1)
        except SMTPException as error:
            self.close()
            raise SMTPServerDisconnected(f"{error}{IN_DOUBT}") from error
        return finals

    def _content(self, content: Content, due: int) -> Steps[list[CodeAndText]]:
        connection = self._core()
        failure = yield from send_data(connection, content.stuffed(), due)
        if failure is not None:
            self.close()
            (status, reply), error = failure
            if reply is None:
                raise disconnected(error, in_doubt=status is Status.IN_DOUBT) from error
            return [code_and_text(reply)] * due
        try:
            replies = yield from connection.settle()
        except SESSION_OVER as error:
            self.close()
            raise disconnected(error, in_doubt=True) from error
        return [code_and_text(reply) for reply in replies]

    def verify(self, address: str) -> CodeAndText:
        """VRFY."""
        self.putcmd("vrfy", _addr_only(address))
        return self.getreply()

    vrfy = verify

    def expn(self, address: str) -> CodeAndText:
        """EXPN."""
        self.putcmd("expn", _addr_only(address))
        return self.getreply()

    # Authentication.

    def auth(
        self, mechanism: str, authobject: _AuthObject, *, initial_response_ok: bool = True
    ) -> CodeAndText:
        """Authenticate; `authobject` answers each challenge, and ``None`` with what may go first.

        Raises:
            SMTPAuthenticationError: the server refused.
            SMTPException: its challenges are no base64, or do not end.
        """
        line = mechanism.upper()
        initial = authobject() if initial_response_ok else None
        self._auth_challenge_count = 0
        if initial is not None:
            # RFC 4954 §4: an empty initial response is written as an equals sign.
            line = f"{line} {_base64(initial) or '='}"
            self._auth_challenge_count = 1
        code, reply = self.docmd("AUTH", line)
        try:
            while code == 334:
                self._auth_challenge_count += 1
                response = authobject(base64.decodebytes(reply))
                code, reply = self.docmd(_base64(response or ""))
                if code == 334 and self._auth_challenge_count > _MAXCHALLENGE:
                    last = code, self._secrecy.hide(reply)
                    raise SMTPException(
                        f"Server AUTH mechanism infinite loop. Last response: {last!r}"
                    )
        except binascii.Error as error:
            self._cancel_auth()
            raise SMTPException(f"a challenge of AUTH {mechanism} is no base64: {error}") from error
        except Exception:
            self._cancel_auth()
            raise
        if 200 <= code <= 299 or code == 503:
            return code, reply
        if code == 421:
            self.close()
        raise SMTPAuthenticationError(code, reply)

    def _cancel_auth(self) -> None:
        # RFC 4954 §4: a lone * ends the exchange.
        if not self.sock:
            return
        try:
            code, _ = self.docmd("*")
        except SMTPException:
            return
        if code == 334:
            self.close()

    def auth_cram_md5(self, challenge: bytes | None = None) -> str | None:
        """CRAM-MD5 with `user` and `password`, for `auth`."""
        if challenge is None:
            return None
        if not _have_cram_md5_support:
            raise SMTPException("CRAM-MD5 is not supported")
        digest = hmac.HMAC(self.password.encode(), challenge, "md5").hexdigest()
        return f"{self.user} {digest}"

    def auth_plain(self, challenge: bytes | None = None) -> str:
        """PLAIN with `user` and `password`, for `auth`."""
        if "\0" in self.user or "\0" in self.password:  # RFC 4616 §2
            raise ValueError("neither user nor password may contain NUL")
        return f"\0{self.user}\0{self.password}"

    def auth_login(self, challenge: bytes | None = None) -> str:
        """LOGIN with `user` and `password`, for `auth`."""
        first = challenge is None or self._auth_challenge_count < 2
        return self.user if first else self.password

    def login(self, user: str, password: str, *, initial_response_ok: bool = True) -> CodeAndText:
        """Authenticate by CRAM-MD5, PLAIN or LOGIN, the first of them that the server takes.

        Raises:
            SMTPHeloError: the server takes neither EHLO nor HELO.
            SMTPNotSupportedError: it does not offer AUTH.
            SMTPAuthenticationError: it refused; the last refusal is given.
            SMTPException: it offers no mechanism that we have.
        """
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("auth"):
            raise SMTPNotSupportedError("SMTP AUTH extension not supported by server.")
        advertised = self.esmtp_features["auth"].split()
        mechanisms = [name for name in _OLD_PREFERENCE if name in advertised]
        if "CRAM-MD5" in mechanisms and not _have_cram_md5_support:
            mechanisms.remove("CRAM-MD5")
        if not mechanisms:
            raise SMTPException(
                f"No suitable authentication method found among {' '.join(advertised) or 'none'}."
            )
        self.user, self.password = user, password
        refusal: SMTPAuthenticationError | None = None
        for mechanism in mechanisms:
            method = getattr(self, "auth_" + mechanism.lower().replace("-", "_"))
            try:
                return self.auth(mechanism, method, initial_response_ok=initial_response_ok)
            except SMTPAuthenticationError as error:
                if error.smtp_code in (-1, 421):  # nobody is there to be asked again
                    raise
                refusal = error
        assert refusal is not None
        raise refusal

    # TLS.

    def starttls(
        self,
        keyfile: str | None = None,
        certfile: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> CodeAndText:
        """STARTTLS and the handshake; what was learnt from the server before is forgotten.

        Without a context, certificate and name of every host but this machine are verified.

        Raises:
            SMTPNotSupportedError: the server does not offer it.
            SMTPResponseException: it does, but not now.
            SMTPException: octets in plain text followed its reply.
            ssl.SSLError: the handshake failed; the connection is closed.
        """
        _check_key_arguments(keyfile, certfile, context)
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise SMTPNotSupportedError("STARTTLS extension not supported by server.")
        if not _have_ssl:
            raise RuntimeError("No SSL support included in this Python")
        code, message = self.docmd("STARTTLS")
        if not 200 <= code <= 299:
            raise SMTPResponseException(code, message)
        if self._glance():
            self.close()
            raise SMTPException(
                "octets in plain text followed the reply to STARTTLS: an attack, or a broken server"
            )
        plain = self.sock
        try:
            self.sock = _protected(plain, context, self._host, keyfile, certfile)
        except BaseException:
            self.close()
            raise
        self.file = None
        self._forget()
        return code, message

    # Mail.

    def _is_as_made(self) -> bool:
        """True if nobody replaced a step of `sendmail`, here or in a subclass."""
        if _is_patched() or not self.__dict__.keys().isdisjoint(_STEPS):
            return False
        kind = type(self)
        return all(getattr(kind, name) is method for name, method in _STEPS.items())

    def sendmail(
        self,
        from_addr: str,
        to_addrs: str | Sequence[str],
        msg: bytes | str,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> _Refused:
        """Send one message, and return who was refused: address to reply.

        A single string is one address. Text must be ASCII. Options are left out where the server
        does not offer what they need.

        Raises:
            AddressError: an address cannot be sent to; nothing was sent.
            SMTPHeloError: the server takes neither EHLO nor HELO.
            SMTPSenderRefused: it refused the sender.
            SMTPRecipientsRefused: it refused every recipient, or there is none.
            SMTPDataError: it refused the content.
            SMTPNotSupportedError: SMTPUTF8 is asked for, and not offered.
            SMTPServerDisconnected: the connection ended; the text says if the outcome is in doubt.
        """
        addresses = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
        as_made = self._is_as_made()
        if as_made:
            sender = sender_path(from_addr)
            recipients = [recipient_path(address) for address in addresses]
        self.ehlo_or_helo_if_needed()
        if isinstance(msg, str):
            msg = _fix_eols(msg).encode("ascii")
        content = Content(msg or bCRLF)
        mail_opts: list[str] = []
        if self.does_esmtp:
            mail_opts = offered(mail_options, self.has_extn)
            if self.has_extn("size") and not any(o[:5].upper() == "SIZE=" for o in mail_opts):
                mail_opts.insert(0, f"size={_size(msg, content)}")
        rcpt_opts = offered(rcpt_options, self.has_extn) if rcpt_options else []
        if not addresses:
            raise SMTPRecipientsRefused({})
        if as_made:
            mail = f"mail {self._mail_argument(sender, mail_opts)}"
            plan = Plan(
                self._command(Phase.MAIL, mail),
                [
                    self._command(Phase.RCPT, f"rcpt {self._rcpt_argument(path, rcpt_opts)}")
                    for path in recipients
                ],
                BodyType.EIGHT_BIT,
            )
            if self.does_esmtp and self.has_extn("pipelining"):
                return self._pipeline(from_addr, addresses, plan, content)
        body = msg
        return self._judge(
            from_addr,
            addresses,
            lambda: self._asked_for() or self.mail(from_addr, mail_opts),
            lambda address: self.rcpt(address, rcpt_opts),
            lambda accepted: self._data(body, accepted),
        )

    def _pipeline(
        self, from_addr: str, addresses: list[str], plan: Plan, content: Content
    ) -> _Refused:
        if not self.sock:
            raise SMTPServerDisconnected("please run connect() first")
        connection = self._core()
        connection.open_transaction = False  # RSET is said at once here, after a failure
        heard: list[bytes] = []
        performed = self._run(perform(connection, plan, content), heard)
        if not connection.usable:
            self.close()
        error = performed.error
        if error is None:
            return {
                address: code_and_text(reply)
                for address, (status, reply) in zip(addresses, performed.verdicts, strict=True)
                if status is Status.REFUSED and reply is not None
            }
        replay = Replay(b"".join(heard), performed, error)
        return self._judge(
            from_addr,
            addresses,
            replay.answer,
            lambda _: replay.answer(),
            lambda _: replay.data(),
        )

    def _judge(
        self,
        from_addr: str,
        addresses: list[str],
        mail: Callable[[], CodeAndText],
        rcpt: Callable[[str], CodeAndText],
        data: Callable[[int], Sequence[CodeAndText]],
    ) -> _Refused:
        """What the replies mean, asked for one after the other."""
        code, text = mail()
        if not 200 <= code <= 299:
            self._give_up(code)
            raise SMTPSenderRefused(code, text, from_addr)
        refused: _Refused = {}
        accepted: list[str] = []
        for address in addresses:
            code, text = rcpt(address)
            if 200 <= code <= 299:
                accepted.append(address)
                continue
            refused[address] = code, text
            if _ends_session(code):
                self.close()
                raise SMTPRecipientsRefused(refused)
        if not accepted:
            self._rset()
            raise SMTPRecipientsRefused(refused)
        try:
            finals = data(len(accepted))
        except SMTPDataError as error:
            self._give_up(error.smtp_code)
            raise
        if len(finals) < len(accepted):  # SMTP has one for all
            finals = [*finals, *[finals[-1]] * (len(accepted) - len(finals))]
        refusals = [
            (address, reply)
            for address, reply in zip(accepted, finals, strict=False)
            if not 200 <= reply[0] <= 299
        ]
        if len(refusals) == len(accepted):
            _, (code, text) = refusals[0]
            self._give_up(code)
            raise SMTPDataError(code, text)
        if any(_ends_session(code) for _, (code, _) in refusals):
            self.close()
        refused.update(refusals)
        return refused

    def _data(self, msg: bytes, accepted: int) -> Sequence[CodeAndText]:
        self._accepted = accepted
        self._finals = ()
        reply = self.data(msg)
        return self._finals or [reply]

    def _give_up(self, code: int) -> None:
        """End the transaction that was refused, or the session if the server ends it."""
        if _ends_session(code):
            self.close()
        else:
            self._rset()

    def send_message(
        self,
        msg: email.message.Message[Any, Any],
        from_addr: str | None = None,
        to_addrs: str | Sequence[str] | None = None,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> _Refused:
        """Write a message and give it to `sendmail`; it is sent without its Bcc fields.

        Who sends and who gets it is in the header, in the Resent- fields if it was resent.
        Non-ASCII addresses make it a message in SMTPUTF8 where that is offered.

        Raises:
            ValueError: there are several Resent- blocks, no sender, or a header value that
                would begin another field.
            SMTPNotSupportedError: a local-part is not ASCII, and SMTPUTF8 is not offered.
        """
        self.ehlo_or_helo_if_needed()
        resent = msg.get_all("Resent-Date")
        if resent is not None and len(resent) > 1:
            raise ValueError("message has more than one 'Resent-' header block")
        prefix = "Resent-" if resent else ""
        if from_addr is None:
            from_addr = _author(msg, prefix)
        if to_addrs is None:
            fields = [
                str(field)
                for name in ("To", "Bcc", "Cc")
                for field in msg.get_all(prefix + name, [])
            ]
            # A group without members gives an empty address.
            to_addrs = [address for _, address in email.utils.getaddresses(fields) if address]
        recipients = [to_addrs] if isinstance(to_addrs, str) else to_addrs
        international = False
        foreign = [address for address in (from_addr, *recipients) if not address.isascii()]
        if foreign:
            international = bool(self.has_extn("smtputf8"))
            if not international and any(map(needs_smtputf8, foreign)):
                raise SMTPNotSupportedError(
                    "One or more source or delivery addresses require internationalized email "
                    "support, but the server does not advertise the required SMTPUTF8 capability"
                )
        if international:
            mail_options = (*mail_options, "SMTPUTF8", "BODY=8BITMIME")
        octets = _written(msg, utf8=international)
        return self.sendmail(from_addr, to_addrs, octets, mail_options, rcpt_options)


_STEPS = {
    name: vars(SMTP)[name]
    for name in ("data", "docmd", "getreply", "mail", "putcmd", "rcpt", "send")
}
_UNPATCHED = (_fix_eols, _quote_periods)


def _is_patched() -> bool:
    return (_fix_eols, _quote_periods) != _UNPATCHED


def _own_name() -> str:
    """Our name for EHLO: the host's, else an address literal (RFC 5321 §4.1.4)."""
    name = socket.getfqdn()
    if "." in name:
        return name
    try:
        address = socket.gethostbyname(socket.gethostname())
    except socket.gaierror:
        address = "127.0.0.1"
    return f"[{address}]"


def _ends_session(code: int) -> bool:
    # 421: the server closes. Neither refusal nor acceptance: we no longer understand each other.
    return code == 421 or not 400 <= code <= 599


def _size(msg: bytes, content: Content) -> int:
    """What `size=` says: the octets as they will be sent, without a last line end we add."""
    if _is_patched() or not msg:
        return len(msg)
    assert content.size is not None
    return content.size - (0 if msg.endswith((b"\r", b"\n")) else 2)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _author(msg: email.message.Message[Any, Any], prefix: str) -> str:
    field = msg[prefix + "Sender"] if prefix + "Sender" in msg else msg[prefix + "From"]
    addresses = [] if field is None else email.utils.getaddresses([str(field)])
    if not addresses or not addresses[0][1]:
        raise ValueError(
            f"the message has no {prefix}From with an address: set it, or give from_addr "
            "('' is the null sender)"
        )
    return addresses[0][1]


def _written(msg: email.message.Message[Any, Any], *, utf8: bool) -> bytes:
    sent = copy.copy(msg)
    del sent["Bcc"]
    del sent["Resent-Bcc"]
    policy: Any = msg.policy
    if utf8 and hasattr(policy, "utf8"):
        policy = policy.clone(utf8=True)
    careful = _one_field_each(type(policy))(**vars(policy))
    with io.BytesIO() as buffer:
        try:
            generator = email.generator.BytesGenerator(buffer, policy=careful)
            generator.flatten(sent, linesep=CRLF)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error
        return buffer.getvalue()


def _check_key_arguments(
    keyfile: str | None, certfile: str | None, context: ssl.SSLContext | None
) -> None:
    for name, value in (("keyfile", keyfile), ("certfile", certfile)):
        if value is not None and context is not None:
            raise ValueError(f"context and {name} arguments are mutually exclusive")
    if keyfile is not None or certfile is not None:
        warnings.warn(
            "keyfile and certfile are deprecated, use a custom context instead",
            DeprecationWarning,
            stacklevel=3,
        )


if _have_ssl:

    def _protected(
        plain: Any,
        context: ssl.SSLContext | None,
        host: str,
        keyfile: str | None,
        certfile: str | None,
    ) -> Any:
        """Do the TLS handshake, with a context of our own if none is given."""
        name = "localhost" if host.startswith("/") else host
        if context is not None:
            return context.wrap_socket(plain, server_hostname=name)
        local = isinstance(plain, Socket) and is_local(plain)
        own = _unverified_context() if local else _verifying_context()
        if keyfile or certfile:
            if not certfile:
                raise ValueError("certfile must be specified")
            own.load_cert_chain(certfile, keyfile)
        try:
            return own.wrap_socket(plain, server_hostname=name)
        except _Unverified as error:
            text = (
                f"{error.strerror or error}; hand in context=ssl.create_default_context(cafile=...)"
                f" with the authority that signed the certificate of {name}"
            )
            error.args = (error.errno, text)
            error.strerror = text
            raise

    def _verifying_context() -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _unverified_context() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    class SMTP_SSL(SMTP):  # noqa: N801 - the old name
        """A connection that is under TLS from its first octet on.

        Without a context, certificate and name of every host but this machine are verified.
        """

        default_port = SMTP_SSL_PORT

        def __init__(
            self,
            host: str = "",
            port: int = 0,
            local_hostname: str | None = None,
            keyfile: str | None = None,
            certfile: str | None = None,
            timeout: float | None = _TIMEOUT,
            source_address: _SourceAddress | None = None,
            context: ssl.SSLContext | None = None,
        ) -> None:
            _check_key_arguments(keyfile, certfile, context)
            self.keyfile = keyfile
            self.certfile = certfile
            self._context = context
            super().__init__(host, port, local_hostname, timeout, source_address)

        @property
        def context(self) -> ssl.SSLContext:
            """The context that was given, or will be used for every host but this machine."""
            if self._context is None:
                self._context = _verifying_context()
                if self.certfile:
                    self._context.load_cert_chain(self.certfile, self.keyfile)
            return self._context

        @context.setter
        def context(self, context: ssl.SSLContext) -> None:
            self._context = context

        def _get_socket(self, host: str, port: int, timeout: float | None) -> Any:
            if self.debuglevel > 0:
                self._print_debug("connect:", (host, port))
            plain = super()._get_socket(host, port, timeout)
            try:
                return _protected(plain, self._context, self._host, self.keyfile, self.certfile)
            except BaseException:
                plain.close()
                raise

    __all__ += ["SMTP_SSL"]


class LMTP(SMTP):
    """A connection to an LMTP server (RFC 2033); a host that begins with ``/`` is a unix socket.

    After the end of data the server replies for each recipient it had accepted: `sendmail` tells
    those it refused there like those it refused before.
    """

    ehlo_msg = "lhlo"
    default_port = LMTP_PORT
    _lmtp = True

    def __init__(
        self,
        host: str = "",
        port: int = LMTP_PORT,
        local_hostname: str | None = None,
        source_address: _SourceAddress | None = None,
        timeout: float | None = _TIMEOUT,
    ) -> None:
        super().__init__(host, port, local_hostname, timeout=timeout, source_address=source_address)

    @property
    def data_replies(self) -> list[CodeAndText]:
        """The replies to the last end of data by `data`, one for each recipient accepted."""
        return list(self._finals)

    def connect(
        self, host: str = "localhost", port: int = 0, source_address: _SourceAddress | None = None
    ) -> CodeAndText:
        """Connect, by TCP or to a unix socket, and return the greeting."""
        if not host.startswith("/"):
            return super().connect(host, port, source_address=source_address)
        if self.timeout is not None and not self.timeout:
            raise ValueError("a timeout of 0 would make the socket non-blocking, which cannot work")
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("this system has no unix sockets: connect to a host and port")
        self._start_afresh(host)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            if self.timeout is not _TIMEOUT:
                self.sock.settimeout(self.timeout)
            self.file = None
            self.sock.connect(host)
        except OSError:
            if self.debuglevel > 0:
                self._print_debug("connect fail:", host)
            self.close()
            raise
        return self._greeting()


def _main() -> None:
    def ask(what: str) -> str:
        _ = sys.stdout.write(f"{what}: ")
        sys.stdout.flush()
        return sys.stdin.readline().strip()

    sender = ask("From")
    recipients = [address.strip() for address in ask("To").split(",")]
    _ = sys.stdout.write("Enter message, end with ^D:\n")
    message = sys.stdin.read()
    _ = sys.stdout.write(f"Message length is {len(message)}\n")
    with SMTP("localhost") as server:
        server.set_debuglevel(1)
        _ = server.sendmail(sender, recipients, message)


if __name__ == "__main__":
    _main()
