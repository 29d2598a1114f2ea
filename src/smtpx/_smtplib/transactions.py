"""What the replies to a mail transaction mean to a caller of `sendmail`.

Three readers share one dialogue, and each reads it from its beginning::

                                        _at_once     the core's       _judge
                                                     _transaction
    C: MAIL, RCPT…, DATA                writes       is not asked
    S: 250, 250…, 354                   all yes?     hears again      hears again
    C: (content) and the end of data    writes       …or writes
    S: 250                              yes?         …or reads        hears again

- `_at_once` goes the commonest way on the bare socket. It ends where nothing was refused.
- Where anything else happens, `_transaction` asks for the same steps once more. It is answered by
  what `_at_once` has heard, and goes on from there on the socket: the core alone knows what then
  has to be said.
- `_judge` is the old module's own order of things, reply by reply. It raises what that raises. A
  `Replay` answers it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from smtplib import (
    SMTPDataError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)

from smtpx._core.connection import Connection
from smtpx._core.failures import SESSION_OVER
from smtpx._core.steps import Steps
from smtpx._core.transaction import end_data, finals_of, send_content
from smtpx._core.transfer import ended, send_data
from smtpx._smtplib.commands import Commands
from smtpx._smtplib.reading import LIMITS, ReplyFile, code_and_text
from smtpx._smtplib.replay import (
    IN_DOUBT,
    CodeAndText,
    Replay,
    accepts,
    disconnected,
    ends_session,
)
from smtpx._wire.commands import DATA, Command, Phase
from smtpx._wire.content import Content
from smtpx._wire.parser import are_positive
from smtpx.envelope import BodyType
from smtpx.errors import SMTPError
from smtpx.results import Status, Verdict

__all__ = ["Refused", "Transactions"]

Refused = dict[str, CodeAndText]


class Transactions(Commands):
    """A connection that judges whole transactions, whether they were pipelined or not."""

    def _pipeline(
        self, from_addr: str, addresses: list[str], lines: list[str], content: Content
    ) -> Refused:
        """Run a transaction by the core; `lines` are MAIL and each RCPT, already guarded."""
        if not self.sock:
            raise SMTPServerDisconnected("please run connect() first")
        connection = self._core()
        happened = self._at_once(connection, lines, content)
        if happened is None:
            return {}
        group = [Command(f"{line}\r\n".encode(), Phase.RCPT) for line in lines]
        heard: list[bytes] = []
        in_doubt = False
        finals: list[Verdict] = []
        error: SMTPError | None
        try:
            procedure = _transaction(connection, group, content)
            finals, error = self._run(procedure, heard, happened)
        except SESSION_OVER as over:
            error = over
        else:
            in_doubt = any(status is Status.IN_DOUBT for status, _ in finals)
        if not connection.usable:
            self.close()
        if finals is _FOR_ALL:
            return {}
        replay = Replay(b"".join(heard), error, in_doubt=in_doubt)
        return self._judge(
            from_addr,
            addresses,
            replay.answer,
            lambda _: replay.answer(),
            lambda accepted: replay.data(accepted if self._lmtp else 1),
        )

    def _at_once(
        self, connection: Connection, lines: list[str], content: Content
    ) -> list[bytes | OSError | None] | None:
        """Go the way that nearly every transaction goes: two writes, and nothing is refused.

        The value is ``None`` if so, else what happened until it turned out otherwise: for
        `_transaction`, which asks for the same steps and knows what to make of them.
        """
        wire = "\r\n".join([*lines, "DATA\r\n"]).encode()
        if content.whole is None or len(wire) > connection.limits.window:
            return []
        file = self._reply_file()
        if self.debuglevel > 0 or not isinstance(file, ReplyFile):
            return []
        if connection.has_unread or not connection.usable:
            return []
        octets = ended(content.whole)
        due = len(lines) - 1 if self._lmtp else 1
        happened: list[bytes | OSError | None] = []
        try:
            for said, count, go_ahead in ((wire, len(lines), True), (octets, due, False)):
                early = file.glance()
                if early is not None:
                    return [*happened, early]
                happened.append(None)
                happened.append(self._transmit(said))
                reply = file.first()
                happened.append(reply)
                if len(reply) > LIMITS.reply_line or not are_positive(reply, count, go_ahead):
                    return happened
            surplus = file.glance()
            if surplus is not None:
                return [*happened, surplus]
        except OSError as error:
            return [*happened, error]
        except BaseException:
            self.close()
            raise
        file.end()
        return None

    def _judge(
        self,
        from_addr: str,
        addresses: list[str],
        mail: Callable[[], CodeAndText],
        rcpt: Callable[[str], CodeAndText],
        data: Callable[[int], Sequence[CodeAndText]],
    ) -> Refused:
        """Ask for one reply after the other, and say what they mean.

        `data` gives the reply to the end of data, or one for each recipient.
        """
        code, text = mail()
        if not accepts(code):
            self._give_up(code)
            raise SMTPSenderRefused(code, text, from_addr)
        refused: Refused = {}
        accepted: list[str] = []
        for address in addresses:
            code, text = rcpt(address)
            if accepts(code):
                accepted.append(address)
                continue
            refused[address] = code, text
            if ends_session(code):
                self.close()
                raise SMTPRecipientsRefused(refused)
        if not accepted:
            self._rset()
            raise SMTPRecipientsRefused(refused)
        try:
            finals = list(data(len(accepted)))
        except SMTPDataError as error:
            self._give_up(error.smtp_code)
            raise
        finals += [finals[-1]] * (len(accepted) - len(finals))
        refusals = [
            (address, reply)
            for address, reply in zip(accepted, finals, strict=False)
            if not accepts(reply[0])
        ]
        if len(refusals) == len(accepted):
            _, (code, text) = refusals[0]
            self._give_up(code)
            raise SMTPDataError(code, text)
        if any(ends_session(code) for _, (code, _) in refusals):
            self.close()
        refused.update(refusals)
        return refused

    def _give_up(self, code: int) -> None:
        """End the transaction that was refused, or the session if the server ends it."""
        if ends_session(code):
            self.close()
        else:
            self._rset()

    def _by_core(self, content: Content, due: int) -> list[CodeAndText]:
        """Send content after DATA, and read the `due` replies to its end.

        Raises:
            SMTPServerDisconnected: the connection ended; the text says if the outcome is in doubt.
        """
        connection = self._core()
        finals, error = self._run(
            send_content(connection, BodyType.EIGHT_BIT, content, due), [], ()
        )
        if not connection.usable:
            self.close()
        replies = [code_and_text(reply) for _, reply in finals if reply is not None]
        if self.debuglevel > 0:
            for code, text in replies:
                self._print_debug(f"reply: retcode ({code}); Msg: {text!a}")
        if error is not None and len(replies) < due:
            in_doubt = any(status is Status.IN_DOUBT for status, _ in finals)
            raise disconnected(error, in_doubt=in_doubt) from error
        return replies

    def _by_steps(self, octets: bytes, due: int) -> list[CodeAndText]:
        """The same by `send` and `getreply`, for who replaced them."""
        try:
            self.send(octets)
            finals: list[CodeAndText] = []
            while len(finals) < due:
                code, text = self.getreply()
                if not accepts(code) and not 400 <= code <= 599:
                    raise SMTPServerDisconnected(f"the end of data was answered by {code} {text!r}")
                finals.append((code, text))
                if code == 421 and len(finals) < due:  # It answers one recipient.
                    raise SMTPServerDisconnected(f"the server closed the session: {text!r}")
        except SMTPException as error:
            self.close()
            raise SMTPServerDisconnected(f"{error}{IN_DOUBT}") from error
        return finals


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
