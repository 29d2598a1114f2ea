"""Lines out and replies in: what every command of `smtpx.smtplib` goes through."""

from __future__ import annotations

import datetime
import sys
from smtplib import SMTPException, SMTPResponseException, SMTPServerDisconnected
from typing import TYPE_CHECKING, Any

from smtpx._loaders import AMID_LOADING, is_loading
from smtpx._smtplib.codes import CodeAndText
from smtpx._smtplib.secrecy import Secrecy

if TYPE_CHECKING:
    from smtpx._drivers.connected import Socket
    from smtpx._smtplib.engine import Engine

__all__ = ["Dialogue"]

# The standard library's module has no limit; a token for AUTH may be as long as this.
_LONGEST = 65536


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
    _made: Engine | None = None

    def set_debuglevel(self, debuglevel: int) -> None:
        """1 prints the dialogue to stderr, 2 also the time; secrets of AUTH are left out."""
        self.debuglevel = debuglevel

    def _print_debug(self, *args: object) -> None:
        if self.debuglevel > 1:
            args = (datetime.datetime.now().time(), *args)
        print(*args, file=sys.stderr)  # noqa: T201 - what set_debuglevel is for

    def close(self) -> None:
        """Close the connection without a word."""
        self._made = None
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
        # Nothing that can be printed is forbidden.
        if not text.isprintable() and self._engine.is_forbidden(text):
            shown = str(self._secrecy.shown(text)).replace("\n", "\\n").replace("\r", "\\r")
            what = "newline" if "\n" in text or "\r" in text else "control"
            raise ValueError(f"command and arguments contain prohibited {what} characters: {shown}")

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
        tell = self._tell_line if self.debuglevel > 0 else None
        try:
            verdict, is_reply = self._engine.read_reply(file, (*secrecy.secrets,), tell)
        except OSError as error:
            self.close()
            if isinstance(error, SMTPException):
                raise
            raise SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error
        if not is_reply:
            self.close()
        if isinstance(verdict, str):
            raise SMTPResponseException(500, verdict)
        code, text = verdict
        text = secrecy.hear(code, text)
        if self.debuglevel > 0:
            self._print_debug(f"reply: retcode ({code}); Msg: {secrecy.hide(text)!a}")
        return code, text

    def _tell_line(self, line: bytes) -> None:
        self._print_debug("reply:", repr(self._secrecy.hide(line)))

    def _reply_file(self) -> Any:
        if self.file is None:
            if not self.sock:
                raise SMTPServerDisconnected("please run connect() first")
            self.file = self._engine.file()
        return self.file

    @property
    def _engine(self) -> Engine:
        """What speaks and reads for this connection: it is loaded with the first that needs it."""
        if self._made is None or self._made.sock is not self.sock:
            try:
                from smtpx._smtplib.engine import Engine
            except ImportError as error:
                if is_loading():
                    raise SMTPException(AMID_LOADING) from error
                raise
            self._made = Engine(self.sock, lmtp=self._lmtp)
        return self._made
