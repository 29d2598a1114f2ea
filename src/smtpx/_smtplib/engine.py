"""smtpx's core at work for `smtpx.smtplib`, which loads it when there is something to say.

It is the driver of the core's procedures, over the same socket and the same reader as the single
commands, so that they and those can follow each other in any order.

Three readers share one dialogue, and each reads it from its beginning::

                                        _at_once     the core's       Transactions
                                                     _transaction     ._judge
    C: MAIL, RCPT…, DATA                writes       is not asked
    S: 250, 250…, 354                   all yes?     hears again      hears again
    C: (content) and the end of data    writes       …or writes
    S: 250                              yes?         …or reads        hears again

- `_at_once` goes the commonest way on the bare socket. It ends where nothing was refused.
- Where anything else happens, `_transaction` asks for the same steps once more. It is answered by
  what `_at_once` has heard, and goes on from there on the socket: the core alone knows what then
  has to be said.
- `_judge` is the old module's own order of things, reply by reply. A `Replay` answers it.
"""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Sequence
from smtplib import SMTPServerDisconnected
from typing import Any, Protocol, TypeVar

from smtpx._core.connection import Connection
from smtpx._core.failures import SESSION_OVER
from smtpx._core.steps import Glance, Receive, Send, Step, Steps
from smtpx._core.transaction import end_data, finals_of, send_content
from smtpx._core.transfer import ended, send_data
from smtpx._drivers.connected import Socket, is_genuine
from smtpx._smtplib.arguments import offered, recipient_path, sender_path, user_or_list
from smtpx._smtplib.codes import MAXLINE, CodeAndText
from smtpx._smtplib.reading import LIMITS, ReplyFile, code_and_text, read_reply
from smtpx._smtplib.replay import Replay, disconnected
from smtpx._wire.commands import DATA, Command, Phase, guarded
from smtpx._wire.content import Content
from smtpx._wire.extensions import Extensions
from smtpx._wire.parser import are_positive
from smtpx.envelope import BodyType
from smtpx.errors import ConnectionLost, LocalProtocolError, SMTPError
from smtpx.options import Timeouts
from smtpx.replies import Reply
from smtpx.results import Status, Verdict

__all__ = ["Engine"]

T = TypeVar("T")
_NO_TIMEOUTS = Timeouts.each(None)  # the socket's own timeout rules here
_PIPELINING = Extensions({"PIPELINING": ""})


class Old(Protocol):
    """An `SMTP`, as it is seen here."""

    debuglevel: int
    sock: Socket | None
    file: Any
    _lmtp: bool

    def close(self) -> None:
        """Close the connection without a word."""
        ...

    def _print_debug(self, *args: object) -> None: ...

    def _reply_file(self) -> Any: ...


