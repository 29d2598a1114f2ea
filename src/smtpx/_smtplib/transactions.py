"""What the replies to a mail transaction mean to a caller of `sendmail`.

`_judge` is the old module's own order of things, reply by reply. It raises what that raises. What
was pipelined is judged by it as well: a `Replay` gives out the replies as if they had been asked
for one by one.
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
from typing import TYPE_CHECKING

from smtpx._smtplib.codes import IN_DOUBT, CodeAndText, accepts, ends_session
from smtpx._smtplib.commands import Commands

if TYPE_CHECKING:
    from smtpx._wire.content import Content

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
        replay = self._engine.pipelined(self, lines, content)
        if replay is None:
            return {}
        return self._judge(
            from_addr,
            addresses,
            replay.answer,
            lambda _: replay.answer(),
            lambda accepted: replay.data(accepted if self._lmtp else 1),
        )

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
