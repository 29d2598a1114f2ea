"""Lines out and replies in: what every command of `smtpx.smtplib` goes through.

It is also the driver of the core's procedures, over the same socket and the same reader, so that
they and the single commands can follow each other in any order.
"""

from __future__ import annotations

import datetime
import io
import sys
from collections import deque
from collections.abc import Sequence
from smtplib import SMTPException, SMTPResponseException, SMTPServerDisconnected
from typing import Any, TypeVar

from smtpx._core.connection import Connection
from smtpx._core.failures import SESSION_OVER
from smtpx._core.steps import Glance, Receive, Send, Step, Steps
from smtpx._secrecy import without_frames
from smtpx._smtplib.reading import (
    LIMITS,
    MAXLINE,
    ReplyFile,
    Socket,
    code_and_text,
    is_genuine,
    malformed,
)
from smtpx._smtplib.replay import CodeAndText, disconnected
from smtpx._smtplib.secrecy import Secrecy
from smtpx._wire.commands import guarded
from smtpx._wire.extensions import Extensions
from smtpx._wire.parser import ReplyParser
from smtpx.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError, SMTPError
from smtpx.options import Timeouts

__all__ = ["Dialogue"]

T = TypeVar("T")
_NO_TIMEOUTS = Timeouts.each(None)  # the socket's own timeout rules here
# The standard library's module has no limit; a token for AUTH may be as long as this.
_LONGEST = 65536
_PIPELINING = Extensions({"PIPELINING": ""})