class Engine:
    """The core over one socket, for the `SMTP` that has it, which is given to each call.

    It has no reference to that one, which is closed as soon as nobody holds it.
    """

    __slots__ = ("connection", "sock")

    # What else is to be had of it.
    content = Content
    offered = staticmethod(offered)
    read_reply = staticmethod(read_reply)
    recipient_path = staticmethod(recipient_path)
    sender_path = staticmethod(sender_path)
    user_or_list = staticmethod(user_or_list)

    def __init__(self, sock: Socket | None, *, lmtp: bool) -> None:
        self.sock = sock
        self.connection = Connection(lmtp=lmtp, timeouts=_NO_TIMEOUTS, limits=LIMITS)
        self.connection.extensions = _PIPELINING  # made use of only where it is offered

    def file(self) -> Any:
        """What replies are read from."""
        sock: Any = self.sock
        # What tests put in the place of a socket is read as the old module reads it.
        return ReplyFile(sock) if is_genuine(sock) else sock.makefile("rb")

    @staticmethod
    def is_forbidden(text: str) -> bool:
        """True of what may not stand in a command line."""
        try:
            _ = guarded(text)
        except LocalProtocolError:
            return True
        return False

    @staticmethod
    def keywords(message: bytes) -> dict[str, str]:
        """What EHLO was answered, lower-case keyword to parameters."""
        lines = message.decode("latin-1").split("\n")
        keywords = Extensions.of(Reply.of(250, *lines)).keywords
        return {keyword.lower(): value for keyword, value in keywords.items()}

    def glance(self, smtp: Old) -> bytes | None:
        """Take what has arrived, without waiting; ``b""`` is the end, ``None`` nothing."""
        if smtp.file is None and is_genuine(smtp.sock):
            _ = smtp._reply_file()
        return smtp.file.glance() if isinstance(smtp.file, ReplyFile) else None

    def waiting(self, smtp: Old) -> CodeAndText | None:
        """Make sure that nothing waits to be read; a 421 that does is returned.

        Raises:
            SMTPServerDisconnected: something else waits, or the connection has ended.
        """
        try:
            self._run(smtp, self.connection.check_quiet(), [], ())
        except SESSION_OVER as error:
            smtp.close()
            if isinstance(error, ConnectionLost) and error.reply is not None:
                code, text = code_and_text(error.reply)
                if code == 421:
                    return code, text
            raise disconnected(error, in_doubt=False) from error
        return None

    def pipelined(self, smtp: Old, lines: list[str], content: Content) -> Replay | None:
        """Run a transaction; `lines` are MAIL and each RCPT, already guarded.

        ``None`` if nothing at all was refused; else what is still to be judged.
        """
        connection = self.connection
        happened = self._at_once(smtp, lines, content)
        if happened is None:
            return None
        group = [Command(f"{line}\r\n".encode(), Phase.RCPT) for line in lines]
        heard: list[bytes] = []
        in_doubt = False
        finals: list[Verdict] = []
        error: SMTPError | None
        try:
            procedure = _transaction(connection, group, content)
            finals, error = self._run(smtp, procedure, heard, happened)
        except SESSION_OVER as over:
            error = over
        else:
            in_doubt = any(status is Status.IN_DOUBT for status, _ in finals)
        if not connection.usable:
            smtp.close()
        if finals is _FOR_ALL:
            return None
        return Replay(b"".join(heard), error, in_doubt=in_doubt)

    def _at_once(
        self, smtp: Old, lines: list[str], content: Content
    ) -> list[bytes | OSError | None] | None:
        """Go the way that nearly every transaction goes: two writes, and nothing is refused.

        The value is ``None`` if so, else what happened until it turned out otherwise: for
        `_transaction`, which asks for the same steps and knows what to make of them.
        """
        connection = self.connection
        wire = "\r\n".join([*lines, "DATA\r\n"]).encode()
        if content.whole is None or len(wire) > connection.limits.window:
            return []
        file = smtp._reply_file()
        if smtp.debuglevel > 0 or not isinstance(file, ReplyFile):
            return []
        if connection.has_unread or not connection.usable:
            return []
        octets = ended(content.whole)
        due = len(lines) - 1 if smtp._lmtp else 1
        happened: list[bytes | OSError | None] = []
        try:
            for said, count, go_ahead in ((wire, len(lines), True), (octets, due, False)):
                early = file.glance()
                if early is not None:
                    return [*happened, early]
                happened.append(None)
                happened.append(_transmit(smtp, said))
                reply = file.first()
                if len(reply) > LIMITS.reply_line or not are_positive(reply, count, go_ahead):
                    return [*happened, reply]
                happened.append(reply)
            surplus = file.glance()
            if surplus is not None:
                return [*happened, surplus]
        except OSError as error:
            return [*happened, error]
        except BaseException:
            smtp.close()
            raise
        file.end()
        return None

    def sent(self, smtp: Old, octets: bytes, due: int) -> list[CodeAndText]:
        """Send octets after DATA, and read the `due` replies to its end.

        Raises:
            SMTPServerDisconnected: the connection ended; the text says if the outcome is in doubt.
        """
        connection, content = self.connection, Content(octets)
        procedure = send_content(connection, BodyType.EIGHT_BIT, content, due)
        finals, error = self._run(smtp, procedure, [], ())
        if not connection.usable:
            smtp.close()
        replies = [code_and_text(reply) for _, reply in finals if reply is not None]
        if smtp.debuglevel > 0:
            for code, text in replies:
                smtp._print_debug(f"reply: retcode ({code}); Msg: {text!a}")
        if error is not None and len(replies) < due:
            in_doubt = any(status is Status.IN_DOUBT for status, _ in finals)
            raise disconnected(error, in_doubt=in_doubt) from error
        return replies

    def _run(
        self,
        smtp: Old,
        procedure: Steps[T],
        heard: list[bytes],
        happened: Sequence[bytes | OSError | None],
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
                    answer = before.popleft() if before else self._answer(smtp, step)
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
            smtp.close()
            raise
        finally:
            if isinstance(smtp.file, ReplyFile):
                smtp.file.end()

    def _answer(self, smtp: Old, step: Step) -> bytes | None:
        if isinstance(step, Receive):
            return _receive(smtp, step.timeout, fresh=step.fresh)
        if isinstance(step, Send):
            return _transmit(smtp, bytes(step.data))
        if isinstance(step, Glance):
            return self.glance(smtp)
        raise AssertionError(f"{step} is no step of a mail transaction")


def _transmit(smtp: Old, octets: bytes | memoryview) -> bytes:
    if not smtp.sock:
        raise SMTPServerDisconnected("please run connect() first")
    if smtp.debuglevel > 0:
        smtp._print_debug("send:", repr(bytes(octets)))
    sys.audit("smtplib.send", smtp, octets)
    smtp.sock.sendall(octets)
    return b""


def _receive(smtp: Old, timeout: float | None = None, *, fresh: bool = True) -> bytes:
    file = smtp._reply_file()
    octets: bytes
    if isinstance(file, ReplyFile):
        if fresh:
            file.begin(timeout)
        octets = file.read1()
    else:
        octets = file.readline(MAXLINE + 1)
    if smtp.debuglevel > 0:
        for line in io.BytesIO(octets):
            smtp._print_debug("reply:", repr(line))
    return octets


_FOR_ALL: list[Verdict] = [(Status.ACCEPTED, None)]


def _transaction(
    connection: Connection, group: list[Command], content: Content
) -> Steps[tuple[list[Verdict], SMTPError | None]]:
    """MAIL, RCPT… and DATA as one group, and the content if somebody is to get it.

    The value is `_FOR_ALL` if nothing at all was refused; else what was said to the end of data,
    as far as it came to that. What was said before it, the driver has heard.

    ::

        C: mail from:<a@example.org>
        C: rcpt to:<b@example.net>
        C: DATA
        S: 250 ok
        S: 550 no such user
        S: 354 go ahead
        C: .
        S: 554 nobody to send to
    """
    replies = yield from connection.exchange(*group, DATA)
    mail, *rcpt, data = replies
    accepted = len([reply for reply in rcpt if reply.positive]) if mail.positive else 0
    if not data.intermediate:
        # A reply too many: what refused DATA may be another's, and RSET taken for content.
        if (yield from connection.has_early_reply()):
            connection.broken = True
        return [], None
    if connection.parting is not None:
        # The caller is told that it is over: whoever goes on is given nothing to accept.
        connection.broken = True
        return [], None
    if not accepted:
        yield from end_data(connection, mail)
        return [], None
    # RFC 2033 §4.2: LMTP answers the end of data once for each recipient it accepted.
    due = accepted if connection.lmtp else 1
    failure = yield from send_data(connection, content.stuffed(), due)
    if failure is not None:
        return [failure.verdict] * due, failure.error
    finals, error = yield from finals_of(connection, due)
    if accepted == len(rcpt) and all(status is Status.ACCEPTED for status, _ in finals):
        return _FOR_ALL, None
    return finals, error