class Dialogue:
    """One connection as lines that are sent and replies that are read."""

    debuglevel: int = 0
    sock: Socket | None = None
    """The socket; whoever sets it has connected it."""
    file: Any = None
    """What replies are read from; made when it is first needed."""
    command_encoding: str
    """Of commands: ``ascii``, or ``utf-8`` in a transaction in SMTPUTF8."""

    _lmtp = False
    _secrecy: Secrecy
    _engine: tuple[object, Connection] | None = None

    def set_debuglevel(self, debuglevel: int) -> None:
        """1 prints the dialogue to stderr, 2 also the time; secrets of AUTH are left out."""
        self.debuglevel = debuglevel

    def _print_debug(self, *args: object) -> None:
        if self.debuglevel > 1:
            args = (datetime.datetime.now().time(), *args)
        print(*args, file=sys.stderr)  # noqa: T201 - what set_debuglevel is for

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

    # Lines out.

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
        sys.audit("smtplib.send", self, octets)
        self._secrecy.say(octets)
        try:
            self.sock.sendall(octets)
        except OSError as error:
            self.close()
            raise SMTPServerDisconnected("Server not connected") from error

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Send a command and leave its reply to be read.

        Raises:
            ValueError: there is a line end or another control character in it.
        """
        text = cmd if args == "" else f"{cmd} {args}"
        self._guard(text)
        if len(text) > _LONGEST:
            raise ValueError(f"a command of {len(text)} characters is longer than {_LONGEST}")
        self.send(f"{text}\r\n")

    def _guard(self, text: str) -> None:
        """Pass what is said in a command, or in several, through the one guard."""
        if not text.isascii():
            _ = text.encode(self.command_encoding)  # UnicodeEncodeError, as in smtplib
        try:
            _ = guarded(text)
        except LocalProtocolError:
            shown = str(self._secrecy.shown(text)).replace("\n", "\\n").replace("\r", "\\r")
            what = "newline" if "\n" in text or "\r" in text else "control"
            raise ValueError(
                f"command and arguments contain prohibited {what} characters: {shown}"
            ) from None

    def docmd(self, cmd: str, args: str = "") -> CodeAndText:
        """Send a command and return its reply."""
        self.putcmd(cmd, args)
        return self.getreply()

    # Replies in.

    def getreply(self) -> CodeAndText:
        """Read one reply, all of its lines within one timeout.

        What is no reply closes the connection and is given as code -1, or as the refusal that its
        digits say.

        Raises:
            SMTPServerDisconnected: the connection ended, or the time was up.
            SMTPResponseException: a line or the whole reply is too long.
        """
        file = self._reply_file()
        secrecy = self._secrecy  # To close is to forget it.
        lines: list[bytes] = []
        verdict: CodeAndText | str = ""
        if isinstance(file, ReplyFile):
            file.begin()
        try:
            verdict = self._read_reply(file, lines)
        except OSError as error:
            self.close()
            if isinstance(error, SMTPException):
                raise
            raise SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error
        except RemoteProtocolError as error:
            _ = without_frames(error)  # They have what the server may have echoed.
            self.close()
            verdict = malformed(lines)
        finally:
            if isinstance(file, ReplyFile):
                file.end()
        if isinstance(verdict, str):
            raise SMTPResponseException(500, verdict)
        code, text = verdict
        text = secrecy.hear(code, text)
        if self.debuglevel > 0:
            self._print_debug(f"reply: retcode ({code}); Msg: {secrecy.hide(text)!a}")
        return code, text

    def _read_reply(self, file: Any, lines: list[bytes]) -> CodeAndText:
        parser = ReplyParser(LIMITS)
        parser.secrets = (*self._secrecy.secrets,)
        while (reply := parser.next_reply()) is None:
            line: bytes = file.readline(MAXLINE + 1)
            if not line:
                raise SMTPServerDisconnected("Connection unexpectedly closed")
            if self.debuglevel > 0:
                self._print_debug("reply:", repr(self._secrecy.hide(line)))
            lines.append(line)
            parser.feed(line)
        return code_and_text(reply)

    def _reply_file(self) -> Any:
        if self.file is None:
            if not self.sock:
                raise SMTPServerDisconnected("please run connect() first")
            # What tests put in the place of a socket is read as the old module reads it.
            genuine = is_genuine(self.sock)
            self.file = ReplyFile(self.sock) if genuine else self.sock.makefile("rb")
        return self.file

    # The driver: answers the steps of the core's procedures from this connection.

    def _core(self) -> Connection:
        if self._engine is None or self._engine[0] is not self.sock:
            connection = Connection(lmtp=self._lmtp, timeouts=_NO_TIMEOUTS, limits=LIMITS)
            connection.extensions = _PIPELINING  # made use of only where it is offered
            self._engine = self.sock, connection
        return self._engine[1]

    def _run(
        self, procedure: Steps[T], heard: list[bytes], happened: Sequence[bytes | OSError | None]
    ) -> T:
        """Run a procedure, whose first steps may have `happened` already.

        `heard` collects what the server says from the first write on.
        """
        before = deque(happened)
        spoke = False
        try:
            step = next(procedure)
            while True:
                try:
                    answer = before.popleft() if before else self._answer(step)
                    if isinstance(answer, OSError):
                        raise answer
                except OSError as error:
                    step = procedure.throw(error)
                    continue
                if isinstance(step, Send):
                    spoke = True
                elif spoke and answer:
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

    def _answer(self, step: Step) -> bytes | None:
        if isinstance(step, Receive):
            return self._receive(step.timeout, fresh=step.fresh)
        if isinstance(step, Send):
            return self._transmit(bytes(step.data))
        if isinstance(step, Glance):
            return self._glance()
        raise AssertionError(f"{step} is no step of a mail transaction")

    def _transmit(self, octets: bytes | memoryview) -> bytes:
        if not self.sock:
            raise SMTPServerDisconnected("please run connect() first")
        if self.debuglevel > 0:
            self._print_debug("send:", repr(bytes(octets)))
        sys.audit("smtplib.send", self, octets)
        self.sock.sendall(octets)
        return b""

    def _receive(self, timeout: float | None = None, *, fresh: bool = True) -> bytes:
        file = self._reply_file()
        octets: bytes
        if isinstance(file, ReplyFile):
            if fresh:
                file.begin(timeout)
            octets = file.read1()
        else:
            octets = file.readline(MAXLINE + 1)
        if self.debuglevel > 0:
            for line in io.BytesIO(octets):
                self._print_debug("reply:", repr(line))
        return octets

    def _glance(self) -> bytes | None:
        if self.file is None and is_genuine(self.sock):
            _ = self._reply_file()
        return self.file.glance() if isinstance(self.file, ReplyFile) else None

    def _waiting(self) -> CodeAndText | None:
        """Make sure that nothing waits to be read; a 421 that does is returned.

        Raises:
            SMTPServerDisconnected: something else waits, or the connection has ended.
        """
        try:
            self._run(self._core().check_quiet(), [], ())
        except SESSION_OVER as error:
            self.close()
            if isinstance(error, ConnectionLost) and error.reply is not None:
                code, text = code_and_text(error.reply)
                if code == 421:
                    return code, text
            raise disconnected(error, in_doubt=False) from error
        return None
